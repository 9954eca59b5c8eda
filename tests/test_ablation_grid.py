"""Grids of runs: planned and refused as a whole, resumed, summarised; and one for real, interrupted."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from classified import TASK
from PIL import Image
from run_folders import write_run

from fusion.__main__ import main
from fusion.ablation import running as ablation
from fusion.ablation.axes import read_axes
from fusion.ablation.grid import collect, plan_grid, short_name
from fusion.ablation.report import CellResult, describe, format_table, mean_over_seeds, plus_minus
from fusion.errors import ConfigError
from fusion.fuse import list_fusions
from fusion.machine import Usable
from fusion.tasks.segmentation.figures import IOU, NIOU
from fusion.training.history import TIMINGS, read_metrics

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "quickstart.yaml"
WORDS = ["train.epochs=2", "schedule.warmup_epochs=0"]


def plan(folder, fusions=("add", "aff"), blocks=(None,), seeds=2, words=WORDS, config=CONFIG):
    return plan_grid(config, list(fusions), list(blocks), seeds, folder, words)


def cell_result(fusion="aff", blocks=1, seed=0, last=10.0, best=9.0, epochs=2):
    return CellResult(fusion, blocks, seed, "noise", 1000, epochs, 2, best, last, f"{fusion}{seed}", TASK.headline)


class Done:
    """Stands for the process of a cell that has ended."""

    signals = 0

    def __init__(self, cell, status=0):
        self.cell, self.status = cell, status

    def send(self, number):
        raise AssertionError("it has ended")

    def finish(self):
        pass

    end = finish


@pytest.fixture
def trained(monkeypatch):
    """Cells that leave a run's folder without training; the errors are of the fusion and the seed."""
    done = []

    def start(cell, output, environment):
        done.append(cell.path.name)
        if not (cell.path / "config.yaml").exists():
            error = 10.0 * len(cell.fusion or "four") + cell.seed
            write_run(cell.path, cell.config, [error + 2, error], cell.words, data="noise")
        return Done(cell)

    monkeypatch.setattr(ablation, "Child", start)
    return done


# --- The plan --------------------------------------------------------------------------------------------------------


def test_grid_is_every_fusion_at_every_depth_and_seed(tmp_path):
    cells = plan(tmp_path, ["add", "AFF"], [1, 2], 3)
    assert len(cells) == len({cell.path for cell in cells}) == 12
    assert [cell.path.name for cell in cells[:4]] == [
        "add_blocks1_seed0",
        "aff_blocks1_seed0",
        "add_blocks2_seed0",
        "aff_blocks2_seed0",
    ]
    for cell in cells:
        assert cell.settings.model.fusion == short_name(cell.fusion)
        assert (cell.settings.model.blocks, cell.settings.train.seed) == (cell.blocks, cell.seed)
        assert cell.settings.train.epochs == 2
    assert not list(tmp_path.iterdir())


def test_blocks_are_the_configs_own_unless_given(tmp_path):
    assert {cell.blocks for cell in plan(tmp_path)} == {1}
    config = ROOT / "configs" / "cifar100_fine_aff_resnet32.yaml"
    assert [cell.path.name for cell in plan(tmp_path, ["iaff"], seeds=1, words=(), config=config)] == [
        "iaff_blocks5_seed0"
    ]


