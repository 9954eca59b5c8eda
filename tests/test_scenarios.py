"""The pages on the three places: the picture's arrows, and the arithmetic on the published IoU."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import scenarios  # noqa: E402
import sirst_left_out  # noqa: E402

sys.path.pop(0)


def test_every_fusion_has_both_inputs_from_where_the_page_says():
    found = {
        (title.split(":")[0], end, label): start
        for title, layers in scenarios.three_places()
        for start, end, label in layers.arrows
        if label
    }
    assert found == {
        ("Short skip", "attention", "x"): "resfwd",
        ("Short skip", "attention", "y"): "downsample",
        ("Same layer", "fuse", "x"): "feature_spatial_5",
        ("Same layer", "fuse", "y"): "feature_spatial_3",
        ("Long skip", "fuse23", "high: x"): "bilinear resize",
        ("Long skip", "fuse23", "low: y"): "layer2",
        ("Long skip", "fuse12", "high: x"): "bilinear resize ",
        ("Long skip", "fuse12", "low: y"): "layer1",
    }


def test_highest_ratio_is_that_of_all_the_ways_to_leave_images_out():
    counts = {"a": (3, 10), "b": (8, 9), "c": (1, 2), "d": (20, 60), "e": (5, 6), "f": (0, 1)}
    for number, counted in itertools.product((1, 2, 3), ("", "d", "f")):
        ways = itertools.combinations([name for name in counts if name != counted], number)
        best = max(sirst_left_out.iou(counts[name] for name in counts if name not in way) for way in ways)
        assert sirst_left_out.highest_without(counts, number, counted) == pytest.approx(best, rel=1e-12)


def test_page_has_the_figures_of_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sirst_left_out.py"])
    assert sirst_left_out.main() == 0
    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    for figure in re.findall(r"0\.\d{4}", capsys.readouterr().out):
        assert figure in page, figure
