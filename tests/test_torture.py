"""The short form of tests/torture.py: one end of each sort for either task, and what makes its verdict."""

from __future__ import annotations

import pytest
import torture
from torture import TASKS, Ended, Fault, Row, differences, make_scene, one_message, try_fault


@pytest.fixture(scope="module", params=TASKS)
def scene(request, tmp_path_factory):
    return make_scene(request.param, tmp_path_factory.mktemp("torture") / request.param)


#: A kind and where, of about sixty changes and four batches.
POINTS = (
    ("killed between writes", 31),
    ("killed within a write", 34),
    ("disk full", 35),
    ("disk full within a write", 36),
    ("read-only disk", 9),
    ("SIGTERM", 3),
    ("loader thread: disk error", 4),
    ("NaN", 4),
)


@pytest.mark.parametrize(("kind", "number"), POINTS, ids=[kind for kind, _ in POINTS])
def test_run_that_ended_goes_on_as_if_it_had_not(scene, kind, number):
    row = Row(kind)
    assert try_fault(scene, Fault(kind, number, scene.sizes), row)
    assert (row.tried, row.resumed, row.told, row.clean) == (1, 1, 1, 1), row.faults


def test_second_process_is_refused_and_a_killed_one_leaves_no_lock(scene):
    (row,) = torture.second_process(scene, every=torture.BATCHES)
    assert row.tried == row.resumed == row.told == row.clean == 2, row.faults


def test_run_that_is_not_the_whole_one_is_told(scene, tmp_path):
    """The comparison itself: a run with another seed differs in its figures and its weights."""
    scene.config.write_text(scene.config.read_text().replace("epochs: 2", "epochs: 2, seed: 9"))
    run = tmp_path / "run"
    assert scene.train(run).status == 0
    found = differences(run, scene.whole)
    scene.config.write_text(scene.config.read_text().replace(", seed: 9", ""))
    assert {"metrics.csv differs", "checkpoints/last.npz differs"} <= set(found)
    (run / "classes.txt").unlink()
    assert any("classes.txt" in words for words in differences(run, scene.whole))


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