@pytest.mark.parametrize(
    "config", ["cifar100_ablation", pytest.param("cifar100_coarse_table4_inception", marks=pytest.mark.long)]
)
def test_all_is_every_fusion(tmp_path, config):
    cells = plan_grid(ROOT / "configs" / f"{config}.yaml", ["all"], [1, 2, 3, 4], 1, tmp_path)
    assert len(cells) == 25 * 4
    assert {cell.fusion for cell in cells} == set(list_fusions())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusions": ["add", "afff"]}, "no fusion block is named 'afff': did you mean 'aff'"),
        ({"fusions": ["aff", "ASKCFuse"]}, "aff and ASKCFuse are the same block"),
        ({"fusions": ["mscam"]}, "two inputs"),
        ({"fusions": []}, "two inputs"),
        ({"blocks": [1, 1]}, "twice"),
        ({"seeds": 0}, "at least 1"),
        ({"words": ["train.seed=1"]}, "the grid sets this"),
        ({"words": ["model.fusion=add"]}, "the grid sets this"),
        ({"words": ["train.epoch=1"]}, "no setting is named"),
        ({"words": ["model.r=1000"]}, "r=1000"),
        ({"words": ["model.name=resnet"], "blocks": [1]}, "model.blocks"),
        ({"seeds": [1, 1]}, "seed is given twice"),
        ({"config": Path("nowhere.yaml")}, "cannot read"),
    ],
)
def test_what_is_impossible_in_any_cell_is_refused_before_the_first(tmp_path, trained, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path / "grid", **changes)
    assert not (tmp_path / "grid").exists()


