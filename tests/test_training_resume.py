"""A resumed run against the unbroken one, to the bit: killed and interrupted anywhere, in processes of their own."""

from __future__ import annotations

import csv
import fcntl
import json
import logging
import math
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion.data import load_dataset
from fusion.training import main
from fusion.training.config import read_config
from fusion.training.history import TIMINGS, read_metrics
from fusion.words import counted

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "train_cifar.py"
QUICKSTART = ROOT / "configs" / "quickstart.yaml"

IMAGES = {"train": 160, "test": 50}
SIDE, BATCH, EPOCHS = 16, 4, 3
LENGTH = IMAGES["train"] // BATCH

#: Everything that draws random numbers or remembers earlier steps.
WORDS = (
    "data.name=image_folder",
    f"data.size={SIDE}",
    f"data.batch_size={BATCH}",
    "augment.flip=true",
    "augment.auto_augment=cifar10",
    "augment.mixup_alpha=0.4",
    "augment.mixup_off_epochs=1",
    "schedule.warmup_epochs=0.5",
    "train.label_smoothing=0.1",
    f"train.epochs={EPOCHS}",
    "runtime.log_every=1",
)

#: Runs a script that sends itself a signal when a function of the engine is called for the n-th time.
DRIVER = """
import operator, os, runpy, signal, sys
from fusion.training import engine

point, count, number = sys.argv[1], int(sys.argv[2]), signal.Signals[sys.argv[3]]
path, _, name = point.rpartition(".")
owner = operator.attrgetter(path)(engine) if path else engine
original, calls = getattr(owner, name), 0

def watched(*arguments, **keywords):
    global calls
    calls += 1
    if calls == count:
        os.kill(os.getpid(), number)
    return original(*arguments, **keywords)

setattr(owner, name, watched)
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

PATIENCE = 300  # seconds until a test gives a process up
PIPE_SIZE, PAGE = 1031, 4096  # F_SETPIPE_SZ, which Python knows by name from 3.10


# --- Running ---------------------------------------------------------------------------------------------------------


def call(*words):
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE
    )


def finish(*words):
    done = call(SCRIPT, *words)
    assert done.returncode == 0, done.stdout


def resume(run, *words):
    finish("--resume", run, *words)
    return run


def break_at(point, count, number, *words):
    """Run until a function of the engine is called for the n-th time, and send a signal there."""
    done = call("-c", DRIVER, point, count, number.name, SCRIPT, *words)
    assert done.returncode == (-number if number is signal.SIGKILL else 130), done.stdout
    return done


class Leashed:
    """A run that writes into a pipe of one page: it waits there once it is some 25 lines ahead of who reads.

    So a signal that is sent after a line meets the epoch of that line, however busy the machine is.
    """

    def __init__(self, *words):
        command = [sys.executable, str(SCRIPT), *map(str, words)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, start_new_session=True
        )
        fcntl.fcntl(self.process.stdout, PIPE_SIZE, PAGE)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def read_until(self, text):
        """Read lines, a byte at a time, to the first that has the text."""
        read = b""
        while text.encode() not in read.rpartition(b"\n")[2] or not read.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert ready, f"nothing more in {PATIENCE} s after:\n{read.decode()}"
            line = self.process.stdout.readline()
            assert line, f"ended before {text!r}:\n{read.decode()}"
            read += line
            if text.encode() in line:
                return

    def send(self, number):
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output.decode()


@pytest.fixture(autouse=True, scope="module")
def ctrl_c_is_heeded():
    """Shells start background jobs, and so what those start, with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def no_handlers_left():
    """`main` in this process adds handlers to the package's logger."""
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some of the digits as small PNG files; the long name makes long log lines, for `Leashed`."""
    root = tmp_path_factory.mktemp("digits_of_16_pixels_" + "x" * 70)
    for split, count in IMAGES.items():
        digits = load_dataset("digits", split)
        for number in range(count):
            path = root / split / str(digits.labels[number]) / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[number]).resize((SIDE, SIDE)).save(path)
    return root


@pytest.fixture(scope="module")
def words(folder):
    return ("--config", QUICKSTART, f"data.dir={folder}", *WORDS)


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The unbroken run; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    finish(*words, "--run-dir", run)
    return run


@pytest.fixture(scope="module")
def interrupted(words, tmp_path_factory):
    """A run after Ctrl-C in its second epoch, its exit status and its words; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "interrupted"
    with Leashed(*words, "--run-dir", run) as process:
        process.read_until(f"epoch 2/{EPOCHS}, batch 3/{LENGTH}:")
        return (run, *process.send(signal.SIGINT))


