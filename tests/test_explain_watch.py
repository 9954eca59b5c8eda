"""The table that follows several runs: what it says of each, damaged ones too, and how a terminal shows it."""

from __future__ import annotations

import io
import json
import math
import os
import time
from pathlib import Path

import pytest
from run_folders import write_run

from fusion.__main__ import main
from fusion.errors import ConfigError
from fusion.explain import watch
from fusion.locks import Lock

WORDS = ["model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1", "train.epochs=4", "schedule.steps=[]"]


def run_of(path, errors, *words, seconds=100.0):
    """A run of four epochs that took so long each."""
    write_run(path, None, errors, [*WORDS, "schedule.mode=constant", *words])
    table = path / "metrics.csv"
    if errors:
        lines = table.read_text().splitlines()
        place = lines[0].split(",").index("seconds")
        for number, line in enumerate(lines[1:], start=1):
            cells = line.split(",")
            cells[place] = str(seconds)
            lines[number] = ",".join(cells)
        table.write_text("\n".join(lines) + "\n")
    return path


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def watched(capsys, *words):
    assert main(["watch", *map(str, words)]) == 0
    heading, rule, *lines = capsys.readouterr().out.splitlines()
    assert set(rule) == {"-"}
    return cells(heading), [cells(line) for line in lines]


def test_table_has_state_figures_and_time_left_of_each_run(tmp_path, capsys):
    done = run_of(tmp_path / "done", [50, 40, 30, 35])
    going = run_of(tmp_path / "going", [50, 40], seconds=600.0)
    ended = run_of(tmp_path / "ended", [60.5])
    new = run_of(tmp_path / "new", [])
    lock = Lock(going / "run.lock")
    lock.take()
    heading, rows = watched(capsys, tmp_path)
    assert heading == ["run", "state", "epoch", "per epoch", "train loss", "top-1 error", "best", "time left"]
    assert [row[0] for row in rows] == [str(path) for path in (done, ended, going, new)]
    by_name = {Path(row[0]).name: row[1:] for row in rows}
    assert by_name["done"] == ["finished", "4/4", "2 min", "0.5000", "35.00 %", "30.00 % (epoch 3)", "-"]
    assert by_name["ended"] == ["stopped", "1/4", "2 min", "0.5000", "60.50 %", "60.50 % (epoch 1)", "-"]
    assert by_name["going"][:3] == ["running", "2/4", "10 min"]
    assert by_name["going"][-1] == "20 min"
    assert by_name["new"] == ["stopped", "0/4", "-", "-", "-", "-", "-"]
    lock.release()
    assert watch.look_at(going).state == "stopped"


def test_run_that_ended_early_is_finished(tmp_path):
    early = run_of(tmp_path / "early", [50, 40, 45], "train.patience=1")
    assert watch.look_at(early).state == "finished"
    assert watch.look_at(run_of(tmp_path / "patient", [50, 40, 45], "train.patience=2")).state == "stopped"


def test_time_that_the_epoch_under_way_has_taken_is_not_left(tmp_path):
    run = run_of(tmp_path / "run", [50, 40], seconds=600.0)
    lock = Lock(run / "run.lock")
    lock.take()
    ago = time.time() - 240
    os.utime(run / "metrics.csv", (ago, ago))
    assert watch.look_at(run).left == pytest.approx(2 * 600 - 240, abs=5)
    os.utime(run / "metrics.csv", (ago - 9000, ago - 9000))  # a slow epoch: it is taken to end now
    assert watch.look_at(run).left == pytest.approx(600)
    lock.release()
    assert math.isnan(watch.look_at(run).left)


def test_epoch_without_evaluation_shows_the_last_one(tmp_path):
    look = watch.look_at(run_of(tmp_path / "run", [50, None]))
    assert look.done == 2
    assert watch._row(look, False)[5] == "50.00 %"


def damage_table(run):
    (run / "metrics.csv").write_text("epoch,train_loss\n1,")


def damage_config(run):
    (run / "config.yaml").write_text("model: [")


def damage_names(run):
    (run / "classes.txt").write_bytes(b"\xff\n")


def damage_lock(run):
    (run / "run.lock").mkdir()


@pytest.mark.parametrize("damage", [damage_table, damage_config, damage_names, damage_lock])
def test_damaged_run_is_one_line_with_its_reason_below(tmp_path, capsys, damage):
    good, bad = run_of(tmp_path / "a", [50]), run_of(tmp_path / "b", [50])
    damage(bad)
    assert main(["watch", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert cells(lines[2])[:2] == [str(good), "stopped"]
    assert cells(lines[3]) == [str(bad), "damaged", *["-"] * 6]
    assert lines[4].startswith(f"{bad}: ")
    assert len(lines) == 5
    assert printed.err == ""


def test_names_cannot_move_the_cursor(tmp_path, capsys):
    run_of(tmp_path / "a\x1b[2Jb", [50])
    assert main(["watch", str(tmp_path)]) == 0
    assert "a\\x1b[2Jb" in capsys.readouterr().out


def test_runs_are_found_two_deep_and_once(tmp_path):
    paths = [run_of(tmp_path / name, []) for name in ("grid/x", "grid/y/z", "grid/y/deep/down")]
    assert watch.find_runs([tmp_path / "grid", paths[0]]) == paths[:2]
    with pytest.raises(ConfigError, match="no such folder"):
        watch.find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no run"):
        watch.find_runs([tmp_path / "empty"])


@pytest.mark.parametrize("every", ["0", "nan", "1e9", "-3"])
def test_impossible_pause_is_refused(tmp_path, capsys, every):
    assert main(["watch", str(tmp_path), f"--every={every}"]) == 2
    assert "expected from 0.1 to 86400 seconds" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_is_painted_anew_in_place_until_ctrl_c(tmp_path, monkeypatch, capsys):
    run = run_of(tmp_path / "run", [50])
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        (run / "metrics.csv").unlink()
        (run / "result.json").write_text(json.dumps({}))

    monkeypatch.setattr(watch.time, "sleep", sleep)
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["watch", str(run), "--every", "2"]) == 130
    assert pauses == [2.0, 2.0]
    first, second = terminal.getvalue().split("\x1b[4F")  # heading, rule, run, and the line below: four lines up
    assert "1/4" in first
    assert "0/4" in second
    assert "every 2 s; Ctrl-C ends" in second
    assert first.count("\n") == second.count("\n") == 4
    assert capsys.readouterr().err == "interrupted\n"


def test_small_terminal_shows_those_that_run_and_counts_the_others(tmp_path, monkeypatch):
    runs = [run_of(tmp_path / name, [50]) for name in "abcd"]
    monkeypatch.setattr(watch.shutil, "get_terminal_size", lambda: os.terminal_size((80, 7)))
    lock = Lock(runs[3] / "run.lock")
    lock.take()
    lines = list(watch._page([tmp_path], 5))
    lock.release()
    assert [cells(line)[0] for line in lines[2:-1]] == [str(runs[0]), str(runs[3])]
    assert lines[-1].startswith("2 more runs not shown; ")