def test_bad_names_on_the_command_line_are_one_message(tmp_path, trained, capsys):
    words = ["ablate", "--config", str(CONFIG), "--runs", str(tmp_path / "grid")]
    for extra in (["--fusions", "add,afff"], ["--fusions", "add", "--blocks", "1,x"], ["--fusions", "add", "a=b"]):
        assert main([*words, *extra]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert not trained
    assert not (tmp_path / "grid").exists()


def test_folder_with_another_grids_runs_is_refused(tmp_path, trained):
    ablation.run_grid(plan(tmp_path), tmp_path, sys.stdout)
    with pytest.raises(ConfigError, match=r"whose train\.epochs differs"):
        plan(tmp_path, words=["train.epochs=3", "schedule.warmup_epochs=0"])
    assert len(plan(tmp_path, words=[*WORDS, "runtime.log_every=7"])) == 4


# --- Going on --------------------------------------------------------------------------------------------------------


def test_finished_cells_are_not_trained_again_and_started_ones_resume(tmp_path, trained):
    cells = plan(tmp_path)
    ablation.run_grid(cells[:2], tmp_path, sys.stdout)
    write_run(cells[2].path, CONFIG, [50.0], cells[2].words)  # one of its two epochs
    assert [cell.finished for cell in cells] == [True, True, False, False]
    assert cells[2].command == ["--resume", str(cells[2].path)]
    assert cells[3].command[:4] == ["--config", str(CONFIG), "--run-dir", str(cells[3].path)]
    trained.clear()
    ablation.run_grid(cells, tmp_path, sys.stdout)
    assert trained == [cells[2].path.name, cells[3].path.name]


def test_more_seeds_are_added_to_a_grid(tmp_path, trained):
    ablation.run_grid(plan(tmp_path, seeds=1), tmp_path, sys.stdout)
    trained.clear()
    ablation.run_grid(plan(tmp_path, seeds=2), tmp_path, sys.stdout)
    assert trained == ["add_blocks1_seed1", "aff_blocks1_seed1"]


def test_table_is_written_after_every_cell(tmp_path, trained, monkeypatch):
    cells, start = plan(tmp_path), ablation.Child

    def failing(cell, output, environment):
        if cell is cells[2]:
            raise KeyboardInterrupt
        return start(cell, output, environment)

    monkeypatch.setattr(ablation, "Child", failing)
    with pytest.raises(KeyboardInterrupt):
        ablation.run_grid(cells, tmp_path, sys.stdout)
    report = json.loads((tmp_path / "ablation.json").read_text())
    assert [cell["run"] for cell in report["cells"]] == ["add_blocks1_seed0", "aff_blocks1_seed0"]


def test_child_that_fails_is_named_at_the_end(tmp_path):
    cells = plan(tmp_path, words=[*WORDS, "data.name=image_folder", "data.dir=nowhere"], seeds=1)
    with pytest.raises(ablation.AblationError, match=r"add_blocks1_seed0 \(status 2\).*aff_blocks1_seed0"):
        ablation.run_grid(cells, tmp_path, sys.stdout)


def test_cell_that_fails_does_not_keep_the_others_from_being_trained(tmp_path, trained, monkeypatch, capsys):
    start = ablation.Child

    def failing(cell, output, environment):
        return Done(cell, 2) if cell.path.name == "add_blocks1_seed0" else start(cell, output, environment)

    monkeypatch.setattr(ablation, "Child", failing)
    words = ["--fusions", "add,aff", "--seeds", "2", "--runs", str(tmp_path), *WORDS]
    assert main(["ablate", "--config", str(CONFIG), *words]) == 2
    assert trained == ["aff_blocks1_seed0", "add_blocks1_seed1", "aff_blocks1_seed1"]
    printed = capsys.readouterr()
    assert "80.50 ± 0.71" in printed.out  # ASKCFuse has eight letters: 80 and 81
    assert "add_blocks1_seed0 (status 2): this cell of 4 cells ended with an error" in printed.err
    assert json.loads((tmp_path / "ablation.json").read_text())["lines"][1]["seeds"] == 1


# --- Any settings ----------------------------------------------------------------------------------------------------


def vary(folder, *words, seeds=1, fusions=None, overrides=WORDS):
    axes, single = read_axes(words)
    return plan_grid(CONFIG, fusions, [None], seeds, folder, [*overrides, *single], axes)


def test_every_combination_of_values_is_a_cell_and_names_them(tmp_path):
    cells = vary(tmp_path, "optimizer.name=nag,adam", "model.r=2,4")
    assert [cell.path.name for cell in cells] == [
        "r2_name-nag_seed0",
        "r4_name-nag_seed0",
        "r2_name-adam_seed0",
        "r4_name-adam_seed0",
    ]
    assert [(cell.settings.optimizer.name, cell.settings.model.r) for cell in cells] == [
        *(("nag", 2), ("nag", 4), ("adam", 2), ("adam", 4))
    ]
    assert cells[1].varied == (("optimizer.name", "nag"), ("model.r", "4"))
    assert {cell.settings.train.epochs for cell in cells} == {2}


def test_folders_do_not_depend_on_the_order_of_the_options(tmp_path):
    one = vary(tmp_path, "optimizer.name=nag,adam", "model.r=2,4", fusions=["aff"], seeds=[3, 7])
    other = vary(tmp_path, "model.r=4,2", "optimizer.name=adam,nag", fusions=["aff"], seeds=[7, 3])
    assert {cell.path for cell in one} == {cell.path for cell in other}
    assert one[0].path.name == "aff_blocks1_r2_name-nag_seed3"


def test_commas_in_brackets_do_not_separate_values(tmp_path):
    cells = vary(tmp_path, "schedule.steps=[1,2],[3],[]", overrides=["train.epochs=4", "schedule.warmup_epochs=0"])
    assert [cell.settings.schedule.steps for cell in cells] == [[1, 2], [3], []]
    assert len({cell.path for cell in cells}) == 3
    assert cells[0].path.name == "steps-1+2_seed0"


def test_values_that_are_no_names_of_folders_are_told_apart(tmp_path):
    cells = vary(tmp_path, "train.initial_parameters=a/b,a:b,a b,null")
    names = [cell.path.name for cell in cells]
    assert len(set(names)) == 4
    assert all(cell.path.parent == tmp_path and "/" not in name for cell, name in zip(cells, names))


def test_word_with_a_single_value_behind_vary_is_a_setting(tmp_path, trained, capsys):
    words = ["--vary", "schedule.lr=0.1,0.2", "schedule.warmup_epochs=0", "train.epochs=2", "--seeds", "0,7"]
    assert main(["ablate", "--config", str(CONFIG), "--runs", str(tmp_path), *words]) == 0
    assert trained == ["lr0.1_seed0", "lr0.2_seed0", "lr0.1_seed7", "lr0.2_seed7"]
    lines = list(csv.DictReader((tmp_path / "ablation.csv").open()))
    assert list(lines[0])[:3] == ["schedule.lr", "parameters", "seeds"]
    assert {(line["schedule.lr"], line["last_mean"]) for line in lines} == {("0.1", "43.5"), ("0.2", "43.5")}
    assert "schedule.lr  parameters" in capsys.readouterr().out
    report = json.loads((tmp_path / "ablation.json").read_text())
    assert [(cell["schedule.lr"], cell["seed"]) for cell in report["cells"]][2:] == [("0.1", 7), ("0.2", 7)]


def test_rows_of_the_picture_are_named_after_what_varies(tmp_path, trained, figures):
    words = ["--fusions", "add", "--vary", "model.r=2,4", "--runs", str(tmp_path), *WORDS]
    assert main(["ablate", "--config", str(CONFIG), *words]) == 0
    labels = [label.get_text() for label in figures[-1].axes[0].get_yticklabels()]
    assert sorted(labels) == ["add, r 2", "add, r 4"]
    assert "dotted" not in figures[-1]._suptitle.get_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.name"], "expected section.key=one,two"),
        (["optimizer.name=nag,"], "a value is empty"),
        (["optimizer.nam=nag,adam"], "did you mean 'optimizer.name'"),
        (["optimizer.name=nag,adamm"], "did you mean 'adam'"),
        (["schedule.lr=0.1,1e-1"], "the same value is given twice"),
        (["schedule.lr=0.1,0.2", "schedule.lr=0.3,0.4"], "varied twice"),
        (["model.fusion=add,aff"], "use --fusions"),
        (["train.seed=1,2"], "use --seeds"),
        (["schedule.lr=0.1,0.2", "schedule.steps=[1,[2"], "expected a list"),
        (["model.r=2,1000"], "r=1000"),
        (["schedule.lr=0.1,0.2", "train.epochs=2"], None),
    ],
)
def test_axis_that_is_impossible_is_one_message(tmp_path, trained, capsys, words, message):
    status = main(["ablate", "--config", str(CONFIG), "--runs", str(tmp_path / "grid"), *WORDS, "--vary", *words])
    error = capsys.readouterr().err
    if message is None:
        assert status == 0
        return
    assert status == 2
    assert message in error
    assert not trained
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vary", "schedule.lr=0.1,0.2", "--seeds", "x"], "--seeds x"),
        (["--vary", "schedule.lr=0.1,0.2", "--seeds", "1,1"], "the same seed is given twice"),
        (["--vary", "schedule.lr=0.1,0.2", "--seeds", "0,-1"], "--seeds 0,-1"),
        (["--vary", "schedule.lr=0.1,0.2", "--parallel", "0"], "--parallel 0"),
        (["schedule.lr=0.3", "--vary", "schedule.lr=0.1,0.2"], "the grid sets this by --vary"),
        ([], "say what to compare"),
    ],
)
def test_options_that_are_impossible_are_one_message(tmp_path, trained, capsys, words, message):
    assert main(["ablate", "--config", str(CONFIG), "--runs", str(tmp_path / "grid"), *WORDS, *words]) == 2
    assert message in capsys.readouterr().err
    assert not trained


