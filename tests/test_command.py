"""The command line: commands that are listed, words in any order, options that take their own words only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusion
from fusion.__main__ import GROUPS, VERBS, main, parse
from fusion.command import split_settings
from fusion.deploy.export_command import _images
from fusion.explain.gradcam_command import settle_words
from fusion.explain.maps_command import _settle_words
from fusion.explain.report import _settings_and_images

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder to work in with two runs, as far as a look at their folders can tell, and a folder of photos."""
    monkeypatch.chdir(tmp_path)
    for name in ("A", "B", "C", "D,E"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "photos").mkdir()
    return tmp_path


# --- The list of commands --------------------------------------------------------------------------------------------


def test_overview_groups_the_commands_with_an_example_of_each(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    headings = [said.index(f"\n{heading}:\n") for heading, _ in GROUPS]
    assert headings == sorted(headings)
    assert len(headings) == 5
    for verb in VERBS.values():
        assert f"\n  {verb.name} " in said
        assert f"python -m fusion {verb.name} {verb.example}\n" in said


@pytest.mark.parametrize("name", VERBS)
def test_example_of_each_command_can_be_parsed_and_its_help_shows_it(name, capsys):
    assert callable(parse([name, *VERBS[name].example.split()]).run_command)
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.endswith(f"example: python -m fusion {name} {VERBS[name].example}\n")
    for former in ("--picture", "--data-dir", "--data "):
        assert former not in said


SCRIPTS = ["train_cifar.py", "train_imagenet.py", "train_segmentation.py"]


@pytest.mark.parametrize("script", [*SCRIPTS, "-m fusion.training"])
def test_help_of_a_training_script_has_an_example_that_it_takes(script, tmp_path):
    program = [sys.executable, *script.split()]
    if script in SCRIPTS:
        program[1] = str(ROOT / script)
    options = {"capture_output": True, "text": True, "cwd": ROOT, "timeout": 120}
    shown = subprocess.run([*program, "--help"], **options)
    assert (shown.returncode, shown.stderr) == (0, "")
    (example,) = re.findall(r"^example: (.+)$", shown.stdout, re.MULTILINE)
    assert example.startswith(f"python {script} ")
    words = example[len(f"python {script} ") :].split()
    done = subprocess.run([*program, *words, "--print-config"], **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("task: ")


def imported(words):
    """The modules that a command imports, and what it prints."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.rsplit("|", 1) for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {name.strip() for _, name in lines}, done.stdout


@pytest.mark.parametrize("words", ["--help", "--version", "configs --help", "train --help", "doctor --help"])
def test_what_needs_no_network_does_not_load_mxnet(words):
    modules, printed = imported(["-m", "fusion", *words.split()])
    assert printed
    assert not modules & {"mxnet", "matplotlib", "gluoncv", "pandas", "cv2", "scipy"}


def test_overview_loads_no_library_at_all():
    modules, printed = imported(["-m", "fusion", "--help"])
    assert "python -m fusion train" in printed
    libraries = {"mxnet", "numpy", "matplotlib", "PIL", "cv2", "yaml", "scipy", "tabulate", "jinja2", "tqdm", "gluoncv"}
    assert not modules & libraries
    assert "fusion.command" in modules


def test_program_of_others_finds_mxnet_importable_after_fusion():
    code = "import fusion, sys, mxnet; print(mxnet is sys.modules['fusion.compat'].mx)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_script_of_others_by_the_name_of_ours_finds_mxnet_importable(tmp_path):
    (tmp_path / "train_cifar.py").write_text("import fusion, mxnet\nprint(mxnet.nd.ones(2).sum().asscalar())\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "train_cifar.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.stdout, done.stderr) == ("2.0\n", "")


def test_mistyped_command_is_named_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evalute", "--run", "A"])
    assert ended.value.code == 2
    assert "no such command 'evalute', did you mean 'evaluate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--model"],
        ["predict", "x.jpg", "--model"],
        ["export", "--output", "nowhere", "--model"],
        ["summary"],
        ["benchmark"],
    ],
)
def test_mistyped_model_is_named_with_the_nearest(words, capsys):
    assert main([*words, "aff_resnet8_digit"]) == 2
    assert "no such model 'aff_resnet8_digit', did you mean 'aff_resnet8_digits'" in capsys.readouterr().err


# --- Importing -------------------------------------------------------------------------------------------------------


def test_public_names_are_there_when_they_are_asked_for():
    code = """
import sys, fusion
before = 'fusion.models' in sys.modules
from fusion import AFF, get_model
print(before, AFF.__module__, get_model.__module__, fusion.fuse.AFF is AFF, 'mxnet' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False fusion.fuse fusion.models.zoo True True\n", done.stderr


def test_public_names_are_listed_and_others_are_not_there():
    assert set(fusion.__all__) < set(dir(fusion))
    for name in fusion.__all__:
        assert getattr(fusion, name) is not None
    with pytest.raises(AttributeError, match="module 'fusion' has no attribute 'AFFF'"):
        fusion.AFFF  # noqa: B018


# --- Words in any order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("predict --model M a.jpg --top 2 b.jpg", {"images": ["a.jpg", "b.jpg"], "top": 2, "model": "M"}),
        ("predict a.jpg --json --model M b.jpg", {"images": ["a.jpg", "b.jpg"], "json": True}),
        (
            "evaluate data.dir=P --model M data.workers=1",
            {"settings": ["data.dir=P", "data.workers=1"], "model": "M"},
        ),
        (
            "ablate --config F --runs R train.epochs=2 --fusions add data.workers=1",
            {"settings": ["train.epochs=2", "data.workers=1"], "fusions": "add"},
        ),
        ("summary M classes=3 --depth 1 blocks=2", {"model": "M", "arguments": ["classes=3", "blocks=2"]}),
        ("curves a --force b", {"runs": [Path("a"), Path("b")]}),
        ("confusion data.dir=P --run A data.workers=1 --output o", {"settings": ["data.dir=P", "data.workers=1"]}),
        ("optimise data.dir=P --run A data.workers=1 --output o", {"settings": ["data.dir=P", "data.workers=1"]}),
        ("browse data.dir=P --config F data.workers=1", {"settings": ["data.dir=P", "data.workers=1"]}),
        ("benchmark M --rounds 2 N", {"models": ["M", "N"], "rounds": 2}),
        ("train train.epochs=2 --config F data.workers=1", {"settings": ["train.epochs=2", "data.workers=1"]}),
        ("reproduce --run A ROW", {"row": "ROW", "run": Path("A")}),
        ("prepare --source A imagenet --target B", {"data": "imagenet"}),
        ("predict --model M -- -a.jpg", {"images": ["-a.jpg"]}),
    ],
)
def test_words_come_in_any_order(words, expected):
    found = vars(parse(words.split()))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict --model M a.jpg --nonsense", "unrecognized arguments: --nonsense"),
        ("predict --model M", "the following arguments are required: IMAGE"),
        ("predict a.jpg", "one of the arguments --run --model is required"),
        ("predict --model M --run A a.jpg", "not allowed with argument"),
        ("prepare cifar --source A --target B", "invalid choice: 'cifar'"),
    ],
)
def test_words_that_are_wrong_are_refused(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(words.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_settings_are_told_from_other_words():
    words = ["a.jpg", "data.dir=P", "x=1", "photos.v2/a=1.png", "augment.policy.name=a=b"]
    assert split_settings(words) == (["data.dir=P", "augment.policy.name=a=b"], ["a.jpg", "x=1", "photos.v2/a=1.png"])


# --- Options take their own words only -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "--compare B C img.jpg",
        "img.jpg --compare B C",
        "--compare B,C img.jpg",
        "--compare B --compare C img.jpg",
        "--compare B img.jpg C",
    ],
)
def test_runs_to_compare_are_told_from_images(runs, words):
    for command, settle in (("gradcam", settle_words), ("maps", _settle_words)):
        found = parse([command, "--run", "A", "--output", "o", *words.split()])
        settle(found)
        assert (found.compare, found.images) == ([Path("B"), Path("C")], ["img.jpg"])


