"""The command line of training and evaluation: what it prints, where it writes, and how it refuses."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from fusion.__main__ import main as fusion_main
from fusion.compat import mx
from fusion.training import config, main
from fusion.training.config import read_config
from fusion.training.history import read_metrics

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
EPOCHS = 4

#: Learnt within an epoch or two, so that the best epoch, the first of those with the fewest errors, is not the last.
EASY = """
base: {base}
model: {{fusion: add}}
data: {{name: image_folder, dir: {dir}, size: 12, batch_size: 8}}
augment: {{crop_padding: 1}}
train: {{epochs: {epochs}}}
"""


@pytest.fixture(autouse=True)
def no_handlers_left():
    """`main` in this process adds handlers to the package's logger."""
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()


def call(folder, *words):
    """Run Python in a process of its own; its standard output."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_pictures(root):
    """Noise on red or on green; two of the twenty to test are in the wrong folder, so that some error is left."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 64), ("test", 20)):
        for number in range(count):
            pixels = draw.integers(0, 60, size=(12, 12, 3), dtype=np.uint8)
            pixels[..., number % 2] += 180
            wrong = split == "test" and number < 2
            path = root / split / ("red", "green")[(number + wrong) % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with pictures and easy.yaml, in which the script has run once; and what it printed."""
    folder = tmp_path_factory.mktemp("work")
    write_pictures(folder / "pictures")
    (folder / "easy.yaml").write_text(EASY.format(base=QUICKSTART, dir=folder / "pictures", epochs=EPOCHS))
    return folder, call(folder, ROOT / "train_cifar.py", "--config", "easy.yaml")


@pytest.fixture(scope="module")
def run(workplace):
    """The run of the workplace; not to be changed."""
    return workplace[0] / "runs" / "easy"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


# --- A run -----------------------------------------------------------------------------------------------------------


def test_run_goes_to_a_folder_named_after_the_config(workplace, run):
    assert [str(path) for path in files(run)] == [
        "checkpoints/best.params",
        "checkpoints/last.npz",
        "classes.txt",
        "config.yaml",
        "curves.png",
        "data.json",
        "environment.json",
        "metrics.csv",
        "result.json",
        "run.log",
    ]
    assert read_config(run / "config.yaml") == read_config(workplace[0] / "easy.yaml")
    assert Image.open(run / "curves.png").format == "PNG"


def test_printed_lines_are_those_of_the_log(workplace, run):
    log = [line.split(" ", 2)[2] for line in (run / "run.log").read_text().splitlines()]
    assert [line for line in workplace[1].splitlines() if line in log] == log
    assert log[0].startswith("cifar_resnet (add) on image folder pictures: ")
    epochs = [line for line in log if "train loss" in line]
    assert [line.split(":")[1] for line in epochs] == [f" epoch {number}/{EPOCHS}" for number in range(1, EPOCHS + 1)]


def test_last_lines_say_how_it_ended(workplace, run):
    rows = read_metrics(run / "metrics.csv")
    errors = [row["val_top1_error"] for row in rows]
    first = errors.index(min(errors))
    best, last = (f"{100 * (1 - error):.2f} %" for error in (errors[first], errors[-1]))
    assert workplace[1].splitlines()[-4:] == [
        "finished: cifar_resnet (add) on image folder pictures",
        f"  accuracy  {best} at epoch {first + 1} (best), {last} at epoch {EPOCHS} (last)",
        "  run       runs/easy",
        "  picture   runs/easy/curves.png",
    ]


def test_next_run_of_a_config_goes_to_the_next_folder(workplace, here, capsys):
    for name in ("easy", "easy-2", "easy-4"):
        (here / "runs" / name).mkdir(parents=True)
    words = ["--config", str(workplace[0] / "easy.yaml"), "train.epochs=1", "schedule.warmup_epochs=0"]
    assert main("", words) == 0
    assert (here / "runs" / "easy-3" / "result.json").is_file()
    assert "  run       runs/easy-3\n" in capsys.readouterr().out
    assert not any(files(here / "runs" / name) for name in ("easy", "easy-2", "easy-4"))


def test_words_may_stand_anywhere(workplace, here):
    words = ["schedule.lr=0.01", "--config", str(workplace[0] / "easy.yaml"), "train.epochs=2", "--run-dir", "here"]
    assert main("", [*words, "schedule.mode=constant", "--device", "cpu:2", "data.batch_size=4"]) == 0
    settings = read_config(here / "here" / "config.yaml")
    assert (settings.schedule.lr, settings.schedule.mode, settings.runtime.device) == (0.01, "constant", "cpu:2")
    assert len(read_metrics(here / "here" / "metrics.csv")) == 2


# --- Refused ---------------------------------------------------------------------------------------------------------


def refusal(capsys, *words):
    """The one line with which the command refuses; nothing is left in the current folder."""
    before = files(Path.cwd())
    assert main("", [str(word) for word in words]) == 2
    printed = capsys.readouterr().err
    assert re.match(r"error: [^\n]+\n\Z", printed), printed
    assert files(Path.cwd()) == before
    assert not Path("runs").exists()
    return printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["augment.flipp=true"], ["'augment.flipp=true'", "no setting is named", "'augment.flip'"]),
        (["lr=0.1"], ["'lr=0.1'", "'schedule.lr'"]),
        (["shedule.lr=0.1"], ["'shedule.lr=0.1'", "'schedule.lr'"]),
        (["schedule.lr=fast"], ["schedule.lr is 'fast'", "a number"]),
        (["train.epochs=1.5"], ["train.epochs is 1.5", "a whole number"]),
        (["train.epochs=0"], ["train.epochs is 0", "at least 1"]),
        (["schedule.mode=cosin"], ["schedule.mode is 'cosin'", "'cosine'"]),
        (["augment.mean=[0.5]"], ["augment.mean is [0.5]", "three numbers"]),
        (["schedule.lr"], ["'schedule.lr'", "section.key=value"]),
        (["data.name=cifar10"], ["data.dir", "cifar10 needs the folder"]),
        (["data.name=image_folder", "data.dir=nowhere"], ["nowhere: no such folder in", "data.dir=PATH"]),
        (["model.name=cifar_resnot"], ["model.name is 'cifar_resnot'", "'cifar_resnet'"]),
        (["model.fusion=afff"], ["model", "afff", "aff"]),
        (["model.layers=50"], ["model.layers=50", "cifar_resnet takes", "add model.layers=null"]),
        (["--device", "tpu"], ["device 'tpu'", "expected cpu"]),
        (["data.batch_size=1438"], ["a batch of 1438 is more than the 1,437 training images"]),
        (["data.batch_size=719", "--device", "cpu:2"], ["a batch of 1438 is more than the 1,437 training images"]),
        (["--run-dir", "file/run"], ["--run-dir file/run: ", "file is a file; expected a folder"]),
    ],
)
def test_impossible_input_is_refused_before_anything_is_written(here, capsys, words, expected):
    (here / "file").write_text("")
    message = refusal(capsys, "--config", QUICKSTART, *words)
    assert not [part for part in expected if part not in message], message


@pytest.mark.skipif(mx.runtime.Features().is_enabled("CUDA"), reason="this MXNet has CUDA")
@pytest.mark.parametrize("device", ["0", "gpu", "0,1"])
def test_gpu_is_refused_where_mxnet_has_none(here, capsys, device):
    message = refusal(capsys, "--config", QUICKSTART, "--device", device)
    assert f"device '{device}': this MXNet is built without CUDA; use --device cpu" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shedule:\n  lr: 0.1\n", "bad.yaml, line 1: no section is named 'shedule': did you mean 'schedule'?"),
        ("train:\n  epoch: 3\n", "bad.yaml, line 2: no setting is named 'train.epoch': did you mean 'train.epochs'"),
        ("train:\n  epochs: many\n", "bad.yaml, line 2: train.epochs is 'many'; expected a whole number"),
        ("base: nowhere.yaml\n", "nowhere.yaml: cannot read this config"),
        ("- 1\n", "bad.yaml: expected sections such as"),
    ],
)
def test_mistake_in_a_config_is_refused_with_its_place(here, capsys, text, expected):
    (here / "bad.yaml").write_text(text)
    assert expected in refusal(capsys, "--config", "bad.yaml")


def test_missing_config_is_refused(here, capsys):
    assert "nowhere.yaml: cannot read this config" in refusal(capsys, "--config", "nowhere.yaml")
    assert "say what to train: --config FILE" in refusal(capsys)


def test_folder_that_holds_a_run_is_refused(workplace, run, here, capsys):
    kept = Path(shutil.copytree(run, here / "kept"))
    before = {path: (kept / path).read_bytes() for path in files(kept)}
    message = refusal(capsys, "--config", workplace[0] / "easy.yaml", "--run-dir", "kept")
    assert "kept: holds a run already; continue it with --resume" in message
    assert {path: (kept / path).read_bytes() for path in files(kept)} == before


def test_unknown_option_is_refused(here, capsys):
    with pytest.raises(SystemExit) as caught:
        main("", ["--confg", str(QUICKSTART)])
    assert caught.value.code == 2
    assert "--confg" in capsys.readouterr().err
    assert not files(here)


# --- Shown -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=[config.stem for config in CONFIGS])
def test_every_config_can_be_shown_and_what_is_shown_read_back(here, capsys, config):
    words = ["data.dir=somewhere", "schedule.lr=0.07"]
    assert main("", ["--config", str(config), "--print-config", *words]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert not files(here)
    assert yaml.safe_load(printed.out)["schedule"]["lr"] == 0.07
    (here / "shown.yaml").write_text(printed.out)
    assert read_config(here / "shown.yaml") == read_config(config, words)


def test_shown_settings_say_what_they_are(here, capsys):
    assert main("", ["--config", str(QUICKSTART), "--print-config", "--device", "0,1"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^  warmup_epochs: 1.0 +# linear rise from warmup_lr", printed, re.MULTILINE)
    assert yaml.safe_load(printed)["runtime"]["device"] == "0,1"


def test_settings_of_a_run_can_be_shown(run, here, capsys):
    before = (run / "environment.json").read_bytes(), (run / "run.log").read_bytes()
    assert main("", ["--resume", str(run), "--print-config", "data.workers=4"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["train"]["epochs"], shown["data"]["workers"]) == (EPOCHS, 4)
    assert ((run / "environment.json").read_bytes(), (run / "run.log").read_bytes()) == before


def test_help_names_every_option(here, capsys):
    with pytest.raises(SystemExit) as caught:
        main("Train a fusion network.", ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "Train a fusion network." in printed
    for option in ("--config", "--run-dir", "--resume", "--device", "--print-config", "section.key=value"):
        assert option in printed
    assert not files(here)


# --- Evaluated -------------------------------------------------------------------------------------------------------


def evaluated(capsys, run, *words):
    """What `evaluate --json` prints, run here."""
    assert fusion_main(["evaluate", "--run", str(run), "--json", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def assert_is_row(found, row):
    assert found["top1_error"] == row["val_top1_error"]
    assert found["top5_error"] == row["val_top5_error"]
    assert found["loss"] == pytest.approx(row["val_loss"], rel=1e-6)


def best_and_last(run):
    rows = read_metrics(run / "metrics.csv")
    return min(rows, key=lambda row: row["val_top1_error"]), rows[-1]


def test_checkpoints_have_the_errors_of_their_epochs(run, capsys):
    best, last = best_and_last(run)
    assert best["epoch"] < last["epoch"]
    assert best["val_top1_error"] == pytest.approx(0.1)
    assert best["val_loss"] != last["val_loss"]
    found = evaluated(capsys, run)
    assert_is_row(found, best)
    assert found["checkpoint"] == str(run / "checkpoints" / "best.params")
    assert (found["model"], found["data"]) == ("cifar_resnet (add)", "image folder pictures")
    assert (found["images"], found["classes"]) == (20, 2)
    assert_is_row(evaluated(capsys, run, "--checkpoint", "best"), best)
    assert_is_row(evaluated(capsys, run, "--checkpoint", "last"), last)


def test_command_in_a_process_of_its_own_prints_one_object(workplace, run):
    words = ("-m", "fusion", "evaluate", "--run", "runs/easy", "--checkpoint", "last", "--json")
    printed = call(workplace[0], *words)
    assert printed.count("\n") == 1
    assert_is_row(json.loads(printed), best_and_last(run)[1])


def test_evaluation_takes_files_devices_and_moved_data(workplace, run, tmp_path, capsys):
    best, last = best_and_last(run)
    moved = Path(shutil.copytree(workplace[0] / "pictures", tmp_path / "moved"))
    file = Path(shutil.copy(run / "checkpoints" / "last.npz", tmp_path / "mine.npz"))
    found = evaluated(capsys, run, "--checkpoint", file, "--device", "cpu:2", f"data.dir={moved}", "data.batch_size=3")
    assert_is_row(found, last)
    assert (found["checkpoint"], found["data"]) == (str(file), "image folder moved")
    file = Path(shutil.copy(run / "checkpoints" / "best.params", tmp_path / "mine.params"))
    assert_is_row(evaluated(capsys, run, "--checkpoint", file), best)


def test_evaluation_in_words(run, capsys, monkeypatch):
    read = []
    document = config._document
    monkeypatch.setattr(config, "_document", lambda path: read.append(path) or document(path))
    best, _ = best_and_last(run)
    assert fusion_main(["evaluate", "--run", str(run)]) == 0
    assert read == [run / "config.yaml"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"cifar_resnet (add) on image folder pictures, {run / 'checkpoints' / 'best.params'}"
    assert lines[1] == f"  top-1 error  {100 * best['val_top1_error']:.2f} %"
    assert lines[4].startswith("  20 images, ")


def test_evaluation_changes_nothing(run, capsys):
    before = {path: (run / path).read_bytes() for path in files(run)}
    evaluated(capsys, run, "--checkpoint", "last")
    assert {path: (run / path).read_bytes() for path in files(run)} == before


def evaluation_refusal(capsys, *words):
    assert fusion_main(["evaluate", *map(str, words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(re.findall("^error: ", printed.err, re.MULTILINE)) == 1
    return printed.err


def test_missing_checkpoint_is_refused(run, tmp_path, capsys):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints")
    assert "best.params: no such file" in evaluation_refusal(capsys, "--run", copy)
    assert "last.npz: no such file" in evaluation_refusal(capsys, "--run", copy, "--checkpoint", "last")
    assert "none.params: no such file" in evaluation_refusal(capsys, "--run", copy, "--checkpoint", "none.params")
    assert "not the folder of a run" in evaluation_refusal(capsys, "--run", tmp_path)


def test_checkpoint_of_another_network_is_refused(run, tmp_path, capsys):
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("channel_times: 1", "channel_times: 2"))
    for which in ("best", "last"):
        message = evaluation_refusal(capsys, "--run", copy, "--checkpoint", which)
        assert "the parameters of another network" in message


@pytest.mark.parametrize("word", ["model.fusion=aff", "augment.mean=[0, 0, 0]", "train.epochs=1", "nonsense"])
def test_evaluation_refuses_other_settings_than_the_datas(run, capsys, word):
    assert "evaluate takes data.key=value and eval.key=value only" in evaluation_refusal(capsys, "--run", run, word)


def test_evaluation_refuses_unknown_data_settings_and_missing_data(run, capsys):
    assert "'data.dir'" in evaluation_refusal(capsys, "--run", run, "data.dirr=x")
    assert "nowhere: no such folder in" in evaluation_refusal(capsys, "--run", run, "data.dir=nowhere")
    assert "expected cpu" in evaluation_refusal(capsys, "--run", run, "--device", "tpu")