def test_chosen_seed_may_be_a_single_one(tmp_path, trained):
    words = ["--fusions", "add", "--seeds", "7,", "--runs", str(tmp_path), *WORDS]
    assert main(["ablate", "--config", str(CONFIG), *words]) == 0
    assert trained == ["add_blocks1_seed7"]


# --- Several at once -------------------------------------------------------------------------------------------------


def test_several_cells_share_the_processors():
    four = Usable(frozenset(range(4)), 4)
    assert [ablation.threads_of_each(cells, {}, four) for cells in (1, 2, 3, 4, 9)] == [4, 2, 1, 1, 1]
    assert ablation.threads_of_each(2, {"OMP_NUM_THREADS": "3"}, four) == 3


def test_no_more_cells_than_asked_for_run_at_once(tmp_path, monkeypatch):
    cells, alive, most = plan(tmp_path, seeds=3), [], []

    class Slow(Done):
        def __init__(self, cell, environment):
            super().__init__(cell)
            self.looks = 2 + cell.seed
            assert environment["OMP_NUM_THREADS"] == "1"  # see conftest.py

        @property
        def status(self):
            self.looks -= 1
            if self.looks > 0:
                return None
            if self in alive:
                alive.remove(self)
            return 0

        @status.setter
        def status(self, value):
            pass

    def start(cell, output, environment):
        alive.append(Slow(cell, environment))
        most.append(len(alive))
        return alive[-1]

    monkeypatch.setattr(ablation, "Child", start)
    monkeypatch.setattr(ablation, "_LOOK", 0.001)
    ablation.run_grid(cells, tmp_path, sys.stdout, parallel=4)
    assert len(most) == 6
    assert max(most) == 4


