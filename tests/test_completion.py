"""Completion in the shell, driven as argcomplete's shell function does it: by variables, and read from descriptor 8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusion import list_fusions, list_models, list_pretrained
from fusion.__main__ import VERBS, parser_of
from fusion.training.completers import settings
from fusion.training.configs import packaged_configs
from fusion.training.settings import KEYS

ROOT = Path(__file__).resolve().parents[1]


def shell(line, start, words, folder):
    """What a program writes on descriptor 8 if a shell asks it to complete a line; and the modules it imports."""
    asked = {
        "_ARGCOMPLETE": str(start),
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "COMP_TYPE": "9",
    }
    environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'exec "$@" 8>completed', "sh", sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    modules = {row.rsplit("|", 1)[1].strip() for row in done.stderr.splitlines() if row.startswith("import time:")}
    assert done.stdout == ""
    return [word.rstrip() for word in (folder / "completed").read_text().split("\n")], modules


MODELS = ["cifar_resnet", *list_models()]
CASES = [
    ("fusion ", lambda: {*VERBS, "--help"}, {"--model"}),
    ("fusion predict --mo", lambda: {"--model"}, {"--top"}),
    ("fusion predict --model aff_res", lambda: {name for name in MODELS if name.startswith("aff_res")}, {"resnet50"}),
    ("python -m fusion train --config quick", lambda: {"quickstart"}, {"cifar10_small"}),
    (
        "fusion train --config x schedule.",
        lambda: {f"{key}=" for key in KEYS if key.startswith("schedule.")},
        {"data."},
    ),
    # Bash takes a word to begin behind the equals sign.
    ("fusion train a.b=c --config x schedule.mode=", lambda: {"step", "cosine", "poly", "constant"}, {"aff"}),
    ("fusion ablate --fusions add,ia", lambda: {"add,iaff"}, {"iaff"}),
    ("fusion reproduce cifar100_fine_aff_resnet", lambda: {"cifar100_fine_aff_resnet32"}, set()),
]


@pytest.mark.parametrize(("line", "expected", "others"), CASES, ids=[line for line, _, _ in CASES])
def test_words_are_completed_without_mxnet(line, expected, others, tmp_path):
    pytest.importorskip("argcomplete", reason="needs the extra completion")
    found, modules = shell(line, line.split().index("fusion") + 1, ["-m", "fusion"], tmp_path)
    assert expected() <= {*found}
    assert not {*found} & others
    assert "argcomplete" in modules
    assert not modules & {"mxnet", "scipy", "cv2", "matplotlib", "gluoncv"}


def test_script_completes_as_its_command_does(tmp_path):
    pytest.importorskip("argcomplete", reason="needs the extra completion")
    line = "python train_cifar.py data.dir=x model.fusion=ia"
    found, modules = shell(line, 2, [str(ROOT / "train_cifar.py")], tmp_path)
    assert found == ["iaff"]
    assert "mxnet" not in modules


PROGRAMS = ["fusion/__main__.py", "train_cifar.py", "train_imagenet.py", "train_segmentation.py"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_is_marked_where_argcomplete_looks(program):
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / program).read_text()[:1024]


ALL_PARSERS = """
import json, sys
sys.argv = ["fusion"]
from fusion.completion import compute_nothing
compute_nothing()
from fusion.__main__ import VERBS, parser_of
found = {name: [(a.option_strings, a.dest) for a in parser_of(verb)._actions] for name, verb in VERBS.items()}
from fusion.models.completers import fusions, models
from fusion.models.pretrained import list_pretrained
from fusion.training.settings import KEYS
print(json.dumps([found, models(), fusions(), list_pretrained(), list(KEYS), "mxnet" in sys.modules]))
"""


def test_stand_ins_change_no_option_and_no_name(tmp_path):
    command = [sys.executable, "-c", ALL_PARSERS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    parsers, models, fusions, pretrained, keys, loaded = json.loads(done.stdout)
    for name, verb in VERBS.items():
        assert parsers[name] == [[action.option_strings, action.dest] for action in parser_of(verb)._actions], name
    assert {*list_models()} < {*models}
    assert {*list_fusions(), "aff", "iaff"} < {*fusions}
    assert tuple(pretrained) == list_pretrained()
    assert keys == list(KEYS)
    assert not loaded


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("model.name=", "model.name=aff_resnet32"),
        ("model.fusion=a", "model.fusion=aff"),
        ("data.name=", "data.name=digits"),
        ("augment.flip=", "augment.flip=true"),
        ("train.initial_parameters=", "train.initial_parameters=aff_resnet8_cifar10"),
    ],
)
def test_setting_has_its_values(written, expected):
    pytest.importorskip("argcomplete", reason="needs the extra completion")
    assert expected in settings(written)
    assert all(word.startswith(written.partition("=")[0] + "=") for word in settings(written))


def test_folder_of_data_is_completed_as_a_file(tmp_path, monkeypatch):
    pytest.importorskip("argcomplete", reason="needs the extra completion")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert settings("data.dir=ph") == ["data.dir=photos/"]


def test_unknown_setting_has_no_values():
    assert settings("data.nothing=") == []
    assert {word.rstrip("=") for word in settings("")} == {*KEYS}
    assert "quickstart" in packaged_configs()
