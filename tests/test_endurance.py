"""The verdict of benchmarks/endurance.py, and a run of it that is far too short to say much of a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import endurance
from endurance import Reading, grown

sys.path.pop(0)


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("megabytes", 0.1, ""),  # what allocators vary by
        ("megabytes", 5, "memory grew from"),
        ("files", 1, "files grew from"),
        ("threads", 1, "threads grew from"),
    ],
)
def test_growth_is_told_from_noise(name, step, words):
    usual = {"megabytes": 400.0, "files": 20, "threads": 8}
    readings = [Reading(number, **{**usual, name: usual[name] + step * number}) for number in range(20)]
    assert "; ".join(grown(readings)).startswith(words)
    assert bool(grown(readings)) is bool(words)


def test_growth_in_the_first_quarter_does_not_count():
    readings = [Reading(number, 400.0 if number > 4 else 100.0, 20, 8) for number in range(20)]
    assert not grown(readings)


@pytest.mark.slow
def test_short_run_is_read_as_often_as_the_table_has_lines(capsys):
    assert endurance.main(["--batches", "40"]) == 0
    printed = capsys.readouterr().out
    assert "nothing grows: 40 batches" in printed
    assert printed.count("\n") > endurance.LINES