def test_lines_of_cells_that_run_at_once_begin_with_their_names(tmp_path, capfd):
    words = [*WORDS, "data.name=image_folder", "data.dir=nowhere"]
    with pytest.raises(ablation.AblationError, match=r"these 2 of 2 cells"):
        ablation.run_grid(plan(tmp_path, words=words, seeds=1), tmp_path, sys.stdout, parallel=2)
    errors = [line for line in capfd.readouterr().err.splitlines() if "nowhere" in line]
    assert sorted(line.split(": error: ")[0] for line in errors) == ["add_blocks1_seed0", "aff_blocks1_seed0"]


# --- The table -------------------------------------------------------------------------------------------------------


def test_mean_and_standard_deviation_are_over_seeds_with_n_minus_1():
    last, best = [10.0, 12.0, 17.0], [9.0, 9.5, 10.0]
    (line,) = mean_over_seeds([cell_result(seed=s, last=last[s], best=best[s]) for s in range(3)])
    assert (line.seeds, line.last_mean, line.best_mean) == (3, 13.0, 9.5)
    assert line.last_sd == pytest.approx(statistics.stdev(last)) == pytest.approx(13**0.5)
    assert line.best_sd == pytest.approx(0.5)


def test_single_seed_has_no_deviation():
    (line,) = mean_over_seeds([cell_result()])
    assert line.last_sd is None
    assert plus_minus(line.last_mean, line.last_sd) == "10.00"
    assert plus_minus(10, 0.5) == "10.00 ± 0.50"


def test_unfinished_cells_are_named_and_not_counted():
    results = [cell_result(seed=0), cell_result(seed=1, epochs=1, last=99.0)]
    (line,) = mean_over_seeds(results)
    assert (line.seeds, line.last_mean) == (1, 10.0)
    assert "not finished, and so not counted: aff1" in format_table(results)


def test_lines_are_by_blocks_and_then_by_error():
    results = [cell_result("aff", 2, last=5), cell_result("add", 1, last=9), cell_result("iaff", 1, last=7)]
    assert [(line.blocks, line.fusion) for line in mean_over_seeds(results)] == [(1, "iaff"), (1, "add"), (2, "aff")]