def test_run_with_a_comma_in_its_name_can_be_compared(runs):
    found = parse(["gradcam", "--run", "A", "--output", "o", "--compare", "D,E", "photos"])
    settle_words(found)
    assert (found.compare, found.images) == ([Path("D,E")], ["photos"])


def test_run_among_the_images_is_refused_where_nothing_is_compared(runs, capsys):
    assert main(["gradcam", "--run", "A", "--output", "o", "photos", "B"]) == 2
    said = capsys.readouterr().err
    assert "B: this is the folder of a run, not of images" in said
    assert "--compare B" in said
    assert main(["gradcam", "--run", "A", "--output", "o", "--compare", "B", "C"]) == 2
    assert "no image is named, beside the runs to compare" in capsys.readouterr().err
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("words", "number", "images", "settings"),
    [
        ("--over-data img.jpg", 0, ["img.jpg"], []),
        ("--over-data 1000 img.jpg", 1000, ["img.jpg"], []),
        ("img.jpg --over-data", 0, ["img.jpg"], []),
        ("img.jpg --over-data 5", 5, ["img.jpg"], []),
        ("--over-data=5 img.jpg", 5, ["img.jpg"], []),
        ("--over-data ./5", 0, ["./5"], []),
        ("--over-data data.dir=X img.jpg", 0, ["img.jpg"], ["data.dir=X"]),
        ("data.dir=X img.jpg --over-data", 0, ["img.jpg"], ["data.dir=X"]),
        ("--data-dir X img.jpg --over-data", 0, ["img.jpg"], ["data.dir=X"]),
        ("img.jpg", None, ["img.jpg"], []),
    ],
)
def test_number_of_images_is_told_from_images(words, number, images, settings):
    found = parse(["maps", "--run", "A", "--output", "o", *words.split()])
    _settle_words(found)
    assert (found.over_data, found.images, found.settings) == (number, images, settings)


