"""What a run leaves behind: its folder, figures that read back as they were, the picture, and what is refused."""

from __future__ import annotations

import json
import logging
import math
import os
import struct
import sys
from importlib import metadata

import matplotlib.figure
import numpy as np
import pytest
from classified import COLUMNS, TASK, history

import fusion
from fusion import command
from fusion.compat import mx
from fusion.errors import ConfigError
from fusion.processors import Threads, chosen
from fusion.training import run_environment
from fusion.training.config import read_config
from fusion.training.history import TIMINGS, History, read_metrics
from fusion.training.logbook import RunDirectory, default_run_directory, read_result
from fusion.training.picture import draw_training_curves
from fusion.training.run_environment import environment

PNG = b"\x89PNG\r\n\x1a\n"
FACTS = {"model": "aff_resnet32", "data": "noise", "classes": 100, "parameters": 9}
FACTS.update(train_images=2, test_images=1)


def row(epoch, **changes):
    """An epoch whose figures need all their digits."""
    draw = np.random.default_rng(epoch)
    figures = {name: float(draw.uniform(0.1, 0.9)) for name in COLUMNS}
    return {**figures, "epoch": epoch, **changes}


@pytest.fixture
def settings():
    return read_config(None, ["schedule.lr=0.125", "train.epochs=3"])


@pytest.fixture
def run(tmp_path, settings):
    """The folder of a run that has started."""
    directory = RunDirectory(tmp_path / "run")
    directory.create(settings)
    directory.let_go()
    return directory


def refusal(action):
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


# --- The folder ------------------------------------------------------------------------------------------------------


def test_started_run_has_its_settings_and_environment(run, settings):
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "config.yaml", "environment.json"]
    assert list((run.path / "checkpoints").iterdir()) == []
    assert read_config(run.config) == settings
    assert json.loads((run.path / "environment.json").read_text())["device"] == "cpu"


def test_files_of_a_run_have_their_names(tmp_path):
    run = RunDirectory(tmp_path)
    paths = (run.config, run.metrics, run.picture, run.result, run.last, run.best)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "result.json",
        "checkpoints/last.npz",
        "checkpoints/best.params",
    ]


def test_folder_is_made_with_those_above_it(tmp_path, settings):
    RunDirectory(tmp_path / "a" / "b" / "c").create(settings)
    assert (tmp_path / "a" / "b" / "c" / "config.yaml").is_file()


def test_folder_that_is_there_without_a_run_is_used(tmp_path, settings):
    (tmp_path / "notes.txt").write_text("mine")
    RunDirectory(tmp_path).create(settings)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "config.yaml").is_file()


def test_folder_with_a_run_is_refused_and_left_alone(run):
    before = run.config.read_bytes()
    message = refusal(lambda: RunDirectory(run.path).create(read_config(None, ["train.seed=9"])))
    assert message.startswith(f"{run.path}: holds a run already")
    assert f"--resume {run.path}" in message
    assert run.config.read_bytes() == before


def test_file_in_place_of_the_folder_is_refused_and_left_alone(tmp_path, settings):
    path = tmp_path / "file"
    path.write_text("mine")
    for run in (RunDirectory(path), RunDirectory(path / "below")):
        message = refusal(lambda run=run: run.create(settings))
        assert message.startswith(f"{run.path}: cannot hold a run (")
    assert path.read_text() == "mine"


def test_folder_that_cannot_be_written_to_is_refused(tmp_path, settings, monkeypatch):
    def denied(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    run = RunDirectory(tmp_path / "run")
    monkeypatch.setattr(type(run.path), "mkdir", denied)  # pretended: the superuser may write anywhere
    assert refusal(lambda: run.create(settings)) == f"{run.path}: cannot hold a run (Permission denied)"


def test_run_that_has_started_is_found(run):
    found = RunDirectory.existing(run.path)
    assert type(found) is RunDirectory
    assert found.path == run.path


def test_folder_without_a_run_is_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "config.yaml").mkdir()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        assert refusal(lambda path=path: RunDirectory.existing(path)).startswith(f"{path}: not the folder of a run")