def test_table_is_written_as_text_markdown_csv_json_and_picture(tmp_path, trained, capsys):
    words = ["--fusions", "add,aff", "--blocks", "1,2", "--seeds", "2", "--runs", str(tmp_path), *WORDS]
    assert main(["ablate", "--config", str(CONFIG), *words]) == 0
    text = capsys.readouterr().out
    assert "90.50 ± 0.71" in text  # DirectAdd has nine letters: 90 and 91
    assert "| add | 1 | 84,066 | 2 | 90.50 ± 0.71 | 90.50 ± 0.71 |" in " ".join(
        (tmp_path / "ablation.md").read_text().split()
    )
    with (tmp_path / "ablation.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["fusion"], line["blocks"]) for line in lines] == [
        ("aff", "1"),
        ("add", "1"),
        ("aff", "2"),
        ("add", "2"),
    ]
    assert float(lines[0]["last_mean"]) == 80.5
    report = json.loads((tmp_path / "ablation.json").read_text())
    assert len(report["cells"]) == 8
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_alone_on_standard_output(tmp_path, trained, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fusion"), "handlers", [])  # as in a process of its own
    words = ["--fusions", "add", "--runs", str(tmp_path), "--json", *WORDS]
    assert main(["ablate", "--config", str(CONFIG), *words]) == 0
    assert json.loads(capsys.readouterr().out)["lines"][0]["fusion"] == "add"


def test_figure_of_which_more_is_better_has_the_best_line_first():
    last = {"add": 0.5, "aff": 0.75}
    results = [
        CellResult(fusion, 1, seed, "noise", 1000, 2, 2, last[fusion], last[fusion], "run", IOU, ((NIOU, 0.25 + seed),))
        for fusion in last
        for seed in range(2)
    ]
    lines = mean_over_seeds(results)
    assert [line.fusion for line in lines] == ["aff", "add"]
    assert lines[0].cells()["niou_mean"] == 0.75
    text = format_table(results)
    assert "last IoU" in text
    assert "0.7500 ± 0.0000" in text
    assert "0.7500 ± 0.7071" in text
    described = describe(results)
    assert "highest IoU" in described["note"]
    assert json.loads(json.dumps(described))["cells"][1]["niou"] == 1.25


def test_epochs_that_were_not_evaluated_do_not_count(tmp_path):
    words = ["train.epochs=4", "train.evaluate_every=2", "schedule.warmup_epochs=0"]
    (cell,) = plan_grid(CONFIG, ["add"], [1], 1, tmp_path, words)
    write_run(cell.path, CONFIG, [None, 30.0, None, 40.0], cell.words)
    (found,) = collect([cell])
    assert (found.best, found.last, found.epochs, found.finished) == (30.0, 40.0, 4, True)


@pytest.mark.parametrize("name", ["result.json", "metrics.csv", "config.yaml"])
def test_damaged_cell_is_named_and_left_out(tmp_path, trained, caplog, name):
    cells = plan(tmp_path)
    ablation.run_grid(cells, tmp_path, sys.stdout)
    trained.clear()
    damaged = tmp_path / "add_blocks1_seed0"
    (damaged / name).write_bytes((damaged / name).read_bytes()[:25])
    cells = plan(tmp_path)
    assert [cell.path for cell in cells if cell.damage] == [damaged]
    ablation.run_grid(cells, tmp_path, sys.stdout)
    assert not trained
    assert f"cell 1 of 4, add_blocks1_seed0: left out: {damaged / name}: " in caplog.text
    assert len(collect(cells)) == 3


# --- For real --------------------------------------------------------------------------------------------------------


def start(words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, **streams)


def without_timings(path):
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in read_metrics(path)]


def make_images(path):
    """A folder of dark and light images, and the settings that name it."""
    draw = np.random.default_rng(0)
    for name in ("train/dark", "train/light", "test/dark", "test/light"):
        (path / name).mkdir(parents=True)
        for number in range(48 if name.startswith("train") else 4):
            pixels = draw.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(150 * name.endswith("light"))
            Image.fromarray(pixels).save(path / name / f"{number}.png")
    return ["data.name=image_folder", f"data.dir={path}"]


