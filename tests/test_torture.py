"""The short form of tests/torture.py, and what makes its verdict."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torture import TASKS, Ended, Row, differences, left_over, one_message, table

HERE = Path(__file__).resolve().parent

#: An end of each sort.
KINDS = (
    "killed between writes",
    "killed within a write",
    "disk full",
    "disk full within a write",
    "read-only disk",
    "SIGTERM",
    "loader thread: disk error",
    "NaN",
    "a second process",
)


@pytest.mark.parametrize("task", [TASKS[0], pytest.param(TASKS[1], marks=pytest.mark.long)])
def test_runs_that_ended_go_on_as_if_they_had_not(task):
    """In a process of its own, because it forks."""
    words = [word for kind in KINDS for word in ("--kind", kind)]
    command = [sys.executable, str(HERE / "torture.py"), "--every", "60", "--task", task, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    for kind in KINDS:
        tried, resumed, told, left = lines_of(done.stdout)[kind]
        assert 0 < tried == resumed == told, done.stdout
        assert left == 0


def lines_of(text):
    """The numbers of each line of the table, by its first words."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 4 and all(word.isdecimal() for word in words[-4:]):
            found[" ".join(words[:-4])] = tuple(map(int, words[-4:]))
    return found


@pytest.fixture
def whole(tmp_path):
    """The files of a run that are compared."""
    run = tmp_path / "whole"
    (run / "checkpoints").mkdir(parents=True)
    (run / "metrics.csv").write_text("epoch,train_loss,seconds\n1,0.5,3\n")
    (run / "result.json").write_text(json.dumps({"model": "m", "best": {"epoch": 1, "seconds": 3}}))
    np.savez(run / "checkpoints" / "last.npz", state=np.zeros(3), **{"param/a": np.ones(2)})
    for name in ("checkpoints/best.params", "config.yaml", "classes.txt"):
        (run / name).write_text(name)
    return run


@pytest.fixture
def other(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "other"))


def test_times_are_no_difference(whole, other):
    (other / "metrics.csv").write_text("epoch,train_loss,seconds\n1,0.5,4\n")
    (other / "result.json").write_text(json.dumps({"model": "m", "best": {"epoch": 1, "seconds": 4}}))
    assert differences(other, whole) == []


@pytest.mark.parametrize("name", ["metrics.csv", "result.json", "checkpoints/last.npz", "checkpoints/best.params"])
def test_each_file_of_another_run_is_a_difference(whole, other, name):
    (other / "metrics.csv").write_text("epoch,train_loss,seconds\n1,0.6,3\n")
    (other / "result.json").write_text(json.dumps({"model": "m", "best": {"epoch": 2, "seconds": 3}}))
    np.savez(other / "checkpoints" / "last.npz", state=np.zeros(3), **{"param/a": np.nextafter(np.ones(2), 2)})
    (other / "checkpoints" / "best.params").write_text("cut")
    assert f"{name} differs" in differences(other, whole)


def test_file_that_is_missing_or_left_over_is_a_difference(whole, other):
    (other / "classes.txt").unlink()
    (other / "checkpoints" / ".last.npz.7.part").write_text("half")
    assert "classes.txt differs" in differences(other, whole)
    assert "files ['checkpoints/.last.npz.7.part', 'classes.txt']" in differences(other, whole)
    assert left_over(other) == [other / "checkpoints" / ".last.npz.7.part"]
    assert left_over(whole) == []


@pytest.mark.parametrize(
    ("ended", "right"),
    [
        (Ended(2, "epoch 1\nerror: full\n"), True),
        (Ended(1, "error: full\n"), False),
        (Ended(2, "error: full\nerror: full\n"), False),
        (Ended(2, "Traceback (most recent call last):\nerror: full\n"), False),
        (Ended(2, "epoch 1\n"), False),
    ],
)
def test_end_is_right_with_one_message(ended, right):
    assert one_message(ended, 2) is right


def test_table_adds_up_and_counts_what_was_wrong():
    good, bad = Row("kind"), Row("kind")
    good.count("1", Ended(2, ""), True, [], [])
    bad.count("2", Ended(1, ""), False, ["metrics.csv differs"], [Path("a")])
    assert lines_of(table([good, bad])) == {"kind": (2, 1, 1, 1), "all": (2, 1, 1, 1)}
    assert not good.faults
    assert len(bad.faults) == 1
