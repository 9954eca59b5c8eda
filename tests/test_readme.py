"""README and docs keep their word: their code runs, their commands are understood, their files and figures are there.

Commands that train or measure for minutes are parsed and not run; for training, the settings are resolved as well.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, SCRIPTS, block_commands, blocks, header_commands, inline_commands, languages
from PIL import Image
from run_folders import write_network, write_run

import fusion
from fusion.__main__ import main
from fusion.compat import mx
from fusion.explain.summary import summarise
from fusion.models.network import count_parameters
from fusion.training.configs import packaged_config
from fusion.training.distributed import launch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples():
    """What the blocks of README define, by name."""
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    longest = max(len(part.strip().splitlines()) for part in code.split("\n\n\n"))
    assert longest <= 13
    names = {}
    exec(code, names)
    return names


@pytest.mark.parametrize(
    ("example", "shapes", "expected"),
    [
        (lambda names: names["Residual"](16), [(2, 16, 8, 8)], (2, 16, 8, 8)),
        (lambda names: names["Inception"](16), [(2, 16, 8, 7)], (2, 16, 8, 7)),
        (lambda names: names["Pyramid"](), [(2, 64, 3, 4), (2, 32, 6, 7)], (2, 32, 6, 7)),
        (lambda names: names["speech"], [(1, 64, 9)] * 2, (1, 64, 9)),
        (lambda names: names["levels"], [(2, 32, 9, 9), (2, 64, 5, 5), (2, 128, 3, 3)], (2, 32, 9, 9)),
    ],
    ids=["residual block", "Inception module", "pyramid", "speech", "three levels"],
)
def test_examples_run_and_train(example, shapes, expected, examples):
    block = example(examples)
    block.initialize(force_reinit=True)
    block.hybridize()
    inputs = [mx.nd.random.normal(shape=shape) for shape in shapes]
    for one in inputs:
        one.attach_grad()
    with mx.autograd.record():
        output = block(*inputs)
        loss = (output * mx.nd.random.normal(shape=expected)).sum()
    loss.backward()
    assert output.shape == expected
    assert all(float(one.grad.abs().sum().asscalar()) > 0 for one in inputs)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:configs|docs|tests|benchmarks|fusion)/[\w./]+\w", README))))
def test_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([\w-]+)\)", README))
def test_links_lead_to_sections(anchor):
    titles = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", README, re.MULTILINE)]
    assert anchor in titles


def test_every_fusion_is_in_its_table():
    table = README.split("## Fusion blocks")[1].split("## Models")[0]
    assert [name for name in fusion.list_fusions() if name not in table] == []


@pytest.mark.parametrize(("name", "column"), [("resnet32", 0), ("aff_resnet32", 1), ("iaff_resnext38_32x4d", 2)])
def test_model_table_has_the_counts(name, column):
    size = name.replace("iaff_", "").replace("aff_", "")
    (row,) = re.findall(rf"^\| `{size}` .+$", README, re.MULTILINE)
    parameters, costs = (cell.replace("M", "").split(",") for cell in row.split("|")[3:5])
    net = fusion.get_model(name)
    assert f"{count_parameters(net) / 1e6:.2f}" == parameters[column].strip()
    assert f"{summarise(net)[0].multiply_adds / 1e9:.2f}" == costs[column].strip()


# --- Commands --------------------------------------------------------------------------------------------------------


class Parsed(BaseException):
    """Ends a command where it would begin to work; no command catches it."""

    def __init__(self, arguments):
        super().__init__()
        self.arguments = arguments


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Give words to a real command in an empty folder; the arguments that it would work with."""
    monkeypatch.chdir(tmp_path)

    def stop(arguments):
        raise Parsed(arguments)

    def parse(words):
        """What a Python program makes of its words."""
        program, *rest = words
        if program == "-m":
            return parse_module(*rest)
        path = ROOT / program
        assert path.is_file(), program
        if path.parent.name == "examples":
            return None  # a file and an image, which are not options
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [program, *rest])
            patch.setattr(sys, "path", [str(path.parent), *sys.path])
            if path.parent == ROOT:
                return parse_training(lambda words: run_script(path, patch, words), rest)
            for name in ("parse_args", "parse_intermixed_args"):
                real = getattr(argparse.ArgumentParser, name)
                patch.setattr(argparse.ArgumentParser, name, lambda *given, real=real: stop(real(*given)))
            with pytest.raises(Parsed) as found:
                runpy.run_path(str(path), run_name="__main__")
            return found.value.arguments

    def parse_module(module, *words):
        if module == "fusion.launch":
            found = launch._parser().parse_args(words)
            return parse(["-m", *found.module] if found.module else found.command)
        if module in ("fusion.compat", "pip"):
            return None
        assert module == "fusion"
        if words[0] == "train":
            return parse_training(main, words[1:], "train")
        real = argparse.ArgumentParser.set_defaults

        def stopping(parser, **given):
            real(parser, **{**given, "run_command": stop})

        with monkeypatch.context() as patch, pytest.raises(Parsed) as found:
            patch.setattr(argparse.ArgumentParser, "set_defaults", stopping)
            main(words)
        return found.value.arguments

    def parse_training(train, words, *before):
        if "--resume" in words:
            run = Path(words[words.index("--resume") + 1])
            write_run(run, packaged_config("quickstart"), [50.0])
        assert train([*before, *words, "--print-config"]) == 0
        return

    return parse