def test_default_folder_is_the_first_free_one_after_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "configs" / "aff.yaml"
    expected = ["runs/aff", "runs/aff-2", "runs/aff-3"]
    for name in expected:
        path = default_run_directory(config.stem)
        assert path.as_posix() == name
        path.mkdir(parents=True)
    assert RunDirectory.unnamed(None).path.as_posix() == "runs/run"
    (tmp_path / "runs" / "aff-2").rmdir()
    assert default_run_directory(config.stem).as_posix() == "runs/aff-2"


def test_what_is_logged_is_appended_to_the_run_s_log(run):
    logger = logging.getLogger("fusion")
    handlers, level = list(logger.handlers), logger.level
    logger.setLevel(logging.INFO)
    try:
        for message in ("first", "второй"):
            with run.log():
                logger.info(message)
            logger.info("not of this run")
            assert logger.handlers == handlers
    finally:
        logger.setLevel(level)
    lines = (run.path / "run.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["first", "второй"]
    assert [len(line.split(" ", 2)[0]) for line in lines] == [10, 10]


# --- Figures ---------------------------------------------------------------------------------------------------------


def test_metrics_are_a_row_an_epoch_and_read_back_exactly(run):
    rows = [row(1), row(2), row(3, val_loss=1e-300, train_loss=1 / 3, seconds=0.1 + 0.2)]
    run.write_epoch(history(rows), "title", FACTS)
    lines = run.metrics.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[0].startswith("epoch,train_loss,train_rmse,val_loss,val_top1_error,val_top5_error,learning_rate")
    assert len(lines) == 4
    assert read_metrics(run.metrics) == rows
    assert {*TIMINGS} < {*COLUMNS}


def test_figures_of_a_run_that_diverged_read_back(run):
    run.write_epoch(history([row(1, train_loss=math.nan, val_loss=math.inf)]), "title", FACTS)
    (found,) = read_metrics(run.metrics)
    assert math.isnan(found["train_loss"])
    assert found["val_loss"] == math.inf
    assert run.picture.read_bytes().startswith(PNG)


def test_result_has_the_best_epoch_and_the_last(run):
    rows = [row(1, val_top1_error=0.5), row(2, val_top1_error=0.25), row(3, val_top1_error=0.375)]
    run.write_epoch(history(rows), "title", FACTS)
    found = read_result(run)
    assert found["best"] == rows[1]
    assert found["last"] == rows[2]
    assert found["epochs"] == 3
    assert {key: found[key] for key in FACTS} == FACTS
    assert "lowest top-1 error on the test set" in found["note"]


def test_best_of_equal_epochs_is_the_first(run):
    rows = [row(1, val_top1_error=0.5), row(2, val_top1_error=0.25), row(3, val_top1_error=0.25)]
    run.write_epoch(history(rows), "title", FACTS)
    assert read_result(run)["best"]["epoch"] == 2


def test_later_epoch_replaces_the_files_and_leaves_nothing_else(run):
    run.write_epoch(history([row(1)]), "title", FACTS)
    picture = run.picture.read_bytes()
    run.write_epoch(history([row(1), row(2)]), "title", FACTS)
    assert [found["epoch"] for found in read_metrics(run.metrics)] == [1, 2]
    assert read_result(run)["last"]["epoch"] == 2
    assert run.picture.read_bytes() != picture
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "curves.png",
        "environment.json",
        "metrics.csv",
        "result.json",
    ]


def test_row_of_other_columns_is_refused_and_the_old_files_stay(run):
    run.write_epoch(history([row(1)]), "title", FACTS)
    before, names = run.metrics.read_bytes(), sorted(run.path.iterdir())
    with pytest.raises(ValueError, match="accuracy"):
        run.write_epoch(history([row(1), row(2, accuracy=1.0)]), "title", FACTS)
    assert run.metrics.read_bytes() == before
    assert sorted(run.path.iterdir()) == names


def test_held_run_is_refused_to_others_with_its_process(run, settings):
    run.hold()
    said = refusal(RunDirectory(run.path).hold)
    assert said.startswith(f"{run.path}: process {os.getpid()} trains this run; wait for its end")
    run.let_go()
    assert not (run.path / "run.lock").exists()


def test_two_processes_do_not_start_one_run(tmp_path, settings):
    first = RunDirectory(tmp_path / "run")
    first.create(settings)
    first.config.unlink()  # as if the first had not come so far yet
    assert "trains this run" in refusal(lambda: RunDirectory(tmp_path / "run").create(settings))
    assert not first.config.exists()
    first.let_go()


