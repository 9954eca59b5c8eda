"""The house keeps its shape: imports point one way, files are short, and a run knows no task by name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fusion"

sys.path.insert(0, str(ROOT / "benchmarks"))
from structure import floors, read_rooms  # noqa: E402

sys.path.pop(0)

#: Rooms, the lower before the upper: none imports what stands after it.
ORDER = (
    "ground",
    "attention",
    "fuse",
    "long_skip",
    "models",
    "data",
    "tasks",
    "training",
    "published",
    "inference",
    "deploy",
)

MOST_LINES = 400

#: What classification is measured by and minimises, which training must not name.
CLASSIFICATION = re.compile(r"top.?[15]\b|top1|top5|cross.?entropy|softmax", re.IGNORECASE)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def test_rooms_stand_on_each_other_without_a_circle():
    _, arrows = read_rooms()
    floors(arrows)
    for place, room in enumerate(ORDER):
        assert not arrows[room] & set(ORDER[place + 1 :]), room


def test_circle_is_an_error():
    with pytest.raises(ValueError, match="circle: a -> b -> a"):
        floors({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_module_is_long(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_engine_is_the_loop_alone():
    assert len((PACKAGE / "training" / "engine.py").read_text(encoding="utf-8").splitlines()) < 300


@pytest.mark.parametrize("file", sorted((PACKAGE / "training").rglob("*.py")), ids=lambda file: file.name)
def test_training_names_no_figure_of_classification(file):
    assert not CLASSIFICATION.findall(file.read_text(encoding="utf-8"))


def test_no_data_set_is_tested_for_by_name():
    for file in modules():
        assert not re.search(r'data\.name == "', file.read_text(encoding="utf-8")), file