def run_script(path, patch, words):
    patch.setattr(sys, "argv", [path.name, *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    return end.value.code


COMMANDS = [
    *(command for page in PAGES for command in (*block_commands(page), *inline_commands(page))),
    *(command for script in SCRIPTS for command in header_commands(script)),
]


@pytest.mark.parametrize("command", sorted(set(COMMANDS), key=str), ids=str)
def test_command_is_understood(command, parsed):
    program, *words = command.words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words if "=" not in word and word not in targets] == []
    elif words[-1] == "--help":
        with pytest.raises(SystemExit) as end:
            parsed(words)
        assert end.value.code == 0
    else:
        parsed(words)


def test_commands_are_found():
    programs = {command.words[1] for command in COMMANDS}
    assert {"-m", "train_cifar.py", "train_imagenet.py", "benchmarks/scaling.py", "quickstart"} <= programs
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "fusion", "predict", "--no-such-option", "x"],
        ["-m", "fusion", "nonsense"],
        ["benchmarks/policies.py", "--no-such-option"],
    ],
)
def test_command_that_is_not_understood_fails(words, parsed):
    with pytest.raises(SystemExit):
        parsed(words)


def test_setting_that_is_not_understood_fails(parsed):
    with pytest.raises(AssertionError):
        parsed(["train_cifar.py", "--config", "quickstart", "train.epoch=1"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_two_commands_of_a_page_write_to_one_place(page, parsed):
    places = []
    for command in block_commands(page):
        if command.words[:3] == ("python", "-m", "fusion") and command.words[3] != "train":
            arguments = parsed(command.words[1:])
            if getattr(arguments, "output", None) and not getattr(arguments, "force", False):
                places.append(arguments.output)
    assert sorted(set(places)) == sorted(places)


# --- Python ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder such as a reader has by then, as the current one: a run, and a photo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    words = ["model.fusion=aff", "model.blocks=1", "model.channel_times=1"]
    write_network(tmp_path / "runs" / "cifar10" / "aff_blocks1_seed0", words, [str(digit) for digit in range(10)])
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save("photo.jpg")


PYTHON = [(page, block) for page in PAGES for block in blocks(page, "python")]


@pytest.mark.parametrize(
    ("page", "block"), PYTHON, ids=[f"{page.name}-{number}" for number, (page, _) in enumerate(PYTHON)]
)
def test_python_runs_as_it_is_printed(page, block, reader):
    exec(compile(block, page.name, "exec"), {})


def test_every_block_is_in_a_language_that_is_checked():
    found = [languages(page) for page in PAGES]
    assert {name for page in found for name in page} == {"sh", "python"}
    assert len(PYTHON) > sum(page.get("python", 0) for page in found)  # and one that a shell block gives to Python


def test_contact_sheet_of_policies_is_written_where_it_is_told_to_be_and_over_nothing(reader, capsys, monkeypatch):
    tracked = ROOT / "docs" / "policies.png"
    before = tracked.read_bytes()
    script = ROOT / "benchmarks" / "policies.py"
    assert run_script(script, monkeypatch, ["--image", "photo.jpg"]) == 0
    assert capsys.readouterr().out == "policies.png\n"
    assert Path("policies.png").read_bytes().startswith(b"\x89PNG")
    assert run_script(script, monkeypatch, []) == 2
    assert "policies.png: is there already; write over it with --force" in capsys.readouterr().err
    assert run_script(script, monkeypatch, ["--image", "photo.jpg", "--output", "sheets/policies.svg"]) == 0
    assert Path("sheets/policies.svg").read_bytes().startswith(b"<?xml")
    assert tracked.read_bytes() == before
