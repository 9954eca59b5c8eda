"""Damaged files of a run: one clear error each, in whatever reads them; a changed config is not resumed."""

from __future__ import annotations

import json
import logging

import pytest
from classified import TASK
from run_folders import write_run
from test_configs import CONFIGS

from fusion.__main__ import main
from fusion.published.compare import find_runs, read_run
from fusion.training.config import read_config
from fusion.training.history import History
from fusion.training.logbook import RunDirectory, read_evaluations, read_result
from fusion.training.run_files import (
    NoEpochError,
    RunError,
    read_class_names,
    read_environment,
    refuse_changed,
    seal,
)

CONFIG = CONFIGS / "cifar10_aff_resnet32.yaml"

#: From the name of a file to what makes of its bytes something else.
CHANGES = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "no text": lambda content: b"\xff\xfe\x00" + content,
    "null bytes": lambda content: b"\0" * len(content),
    "nested": lambda content: b"[" * 100_000,
}


@pytest.fixture
def run(tmp_path):
    path = write_run(tmp_path / "runs" / "run", CONFIG, [50.0, 40.0])
    (path / "classes.txt").write_text("".join(f"class {number}\n" for number in range(10)))
    (path / "environment.json").write_text(json.dumps({"threads": {"count": 2, "why": "they are there"}}))
    return path


# --- Each file -------------------------------------------------------------------------------------------------------


def read_all(path):
    run = RunDirectory(path)
    read_result(run)
    read_evaluations(run)
    read_environment(run.environment)
    run.read_classes()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["result.json", "metrics.csv", "environment.json"])
def test_damaged_file_is_one_error_that_names_it(run, name, change):
    read_all(run)
    (run / name).write_bytes(change((run / name).read_bytes()))
    with pytest.raises(RunError, match=f"{name}: damaged: .* continue the run with --resume {run}"):
        read_all(run)


@pytest.mark.parametrize("text", ["", "a\n\nb\n", "a\nb\na\n", "a\0b\n"])
def test_damaged_names_of_classes_are_one_error(run, text):
    (run / "classes.txt").write_text(text)
    with pytest.raises(RunError, match=r"classes\.txt: damaged: .*expected .* on each line"):
        read_all(run)
    (run / "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(RunError, match=r"classes\.txt: damaged"):
        read_all(run)


def test_names_of_classes_are_read_as_any_editor_writes_them(run):
    (run / "classes.txt").write_bytes("cat\r\ngreat white shark\r\n".encode("utf-8-sig"))
    assert read_class_names(run / "classes.txt") == ["cat", "great white shark"]
    (run / "classes.txt").unlink()
    assert read_class_names(run / "classes.txt") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "2"),
        ("epochs", -1),
        ("epochs", True),
        ("epochs", 2.5),
        ("model", None),
        ("data", ["CIFAR-10"]),
        ("parameters", 1e9),
        ("classes", None),
        ("test_images", "many"),
        ("train_images", {}),
        ("best", []),
        ("best", {}),
        ("last", {"epoch": "2"}),
        ("last", {"epoch": 0}),
        ("last", {"epoch": 2, "val_loss": "low"}),
    ],
)
def test_field_of_a_result_of_another_type_is_refused(run, field, value):
    facts = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**facts, field: value}))
    with pytest.raises(RunError, match=rf"result\.json: damaged: its {field} is "):
        read_result(RunDirectory(run))
    del facts[field]
    (run / "result.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=rf"result\.json: damaged: its {field} is missing"):
        read_result(RunDirectory(run))


@pytest.mark.parametrize("value", [{}, [], None, {"epoch": "three"}])
def test_best_average_of_a_result_may_be_missing_but_not_of_another_type(run, value):
    facts = json.loads((run / "result.json").read_text())
    assert "best_average" not in facts
    (run / "result.json").write_text(json.dumps({**facts, "best_average": value}))
    with pytest.raises(RunError, match=r"result\.json: damaged: its best_average is "):
        read_result(RunDirectory(run))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\n2,", "\n1,", "its epochs do not count up"),
        ("\n2,", "\n1.5,", "its epochs do not count up"),
        ("\n2,", "\ntwo,", "line 3: could not convert"),
        ("\n2,", "\n,", "its epochs do not count up"),
        ("\n2,", "\n0.1,2,", "line 3 has 10 cells, and the first 9"),
        ("val_top1_error", "val_iou", "it has no column val_top1_error"),
        ("learning_rate", "rate", "it has no column learning_rate"),
        ("0.5\r\n2", '"0.5\r\n2', "it is no table"),
    ],
)
def test_table_of_metrics_that_no_run_has_written_is_refused(run, old, new, reason):
    text = (run / "metrics.csv").read_bytes().decode()
    assert old in text
    (run / "metrics.csv").write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(RunError, match=rf"metrics\.csv: damaged: {reason}"):
        History.read(TASK, run / "metrics.csv")