def test_what_killed_processes_left_is_gone_at_the_next_start(run):
    run.pictures.mkdir()
    left = [run.path / ".config.yaml.99999999.part", run.last.parent / f".last.npz.{os.getppid()}.part"]
    left += [run.pictures / ".epoch_0001.png.1.part", run.path / f".metrics.csv.{os.getpid()}.part"]
    for path in left:
        path.write_text("half")
    run.hold()
    run.let_go()
    assert not [path for path in left if path.exists()]


def test_log_without_room_does_not_end_a_run(run, tmp_path, capsys):
    (run.path / "run.log").symlink_to("/dev/full")
    logger = logging.getLogger("fusion")
    command.log_to_terminal()
    with run.log():
        logger.info("one")
        logger.info("two")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "one",
        f"{run.path / 'run.log'}: cannot be written now (No space left on device)",
        "two",
    ]


def test_log_takes_names_that_are_no_text(run):
    with run.log():
        logging.getLogger("fusion").warning("a\udcff")
    assert (run.path / "run.log").read_text().endswith("a\\udcff\n")


def test_run_without_a_finished_epoch_has_no_result(run):
    message = refusal(lambda: read_result(run))
    assert message.startswith(f"{run.path}: no epoch of this run is finished yet")


# --- Environment -----------------------------------------------------------------------------------------------------


def test_environment_is_what_the_run_ran_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_cifar.py", "--config", "my config.yaml"])
    found = environment("cpu:2")
    assert list(found) == [
        "command",
        "started",
        "python",
        "system",
        "versions",
        "mxnet_features",
        "commit",
        "device",
        "cpus",
        "threads",
    ]
    assert found["command"].endswith(" train_cifar.py --config 'my config.yaml'")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["started"].endswith("+00:00")
    assert found["device"] == "cpu:2"
    assert found["cpus"] >= 1
    assert found["threads"] == {"count": chosen().count, "why": chosen().why}
    assert ("CUDA" in found["mxnet_features"]) is mx.runtime.Features().is_enabled("CUDA")
    assert found["mxnet_features"] == sorted(found["mxnet_features"])
    json.dumps(found)


@pytest.fixture
def threads(monkeypatch):
    """Pretends a number of threads."""

    def use(count):
        monkeypatch.setattr(run_environment, "chosen", lambda: Threads(count, f"{count} made up"))

    return use


def recorded(run):
    found = json.loads((run.path / "environment.json").read_text())
    return found["threads"], found.get("threads_resumed")


