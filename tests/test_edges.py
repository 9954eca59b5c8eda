"""The edge of every command: whatever the system refuses, one message, exit status 2, and nothing half-written."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folders import write_run

from fusion.__main__ import main
from fusion.command import log_to_terminal, logging, reported
from fusion.training import main as train

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
MODEL = "aff_resnet8_digits"

#: A name that is not UTF-8, as Python has it.
NOT_TEXT = os.fsdecode(b"a\xff.png")


# --- What a command raises -------------------------------------------------------------------------------------------


def ends(error):
    def work(words):
        raise error

    return reported(work)([])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.txt"), "a.txt: No space left on device"),
        (MemoryError(), "not enough memory"),
        (ValueError("embedded null byte"), "null character"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), "is not text in UTF-8"),
    ],
)
def test_refusal_of_the_system_is_one_message(error, words, capsys):
    assert ends(error) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert words in said


def test_mistake_of_the_program_keeps_its_traceback():
    with pytest.raises(KeyError):
        ends(KeyError("a"))


def test_terminal_without_the_characters_gets_their_numbers(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", errors="strict"))
    assert reported(lambda words: print(f"5×5 {NOT_TEXT}") or 0)([]) == 0
    assert written.getvalue() == b"5\\xd75 a\\udcff.png\n"


def test_standard_output_on_a_full_disk_is_one_message(monkeypatch, capsys):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert reported(lambda words: print("a") or 0)([]) == 2
    assert capsys.readouterr().err == "error: standard output cannot be written (No space left on device)\n"


def test_closed_standard_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert reported(lambda words: (print("a"), sys.stdout.isatty(), 0)[2])([]) == 0


def test_log_lines_that_nobody_reads_do_not_end_the_work(monkeypatch, capsys):
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        log_to_terminal()
        logging.getLogger("fusion").info("a line")
        logging.getLogger("fusion").info("another")
    assert capsys.readouterr().err == ""


# --- Places that cannot be written -----------------------------------------------------------------------------------

#: Commands, without their output, and the module and function of the work that comes after the check.
COMMANDS = {
    "predict": (["predict", "--model", MODEL, "a.png"], "fusion.inference.predict.from_arguments"),
    "confusion": (["confusion", "--model", MODEL], "fusion.explain.confusion.from_arguments"),
    "gradcam": (["gradcam", "--model", MODEL, "a.png"], "fusion.explain.gradcam_command.load_all"),
    "maps": (["maps", "--model", MODEL, "a.png"], "fusion.explain.maps_command.load_all"),
    "optimise": (["optimise", "--model", MODEL], "fusion.deploy.optimise_command.from_arguments"),
    "export": (["export", "--model", MODEL], "fusion.deploy.export._trace"),
    "browse": (["browse", "--config", str(QUICKSTART)], "fusion.explain.browse.draw_fed_images"),
    "curves": (["curves", "run"], "fusion.explain.plots.read_run_curve"),
    "report": (["report", "--run", "run"], "fusion.explain.report.load_run"),
    "reproduce": (["reproduce", "cifar10_v1_aff_resnet32", "--run", "run"], "fusion.published.command.read_run"),
    "benchmark": (["benchmark", MODEL], "fusion.speed.benchmark.measure"),
    "prepare": (["prepare", "imagenet", "--source", "run"], "fusion.data.photos.prepare.list_parts"),
    "train": (["train", "--config", str(QUICKSTART)], "fusion.training.engine.train"),
    "ablate": (
        ["ablate", "--config", str(QUICKSTART), "--fusions", "add", "data.name=digits"],
        "fusion.ablation.running.Child",
    ),
}
OPTIONS = {"prepare": "--target", "train": "--run-dir", "ablate": "--runs"}
ENDINGS = {"browse": ".png", "curves": ".png", "reproduce": ".png", "benchmark": ".png", "report": ".html"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in with a file, a link that leads nowhere, a run and an image."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("link").symlink_to("gone")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("a.png")
    write_run(tmp_path / "run", QUICKSTART, [50.0])
    return tmp_path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("bad", ["file/below", "link/below", "file/below/deep"])
@pytest.mark.parametrize("name", COMMANDS)
def test_place_that_cannot_be_written_is_refused_before_the_work(name, bad, place, monkeypatch, capsys):
    words, work = COMMANDS[name]

    def worked(*arguments, **keywords):
        raise AssertionError("the work began")

    monkeypatch.setattr(work, worked)
    before = everything(place)
    output = bad + ENDINGS.get(name, "")
    assert main([*words, OPTIONS.get(name, "--output"), output]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {OPTIONS.get(name, '--output')} {output}: ")
    assert said.count("\n") == 1
    assert everything(place) == before


def test_export_into_the_folder_that_we_are_in_is_refused(place, monkeypatch, capsys):
    monkeypatch.setattr("fusion.deploy.export._trace", None)
    assert main(["export", "--model", MODEL, "--output", ".", "--force"]) == 2
    assert "names no new folder" in capsys.readouterr().err


def test_disk_that_fills_up_during_an_export_is_one_message(place, monkeypatch, capsys):
    def fill(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fusion.deploy.export.save_graph", fill)
    before = everything(place)
    assert main(["export", "--model", MODEL, "--output", "exported"]) == 2
    said = capsys.readouterr().err
    assert said == "error: --output exported: cannot be written (No space left on device)\n"
    assert everything(place) == before


# --- Names that are not UTF-8, values that are too large -------------------------------------------------------------


@pytest.mark.parametrize("command", ["gradcam", "maps"])
def test_image_whose_name_is_no_text_is_drawn(place, command, capsys):
    Path("a.png").rename(NOT_TEXT)
    assert main([command, "--model", MODEL, NOT_TEXT, "--output", "out"]) == 0, capsys.readouterr().err
    assert len(list(Path("out").glob("*.png"))) == 2


def test_class_whose_name_is_no_text_is_refused(place, capsys):
    for part in ("train", "test"):
        for name in ("a", os.fsdecode(b"b\xff")):
            (place / "data" / part / name).mkdir(parents=True)
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(place / "data" / part / name / "a.png")
    words = ["--config", str(QUICKSTART), "data.name=image_folder", "data.dir=data", "--run-dir", "new"]
    assert train("", words) == 2
    assert r"the name of the folder 'b\udcff' has a line break, or is not UTF-8" in capsys.readouterr().err
    assert not Path("new").exists()


def test_batch_that_no_memory_holds_is_one_message(place, capsys):
    assert train("", ["--config", str(QUICKSTART), "data.batch_size=100000000", "--run-dir", "new"]) == 2
    said = capsys.readouterr().err
    assert "a batch of 100000000 is more than the 1,437 training images" in said
    assert said.count("\n") == 1
    assert not Path("new").exists()


def test_evaluation_takes_no_more_memory_than_its_images(capsys):
    assert main(["evaluate", "--model", MODEL, "data.batch_size=100000000000"]) == 0
    assert "360 images" in capsys.readouterr().out


# --- Ctrl-C while modules are imported -------------------------------------------------------------------------------

#: Interrupts its process when a module is looked for.
SITE = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
"""


def interrupted(tmp_path, module, *words):
    (tmp_path / "sitecustomize.py").write_text(SITE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "INTERRUPTED_AT": module}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=600)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("numpy", ("-m", "fusion", "models")),
        ("mxnet", ("-m", "fusion", "models")),
        ("mxnet", ("-m", "fusion.training", "--config", "quickstart")),
        ("mxnet", (ROOT / "train_cifar.py", "--config", "quickstart")),
        ("fusion.training.main", (ROOT / "train_segmentation.py", "--help")),
        ("fusion.training.logbook", (ROOT / "train_segmentation.py", "--config", ROOT / "configs" / "quickstart.yaml")),
        ("fusion.models.command", ("-m", "fusion", "models")),
    ],
)
def test_ctrl_c_during_the_imports_of_a_command_is_one_line(tmp_path, module, words):
    done = interrupted(tmp_path, module, *words)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_during_the_import_by_another_program_is_its_own(tmp_path):
    code = "try:\n    import fusion\nexcept KeyboardInterrupt:\n    print('mine')"
    done = interrupted(tmp_path, "numpy", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")
