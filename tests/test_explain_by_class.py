"""Precision, recall and F1 of each class: as counted image by image, the worst first, and for pixels as well."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from fusion.explain.answers import Answers
from fusion.explain.by_class import figures_by_class, format_classes, worst_first, write_classes
from fusion.explain.pixels import PixelAnswers

NAMES = ("ant", "bee", "cat", "dog")


def answers(seed=0, count=200):
    """The network never answers dog, and no image is a cat."""
    draw = np.random.default_rng(seed)
    labels, said = draw.choice([0, 1, 3], count), draw.integers(0, 3, count)
    return Answers(labels, said, draw.uniform(0.3, 1, count), NAMES)


def test_figures_are_those_of_counting_image_by_image():
    found = answers()
    for label, figures in enumerate(found.by_class()):
        right = sum(own == said == label for own, said in zip(found.labels, found.answers))
        own, said = (sum(each == label for each in values) for values in (found.labels, found.answers))
        sure = [share for share, answer in zip(found.confidence, found.answers) if answer == label]
        assert (figures.name, figures.total, figures.answers) == (NAMES[label], own, said)
        precision, recall = right / said if said else math.nan, right / own if own else math.nan
        np.testing.assert_allclose([figures.precision, figures.recall], [precision, recall])
        if right:
            assert figures.f1 == pytest.approx(2 * precision * recall / (precision + recall))
        np.testing.assert_allclose(figures.confidence, sum(sure) / len(sure) if sure else math.nan)


def test_classes_without_images_or_answers():
    ant, _, cat, dog = answers().by_class()
    assert math.isnan(cat.recall) and cat.precision == cat.f1 == 0
    assert math.isnan(dog.precision) and dog.recall == dog.f1 == 0
    assert 0 < ant.f1 < 1
    nothing = figures_by_class(np.array([[1, 0], [0, 0]]), ("a", "b"))
    assert [each.name for each in worst_first(nothing)] == ["a", "b"]
    assert math.isnan(nothing[1].f1)
    assert nothing[1].plain()["f1"] is None


def test_table_has_the_worst_classes_first_and_says_how_many_it_leaves_out():
    figures = answers().by_class()
    lines = format_classes(figures, "images", 2).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == [each.name for each in worst_first(figures)][:2]
    assert lines[0].split() == ["class", "images", "precision", "(%)", "recall", "(%)", "F1", "(%)", "sure", "(%)"]
    assert lines[-1] == "2 more classes, which are better, are in by_class.csv"
    assert "more classes" not in format_classes(figures, "images")


def test_file_has_every_class(tmp_path):
    figures = answers().by_class()
    write_classes(figures, tmp_path / "by_class.csv")
    with (tmp_path / "by_class.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["class", "total", "answers", "precision", "recall", "f1", "confidence"]
    assert [row["class"] for row in rows] == [each.name for each in worst_first(figures)]
    by_name = {row["class"]: row for row in rows}
    assert float(by_name["ant"]["f1"]) == figures[0].f1
    assert by_name["dog"]["precision"] == by_name["cat"]["recall"] == by_name["dog"]["confidence"] == ""


def test_pixels_have_them_too(tmp_path):
    found = PixelAnswers(np.array([[6, 2], [1, 3]]), ("background", "target"), 1, True)
    target = found.by_class()[1]
    assert (target.precision, target.recall, target.f1) == (3 / 5, 3 / 4, pytest.approx(2 * 3 / (5 + 4)))
    assert "75.00" in found.table() and "60.00" in found.table()
    write_classes(found.by_class(), tmp_path / "by_class.csv")
    assert "confidence" not in (tmp_path / "by_class.csv").read_text()
