"""The command lr-range: its picture and table, and the words that say what a test means and what not."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from test_training_rate_range import curve, valley

from fusion.__main__ import main
from fusion.explain import rate_range
from fusion.explain.rate_range_picture import draw_rate_range


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Give the command the result of a test; what it was asked for."""
    notes = []
    monkeypatch.chdir(tmp_path)

    def use(found):
        def find(settings, lowest, highest, steps):
            notes.append((settings.data.batch_size, lowest, highest, steps))
            return found

        monkeypatch.setattr(rate_range, "find_range", find)
        return notes

    return use


def test_picture_table_and_suggestion(asked, tmp_path, capsys):
    rates, losses = valley()
    found = curve(losses, rates, blown_up=True)
    notes = asked(found)
    words = [
        "lr-range",
        "--config",
        "quickstart",
        "--from",
        "1e-4",
        "--to",
        "4",
        "--steps",
        "200",
        "data.batch_size=16",
    ]
    assert main([*words, "--output", "out/range.png"]) == 0
    assert notes == [(16, 1e-4, 4.0, 200)]
    out = capsys.readouterr().out
    assert f"the loss falls fastest at  {found.steepest:.2g}" in out
    assert f"the loss grows from        {found.growing_from:.2g}" in out
    assert "schedule.lr of the config  0.05" in out
    assert "above 4 times its lowest" in out
    assert "not which rate gives the best network in the end" in out
    assert out.splitlines()[-1] == "out/range.png, out/range.csv"
    with (tmp_path / "out" / "range.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == rate_range.COLUMNS
    np.testing.assert_array_equal([float(row["loss"]) for row in rows], losses)
    np.testing.assert_array_equal([float(row["smoothed_loss"]) for row in rows], found.smoothed)
    assert [int(row["step"]) for row in rows] == list(range(1, 201))
    with Image.open(tmp_path / "out" / "range.png") as image:
        assert image.size[0] == 990


def test_nothing_is_written_over_and_nothing_by_halves(asked, tmp_path, capsys):
    rates, losses = valley()
    notes = asked(curve(losses, rates))
    (tmp_path / "lr_range.csv").write_text("mine")
    assert main(["lr-range", "--config", "quickstart"]) == 2
    assert "lr_range.csv: is there already" in capsys.readouterr().err
    assert notes == []  # it is said before the work
    assert [path.name for path in tmp_path.iterdir()] == ["lr_range.csv"]
    assert main(["lr-range", "--config", "quickstart", "--force"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr_range.csv", "lr_range.png"]


def test_without_a_fall_there_is_no_suggestion(asked, capsys):
    asked(curve(2.3 + np.random.default_rng(0).normal(0, 0.2, 100)))
    assert main(["lr-range", "--config", "quickstart"]) == 0
    out = capsys.readouterr().out
    assert "there is no rate to suggest" in out
    assert "fastest" not in out


def test_loss_that_still_falls_asks_for_higher_rates(asked, capsys):
    rates, losses = valley()
    half = rates < 0.02
    asked(curve(losses[half], rates[half]))
    assert main(["lr-range", "--config", "quickstart"]) == 0
    assert f"it still fell at {rates[half][-1]:.2g}: try a higher --to" in capsys.readouterr().out


def test_picture_marks_the_rates_within_it(figures, tmp_path):
    rates, losses = valley()
    losses[-1] = 1e6
    found = curve(losses, rates)
    draw_rate_range(found, 0.05, tmp_path / "a.png")
    draw_rate_range(found, 1e3, tmp_path / "b.png")
    (axes,), (other,) = (figure.axes for figure in figures)
    marks = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert marks == [found.steepest, found.growing_from, 0.05]
    assert len(other.lines) == len(axes.lines) - 1
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 5  # the explosion is cut off