def test_result_of_a_run_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(RunError, match="no epoch has an evaluation"):
        read_run(write_run(tmp_path / "run", CONFIG, [None, None]))


def test_run_without_an_epoch_is_not_damaged(run):
    (run / "result.json").unlink()
    with pytest.raises(NoEpochError, match="no epoch of this run is finished yet"):
        read_run(run)


# --- Several runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["result.json", "metrics.csv", "classes.txt", "config.yaml"])
def test_damaged_run_is_named_and_left_out_of_others(run, tmp_path, capsys, caplog, name):
    write_run(tmp_path / "runs" / "sound", CONFIG, [50.0, 40.0])
    write_run(tmp_path / "runs" / "not_yet", CONFIG, [])
    (run / name).write_bytes(b"\xff" + (run / name).read_bytes()[:20])
    with caplog.at_level(logging.WARNING):
        assert [found.path.name for found in find_runs(tmp_path / "runs")] == ["sound"]
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"left out: {run / name}: ")
    assert main(["reproduce", "cifar10_v1_aff_resnet32", "--runs", str(tmp_path / "runs")]) == 0
    assert "60.00 %" in capsys.readouterr().out  # of the images are right
    assert main(["curves", str(run), "--output", str(tmp_path / "curves.png")]) == 2
    assert f"error: {run / name}: " in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()


# --- config.yaml -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(read_config(CONFIG))
    return run


def test_config_of_a_run_is_whole_and_read_as_before(sealed, caplog):
    refuse_changed(sealed.config)
    assert sealed.settings() == read_config(CONFIG)
    assert not caplog.records


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_config_that_was_cut_off_is_not_resumed(sealed, capsys, share):
    content = sealed.config.read_bytes()
    sealed.config.write_bytes(content[: int(share * len(content))])
    before = sorted(sealed.path.rglob("*"))
    assert main(["train", "--resume", str(sealed.path)]) == 2
    assert f"error: {sealed.config}: cut off" in capsys.readouterr().err
    assert sorted(sealed.path.rglob("*")) == before


def test_config_that_was_changed_is_not_resumed_unless_that_is_wanted(sealed, caplog):
    text = sealed.config.read_text().replace("momentum: 0.9", "momentum: 0.8")
    sealed.config.write_text(text)
    with pytest.raises(RunError, match="by its checksum: .* remove its first line, if you have changed it yourself"):
        refuse_changed(sealed.config)
    assert sealed.settings().optimizer.momentum == 0.8  # to look at a run is no risk, and it is told
    assert "cut off, or changed since the run started" in caplog.text
    sealed.config.write_text(text.split("\n", 1)[1])
    refuse_changed(sealed.config)
    assert "has no checksum, as of an older version" in caplog.text


@pytest.mark.parametrize("folder", ["é/ü", "a # b", "\udcff"])
def test_any_folder_can_be_sealed(tmp_path, folder):
    run = RunDirectory(tmp_path / "run")
    run.create(read_config(None, [f"data.dir={folder}"]))
    refuse_changed(run.config)
    assert seal("a\n") != seal("b\n")