def test_setting_that_nothing_would_read_is_refused(capsys):
    assert main(["maps", "--run", "A", "--output", "o", "img.jpg", "data.dir=X"]) == 2
    assert "data.dir=X: only --over-data reads the test set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--images a.png data.dir=X", (["data.dir=X"], ["a.png"])),
        ("--images a.png b.png data.dir=X", (["data.dir=X"], ["a.png", "b.png"])),
        ("data.dir=X --images a.png --images b.png", (["data.dir=X"], ["a.png", "b.png"])),
        ("data.dir=X", (["data.dir=X"], [])),
        ("a.png", (["a.png"], [])),  # refused as a setting: images are named by --images
    ],
)
def test_images_of_a_report_are_told_from_settings(words, expected):
    assert _settings_and_images(parse(["report", "--run", "A", *words.split()])) == expected


@pytest.mark.parametrize("words", ["--images a b c", "--images a --force --images b c", "--images a --force b c"])
def test_images_of_an_export_add_up(words):
    assert sorted(_images(parse(["export", "--run", "A", "--output", "o", *words.split()]))) == [*map(Path, "abc")]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--images a.png data.dir=X", "data.dir=X: export reads no data set"),
        ("a.png", "a.png: export knows no such word"),
    ],
)
def test_export_refuses_words_that_are_no_images_of_it(capsys, words, complaint):
    assert main(["export", "--run", "A", "--output", "o", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(f"error: {complaint}")


# --- One word for one thing ------------------------------------------------------------------------------------------


def test_former_spelling_of_output_works():
    for option in ("--output", "--picture"):
        assert parse(["benchmark", "resnet32", option, "speed.png"]).output == Path("speed.png")


# --- Training --------------------------------------------------------------------------------------------------------


def test_train_is_a_command(tmp_path, capsys):
    config = ROOT / "configs" / "quickstart.yaml"
    assert main(["train", "train.seed=5", "--config", str(config), "data.workers=1", "--print-config"]) == 0
    assert "seed: 5" in capsys.readouterr().out
    assert main(["train"]) == 2
    assert "--config FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/lib/fusion/__main__.py", "python -m fusion train"),
        ("/lib/fusion/training/__main__.py", "python -m fusion.training"),
        ("/bin/fusion", "fusion train"),
        ("/home/train_cifar.py", "python train_cifar.py"),
    ],
)
def test_interrupted_training_says_what_to_type(monkeypatch, program, expected):
    module = sys.modules["fusion.training.main"]
    monkeypatch.setattr(sys, "argv", [program, "train"])
    assert module._program() == expected