def test_run_that_goes_on_with_other_threads_says_so_and_keeps_both(threads, settings, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fusion")
    run, counts = RunDirectory(tmp_path / "run"), [{"count": n, "why": f"{n} made up"} for n in range(3)]
    threads(2)
    run.create(settings)
    assert recorded(run) == (counts[2], None)
    run.write_environment(settings)
    assert recorded(run) == (counts[2], [counts[2]])
    assert caplog.messages == []
    threads(1)
    run.write_environment(settings)
    assert recorded(run) == (counts[2], [counts[2], counts[1]])
    (line,) = caplog.messages
    assert "started with OMP_NUM_THREADS=2 and continues with 1" in line
    assert "in their last digits" in line
    assert line.endswith("continue with OMP_NUM_THREADS=2")


def test_threads_of_a_run_on_gpus_and_of_one_without_a_record_are_not_spoken_of(threads, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fusion")
    run, settings = RunDirectory(tmp_path / "run"), read_config(None, ["runtime.device='0,1'"])
    threads(2)
    run.create(settings)
    threads(1)
    run.write_environment(settings)
    file = run.path / "environment.json"
    file.write_text(json.dumps({"device": "cpu"}))
    run.write_environment(read_config(None, []))
    assert recorded(run) == ({"count": 1, "why": "1 made up"}, None)
    assert caplog.messages == []


def test_versions_are_those_installed():
    versions = environment("cpu")["versions"]
    assert {*versions} == {"fusion", "mxnet", "numpy", "gluoncv", "matplotlib", "Pillow"}
    assert versions["fusion"] == fusion.__version__
    assert versions["mxnet"] == mx.__version__
    assert versions["numpy"] == np.__version__
    assert versions["matplotlib"] == matplotlib.__version__


def test_machine_without_git_or_gluoncv_is_described_without_them(monkeypatch):
    def not_there(*arguments, **keywords):
        raise FileNotFoundError("git")

    def no_package(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("subprocess.run", not_there)
    monkeypatch.setattr(metadata, "version", no_package)
    found = environment("cpu")
    assert found["commit"] is None
    assert found["versions"]["gluoncv"] is None


# --- The picture -----------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The picture that rows of a history are drawn as."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def spy(figure, *arguments, **keywords):
        figures.append(figure)
        save(figure, *arguments, **keywords)

    def draw(rows, title="aff_resnet32 on digits"):
        draw_training_curves(history(rows), title, tmp_path / "curves.png")
        return figures[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", spy)
    return draw


def lines_of(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_picture_is_a_png_of_every_epoch(drawn, tmp_path, epochs):
    rows = [row(epoch) for epoch in range(1, epochs + 1)]
    errors, losses, rates = drawn(rows).axes
    content = (tmp_path / "curves.png").read_bytes()
    assert content.startswith(PNG)
    assert struct.unpack(">II", content[16:24]) == (990, 396)
    expected = list(range(1, epochs + 1))
    curves = {**lines_of(errors), **lines_of(losses), **lines_of(rates)}
    for label, name, scale in (
        ("top-1", "val_top1_error", 100),
        ("top-5", "val_top5_error", 100),
        ("training loss", "train_loss", 1),
        ("test loss", "val_loss", 1),
        ("learning rate", "learning_rate", 1),
    ):
        assert curves[label] == (expected, [scale * figures[name] for figures in rows])


def test_picture_names_what_it_shows_with_units(drawn):
    figure = drawn([row(1), row(2)])
    errors, losses, rates = figure.axes
    assert figure._suptitle.get_text() == "aff_resnet32 on digits"
    assert errors.get_xlabel() == losses.get_xlabel() == "epoch"
    assert errors.get_ylabel() == "error on the test set (%)"
    assert losses.get_ylabel() == "cross-entropy (nats)"
    assert rates.get_ylabel() == "learning rate"
    legend = [text.get_text() for text in losses.get_legend().get_texts()]
    assert legend == ["training loss", "test loss", "learning rate"]


def test_best_epoch_is_marked(drawn):
    rows = [row(1, val_top1_error=0.5), row(2, val_top1_error=0.1234), row(3, val_top1_error=0.375)]
    assert lines_of(drawn(rows).axes[0])["best: 12.34 % at epoch 2"] == ([2], [pytest.approx(12.34)])


def test_single_epoch_shows_as_a_point_and_many_as_a_line(drawn):
    markers = {count: drawn([row(e) for e in range(count)]).axes[0].get_lines()[0].get_marker() for count in (1, 100)}
    assert markers[1] == "."
    assert markers[100] in ("", "None", None)


def test_picture_is_drawn_without_pyplot(run):
    run.write_epoch(history([row(1)]), "title", FACTS)
    assert run.picture.read_bytes().startswith(PNG)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_title_with_dollars(tmp_path):
    draw_training_curves(history([dict.fromkeys(COLUMNS, 0.5)]), r"on $\foo$", tmp_path / "a.png")


# --- The history -----------------------------------------------------------------------------------------------------


def test_epochs_without_an_evaluation_are_neither_best_nor_last(tmp_path):
    rows = [
        row(epoch, val_top1_error=error) for epoch, error in enumerate((math.nan, 0.5, math.nan, 0.25, math.nan), 1)
    ]
    found = history(rows)
    assert found.epochs == (2, 4)
    assert found.headlines == (50, 25)
    assert (found.best, found.last) == (rows[3], rows[3])
    assert found.best_average is None
    found.write(tmp_path / "metrics.csv")
    assert History.read(TASK, tmp_path / "metrics.csv").epochs == (2, 4)


def test_runs_that_start_together_take_folders_of_their_own(tmp_path, monkeypatch, settings):
    monkeypatch.chdir(tmp_path)
    runs = [RunDirectory.unnamed(tmp_path / "aff.yaml") for _ in range(3)]
    for run in runs:
        run.create(settings)
    assert [run.path.as_posix() for run in runs] == ["runs/aff", "runs/aff-2", "runs/aff-3"]
    assert all(run.config.is_file() and run.last.parent.is_dir() for run in runs)