@pytest.mark.long
def test_interrupted_grid_goes_on_and_each_cell_is_the_run_by_hand(tmp_path):
    grid, data = tmp_path / "grid", make_images(tmp_path / "images")
    words = ["train.epochs=1", "schedule.warmup_epochs=0", "data.batch_size=4", *data]
    command = ["-m", "fusion", "ablate", "--config", str(CONFIG), "--fusions", "add,aff", "--blocks", "1"]
    command += ["--seeds", "2", "--runs", str(grid), "runtime.log_every=1", *words]
    log = grid / "aff_blocks1_seed0" / "run.log"
    running = start(command)
    try:
        deadline = time.monotonic() + 300
        while not (log.exists() and ", batch 1/" in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        output = running.communicate(timeout=120)[0].decode()
    finally:
        running.kill()
    assert running.returncode == 130, output
    assert (grid / "aff_blocks1_seed0" / "checkpoints" / "last.npz").is_file()
    assert not (grid / "add_blocks1_seed1").exists()
    finished = (grid / "add_blocks1_seed0" / "metrics.csv").stat().st_mtime_ns

    again = start(command)
    output = again.communicate(timeout=600)[0].decode()
    assert again.returncode == 0, output
    assert "add_blocks1_seed0: finished already" in output
    assert (grid / "add_blocks1_seed0" / "metrics.csv").stat().st_mtime_ns == finished
    report = json.loads((grid / "ablation.json").read_text())
    assert [(line["seeds"], line["last_sd"] is None) for line in report["lines"]] == [(2, False)] * 2

    by_hand = tmp_path / "by_hand"
    hand = ["train_cifar.py", "--config", str(CONFIG), "--run-dir", str(by_hand), *words, "model.fusion=aff"]
    assert start([*hand, "train.seed=0"]).wait(300) == 0
    cell = grid / "aff_blocks1_seed0"  # the one that was interrupted
    assert without_timings(cell / "metrics.csv") == without_timings(by_hand / "metrics.csv")
    assert (cell / "checkpoints" / "best.params").read_bytes() == (by_hand / "checkpoints" / "best.params").read_bytes()


@pytest.mark.slow
@pytest.mark.long
def test_cells_at_once_save_themselves_at_ctrl_c_and_have_the_bits_of_one_alone(tmp_path):
    grid, data = tmp_path / "grid", make_images(tmp_path / "images")
    words = ["train.epochs=1", "schedule.warmup_epochs=0", "data.batch_size=4", *data]
    command = ["-m", "fusion", "ablate", "--config", str(CONFIG), "--runs", str(grid), "--parallel", "2"]
    command += ["runtime.log_every=1", *words, "--vary", "schedule.lr=0.05,0.1", "--seeds", "0,3"]
    cells = [grid / f"lr{rate}_seed0" for rate in ("0.05", "0.1")]
    running = start(command)
    try:
        deadline = time.monotonic() + 300
        logs = [cell / "run.log" for cell in cells]
        while not all(log.exists() and ", batch 1/" in log.read_text() for log in logs) and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        output = running.communicate(timeout=120)[0].decode()
    finally:
        running.kill()
    assert running.returncode == 130, output
    assert "2 cells at once with 1 thread each" in output
    assert "\nlr0.05_seed0: " in output and "\nlr0.1_seed0: " in output
    assert not (grid / "lr0.05_seed3").exists()
    for cell in cells:
        assert (cell / "checkpoints" / "last.npz").is_file() or (cell / "result.json").is_file()

    again = start(command)
    output = again.communicate(timeout=600)[0].decode()
    assert again.returncode == 0, output
    assert len(json.loads((grid / "ablation.json").read_text())["cells"]) == 4

    by_hand = tmp_path / "by_hand"
    hand = ["train_cifar.py", "--config", str(CONFIG), "--run-dir", str(by_hand), *words, "schedule.lr=0.1"]
    assert start([*hand, "train.seed=0"]).wait(300) == 0
    assert without_timings(cells[1] / "metrics.csv") == without_timings(by_hand / "metrics.csv")
    best = Path("checkpoints") / "best.params"
    assert (cells[1] / best).read_bytes() == (by_hand / best).read_bytes()


@pytest.mark.slow
@pytest.mark.long
def test_inception_networks_of_one_to_four_blocks_are_trained(tmp_path):
    words = [
        "model.name=cifar_inception",
        "train.epochs=1",
        "schedule.warmup_epochs=0",
        *make_images(tmp_path / "images"),
    ]
    command = ["-m", "fusion", "ablate", "--config", str(CONFIG), "--fusions", "aff", "--blocks", "1,2,3,4"]
    runs = tmp_path / "runs"
    running = start([*command, "--runs", str(runs), *words])
    output = running.communicate(timeout=900)[0].decode()
    assert running.returncode == 0, output
    lines = json.loads((runs / "ablation.json").read_text())["lines"]
    assert [line["blocks"] for line in lines] == [1, 2, 3, 4]
    sizes = [line["parameters"] for line in lines]
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] == sizes[3] - sizes[2] > 0
    assert all(line["last_mean"] < 100 for line in lines)