@pytest.fixture
def stopped(interrupted, tmp_path):
    """A copy of the interrupted run, to be gone on with."""
    return copied(interrupted[0], tmp_path)


def copied(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "run"))


# --- Comparing -------------------------------------------------------------------------------------------------------


def table(run):
    """The rows of metrics.csv as text, but for the columns that time the machine."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return [{key: text for key, text in row.items() if key not in TIMINGS} for row in csv.DictReader(stream)]


def last(run):
    """The arrays and the position of the last checkpoint."""
    with np.load(run / "checkpoints" / "last.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return arrays, json.loads(arrays.pop("state").tobytes())


def result(run):
    found = json.loads((run / "result.json").read_text())
    for row in (found["best"], found["last"]):
        for name in TIMINGS:
            del row[name]
    return found


def contents(run):
    """Every file, but what a kill left half written under a name of its own."""
    paths = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".part"]
    return {path.relative_to(run): path.read_bytes() for path in paths}


def assert_identical(run, whole):
    assert table(run) == table(whole)
    (arrays, state), (expected, expected_state) = last(run), last(whole)
    assert arrays.keys() == expected.keys()
    differing = [name for name in arrays if not np.array_equal(arrays[name], expected[name])]
    assert not differing
    assert (state["epoch"], state["batch"]) == (expected_state["epoch"], expected_state["batch"]) == (EPOCHS, 0)
    assert (run / "checkpoints" / "best.params").read_bytes() == (whole / "checkpoints" / "best.params").read_bytes()
    assert result(run) == result(whole)
    assert sorted(contents(run)) == sorted(contents(whole))


# --- The same again --------------------------------------------------------------------------------------------------


def test_unbroken_run_uses_all_that_could_go_wrong(whole):
    """Else the comparisons below would say little."""
    arrays, _ = last(whole)
    momenta = [name for name in arrays if name.startswith("optimizer/")]
    assert len(momenta) > 50
    assert all(arrays[name].any() for name in momenta if name.endswith("weight/0"))
    assert any(name.endswith("running_mean") and array.any() for name, array in arrays.items())
    rows = table(whole)
    assert len({row["learning_rate"] for row in rows}) == len({row["train_loss"] for row in rows}) == EPOCHS


@pytest.mark.long
def test_same_run_twice_is_identical(words, whole, tmp_path):
    finish(*words, "--run-dir", tmp_path / "run")
    assert_identical(tmp_path / "run", whole)


# --- Killed ----------------------------------------------------------------------------------------------------------


def test_run_killed_in_mid_epoch_goes_on_as_if_it_had_not_been(words, whole, tmp_path):
    run = tmp_path / "run"
    with Leashed(*words, "--run-dir", run) as process:
        process.read_until(f"epoch 2/{EPOCHS}, batch 3/{LENGTH}:")
        status, output = process.send(signal.SIGKILL)
    assert status == -signal.SIGKILL, output
    assert f"epoch 2/{EPOCHS}: train loss" not in output
    assert table(run) == table(whole)[:1]
    assert_identical(resume(run), whole)


@pytest.mark.long
def test_run_killed_before_its_first_epoch_ends_starts_over(words, whole, tmp_path):
    run = tmp_path / "run"
    break_at("EpochProgress.advance", 5, signal.SIGKILL, *words, "--run-dir", run)
    assert not list((run / "checkpoints").iterdir())
    assert not (run / "metrics.csv").exists()
    assert_identical(resume(run), whole)


@pytest.mark.long
def test_run_killed_at_each_awkward_moment_loses_nothing(words, whole, tmp_path):
    """One run, killed and resumed time and again."""
    run = tmp_path / "run"
    break_at("checkpoint.np.savez", 1, signal.SIGKILL, *words, "--run-dir", run)  # while the last is being written
    assert (run / "checkpoints" / "best.params").exists()
    assert not (run / "checkpoints" / "last.npz").exists()
    break_at("RunDirectory.write_epoch", 1, signal.SIGKILL, "--resume", run)  # after that, but before the metrics
    assert last(run)[1]["epoch"] == 1
    assert not (run / "metrics.csv").exists()
    break_at("Evaluator._evaluate", 1, signal.SIGKILL, "--resume", run)
    assert table(run) == table(whole)[:1]
    break_at("RunDirectory.write_epoch", 3, signal.SIGKILL, "--resume", run)  # 1 on resuming, 2 in the second epoch
    assert last(run)[1]["epoch"] == 3
    assert table(run) == table(whole)[:2]
    assert_identical(resume(run), whole)


# --- Interrupted -----------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(interrupted):
    run, status, output = interrupted
    assert status == 130, output
    batches = last(run)[1]["batch"]
    done = counted(batches, "batch", "batches")
    expected = f"interrupted in epoch 2 after {done}; continue with: python train_cifar.py --resume {run}"
    assert output.splitlines()[-1] == expected
    assert (run / "run.log").read_text().splitlines()[-1].endswith(expected)


def test_ctrl_c_saves_the_position_within_the_epoch(interrupted, whole):
    run, _, _ = interrupted
    arrays, state = last(run)
    assert state["epoch"] == 1
    assert 3 <= state["batch"] < LENGTH
    assert state["sums"]["batches"] == state["batch"]
    assert state["sums"]["loss"] > 0
    assert len(state["history"]) == 1
    assert arrays.keys() == last(whole)[0].keys()
    assert table(run) == table(whole)[:1]
    assert not list(run.rglob("*.part"))


def test_interrupted_run_goes_on_as_if_it_had_not_been(stopped, whole):
    batch = last(stopped)[1]["batch"]
    assert_identical(resume(stopped), whole)
    log = (stopped / "run.log").read_text()
    assert f"resuming at epoch 2, batch {batch + 1}\n" in log
    assert len(re.findall(r"epoch 2/3: train loss", log)) == 1


def test_resumed_run_may_have_other_workers(stopped, whole):
    assert_identical(resume(stopped, "data.workers=3", "runtime.log_every=1000"), whole)


def test_resumed_run_may_have_two_cpu_contexts(stopped, whole):
    resume(stopped, "--device", "cpu:2")
    rows = read_metrics(stopped / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert table(stopped)[0] == table(whole)[0]
    assert last(stopped)[1]["epoch"] == EPOCHS
    assert all(np.isfinite(array).all() for array in last(stopped)[0].values())


@pytest.mark.long
def test_run_interrupted_time_and_again_loses_nothing(words, whole, tmp_path):
    """Twice in one epoch, between epochs, in an evaluation, and in the last one, where it comes too late."""
    run = tmp_path / "run"
    assert_stopped_at(break_at("EpochProgress.advance", 5, signal.SIGINT, *words, "--run-dir", run), run, 0, 5)
    assert_stopped_at(break_at("EpochProgress.advance", 7, signal.SIGTERM, "--resume", run), run, 0, 12)
    assert_stopped_at(break_at("log_epoch", 1, signal.SIGINT, "--resume", run), run, 1, 0)
    assert_stopped_at(break_at("Evaluator._evaluate", 1, signal.SIGTERM, "--resume", run), run, 2, 0)
    assert table(run) == table(whole)[:2]
    done = call("-c", DRIVER, "Evaluator._evaluate", 1, "SIGINT", SCRIPT, "--resume", run)
    assert done.returncode == 0, done.stdout
    assert_identical(run, whole)


def assert_stopped_at(done, run, epoch, batch):
    assert f"interrupted in epoch {epoch + 1} after {counted(batch, 'batch', 'batches')}" in done.stdout
    state = last(run)[1]
    assert (state["epoch"], state["batch"], len(state["history"])) == (epoch, batch, epoch)


# --- Nothing left to do, and refused ---------------------------------------------------------------------------------


def answer(capsys, *words):
    """The exit status and messages of the command, run here."""
    status = main("", [str(word) for word in words])
    return status, capsys.readouterr()


def test_finished_run_has_nothing_to_resume(whole, tmp_path, capsys):
    run = copied(whole, tmp_path)
    status, printed = answer(capsys, "--resume", run)
    assert status == 0
    assert "finished: cifar_resnet (aff) on image folder" in printed.out
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert (run / "result.json").read_bytes() == (whole / "result.json").read_bytes()
    for name in ("last.npz", "best.params"):
        assert (run / "checkpoints" / name).read_bytes() == (whole / "checkpoints" / name).read_bytes()
    assert_identical(run, whole)


def refusal(capsys, run, *words):
    """The message that refuses to resume and leaves everything as it is."""
    before = contents(run) if run.exists() else None
    status, printed = answer(capsys, "--resume", run, *words)
    assert status == 2
    assert (contents(run) if run.exists() else None) == before
    assert re.match(r"error: .*\n\Z", printed.err)
    return printed.err


@pytest.mark.parametrize(
    "word", ["schedule.lr=0.1", "train.epochs=5", "data.batch_size=12", "augment.flip=false", "model.fusion=add"]
)
def test_changed_setting_is_refused_by_name(stopped, capsys, word):
    message = refusal(capsys, stopped, "data.workers=2", word)
    assert word.split("=")[0] in message
    assert str(stopped) in message
    assert "data.workers" not in message.split("differs")[0]


def test_setting_that_is_what_it_was_is_no_change(whole, tmp_path, capsys):
    run = copied(whole, tmp_path)
    assert answer(capsys, "--resume", run, "schedule.lr=0.05", f"train.epochs={EPOCHS}")[0] == 0


def test_data_may_have_moved(whole, folder, tmp_path, capsys):
    moved = Path(shutil.copytree(folder, tmp_path / folder.name))
    run = copied(whole, tmp_path)
    assert answer(capsys, "--resume", run, f"data.dir={moved}", "runtime.hybridize=false")[0] == 0
    assert read_config(run / "config.yaml").data.dir == str(folder)


@pytest.mark.parametrize("word", ["--config", "--run-dir"])
def test_resume_takes_no_other_folder_or_config(stopped, capsys, word):
    assert "leave out --config and --run-dir" in refusal(capsys, stopped, word, QUICKSTART)


@pytest.mark.parametrize("exists", [True, False])
def test_folder_that_is_no_run_is_refused(tmp_path, capsys, exists):
    path = tmp_path / "empty"
    if exists:
        path.mkdir()
    assert f"{path}: not the folder of a run" in refusal(capsys, path)


@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_truncated_checkpoint_is_refused(stopped, capsys, share):
    path = stopped / "checkpoints" / "last.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refusal(capsys, stopped)
    assert f"{path}: not a complete checkpoint of this package" in message


def test_damaged_config_of_a_run_is_refused(stopped, capsys):
    config = stopped / "config.yaml"
    config.write_text(config.read_text().replace("weight_decay:", "weight_decoy:"))
    assert f"{config}: cut off, or changed since the run started, by its checksum" in refusal(capsys, stopped)
    config.write_text(config.read_text().split("\n", 1)[1])  # as of an older version
    status, printed = answer(capsys, "--resume", stopped)
    assert status == 2
    assert f"error: {config}, line " in printed.err
    assert "weight_decay" in printed.err


# --- The digits themselves -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_quickstart_killed_in_mid_epoch_goes_on_as_if_it_had_not_been(tmp_path):
    """The shipped configuration, 44 batches of 32 an epoch, but shorter."""
    words = ("--config", QUICKSTART, "train.epochs=2", "runtime.log_every=1", "--run-dir")
    finish(*words, tmp_path / "whole")
    with Leashed(*words, tmp_path / "run") as process:
        process.read_until("epoch 2/2, batch 2/44:")
        status, output = process.send(signal.SIGKILL)
    assert status == -signal.SIGKILL, output
    assert table(tmp_path / "run") == table(tmp_path / "whole")[:1]
    resume(tmp_path / "run")
    first, second = (float(row["train_loss"]) for row in table(tmp_path / "whole"))
    assert second < 0.9 * first
    assert table(tmp_path / "run") == table(tmp_path / "whole")
    (arrays, _), (expected, _) = last(tmp_path / "run"), last(tmp_path / "whole")
    assert not [name for name in expected if not np.array_equal(arrays[name], expected[name])]
