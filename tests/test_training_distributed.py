"""Several workers: what they add up and agree on, in threads; and whole runs of two processes on this machine."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from classified import TASK
from PIL import Image
from together import Table, Threads, still_running, together

from fusion.compat import mx, nn
from fusion.data.loader import Batch
from fusion.errors import ConfigError
from fusion.tasks.base import StepOutput
from fusion.tasks.classification.meters import TrainingMeter
from fusion.training import distributed, engine
from fusion.training.checkpoint import TrainingState
from fusion.training.distributed import stores
from fusion.training.distributed.rollcall import PARTNER_LOST
from fusion.training.distributed.workers import Workers
from fusion.training.evaluation import evaluate
from fusion.training.history import read_metrics
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_trainer
from fusion.training.settings import Settings
from fusion.training.sums import RunningSums

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "train_cifar.py"
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
PATIENCE = 240  # seconds until a test gives a job up
MINUTE = 60

#: Runs of 22 batches of 16 in all, whatever the number of workers that share them, and 50 images to test.
IMAGES, LENGTH, SIDE = {"train": 360, "test": 50}, 22, 12
TINY = f"""
base: {QUICKSTART}
model: {{fusion: add}}
data: {{name: image_folder, dir: pictures, size: {SIDE}, batch_size: 8}}
augment: {{crop_padding: 1, flip: true, mixup_alpha: 0.2}}
train: {{epochs: 2}}
"""


# --- In threads ------------------------------------------------------------------------------------------------------


def test_sum_is_over_workers_in_double_precision():
    found = together(3, lambda worker: worker.sum(np.array([worker.rank, 1e-12 + 1])))
    for values in found:
        assert values.tolist() == pytest.approx([3, 3 + 3e-12], abs=1e-15)


def test_alone_everything_is_its_own():
    alone, sums = Workers(), np.array([0.1, 0.01, 2.3, 7])
    assert alone.shard == (0, 1)
    assert alone.sum(sums) is sums
    assert [alone.any(True), alone.any(False)] == [True, False]
    assert [alone.key(number) for number in range(5)] == [0, 1, 2, 3, 4]
    run = RunDirectory(Path("x"))
    assert alone.directory(run) is run


def test_keys_of_workers_and_batches_are_all_different():
    found = together(3, lambda worker: [worker.key(number) for number in range(4)])
    assert sorted(key for keys in found for key in keys) == list(range(12))


def test_flag_of_one_is_seen_by_all_at_the_next_question():
    asked = [(False, False), (False, True), (False, False), (False, False)]
    found = together(2, lambda worker: [worker.any(flags[worker.rank]) for flags in asked])
    assert found == [[False, False, True, False]] * 2


def step_of(loss, images=2):
    """A step with this loss per image, which says nothing of two classes."""
    logits = mx.nd.zeros((images, 2))
    return StepOutput([mx.nd.full((images,), loss)], [logits], np.full((images, 2), 0.5))


def test_losses_of_an_epoch_are_their_mean_over_workers():
    def act(worker):
        sums = RunningSums(TrainingMeter(), {}, worker)
        for _ in range(5):
            sums.later(step_of(1.0 + worker.rank))
        return {**sums.finish(), "seconds": 0}

    for found in together(2, act):
        assert TASK.training_columns(found) == {"train_loss": 1.5, "train_rmse": 0.0}
        assert found == {"loss": 15.0, "rmse": 0.0, "batches": 10.0, "seconds": 0}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_epoch_that_was_interrupted_goes_on_with_its_sums_under_any_number_of_workers(size):
    earlier = {"loss": 6.0, "rmse": 0.0, "batches": 4.0, "seconds": 3.0}

    def act(worker):
        sums = RunningSums(TrainingMeter(), earlier, worker)
        sums.later(step_of(1.5))
        return sums.finish()

    for found in together(size, act):
        assert (found["loss"], found["batches"]) == (6.0 + 1.5 * size, 4.0 + size)
        assert found["seconds"] >= 3.0


def test_evaluations_of_parts_are_weighted_by_their_images():
    logits = np.array([[2.0, 1.0, 0.0]] * 3 + [[0.0, 1.0, 2.0]] * 7)
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 2, 1, 0])
    parts = (slice(0, 3), slice(3, 10), slice(10, 10))  # the last worker has no images
    net = lambda images: images  # noqa: E731  the images are the logits
    whole = evaluate(net, [Batch(logits, labels)], TASK.evaluation_meter(), [mx.cpu()])
    assert whole.figures["top1_error"] == 4 / 10

    def act(worker):
        part = parts[worker.rank]
        batches = [Batch(logits[part], labels[part])] if len(labels[part]) else []
        return evaluate(net, batches, TASK.evaluation_meter(), [mx.cpu()], worker)

    for found in together(3, act):
        assert found.figures["top1_error"] == 4 / 10  # as one process divides
        assert found.figures["top5_error"] == 0
        assert found.figures["loss"] == pytest.approx(whole.figures["loss"], rel=1e-6)
        assert found.images == 10


def test_loss_that_is_no_number_on_one_is_none_on_all():
    logits = (np.array([[math.nan, 0.0]]), np.array([[1.0, 0.0]]))

    def act(worker):
        batches = [Batch(logits[worker.rank], np.array([0]))]
        return evaluate(lambda images: images, batches, TASK.evaluation_meter(), [mx.cpu()], worker)

    assert all(math.isnan(found.figures["loss"]) for found in together(2, act))


def test_running_statistics_are_averaged_and_weights_left_alone():
    def act(worker):
        net = nn.HybridSequential()
        net.add(nn.Conv2D(4, 1, in_channels=3), nn.BatchNorm(in_channels=4))
        net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
        net[0].weight.set_data(mx.nd.full((4, 3, 1, 1), worker.rank))
        for number, data in enumerate(net[1].running_mean.list_data()):
            data[:] = mx.nd.arange(4) + 10 * worker.rank + number
        worker.average_statistics(net)
        return net

    for rank, net in enumerate(together(2, act)):
        for data in net[1].running_mean.list_data():
            assert data.asnumpy().tolist() == [5.5, 6.5, 7.5, 8.5]
        assert (net[1].running_var.data(mx.cpu(0)).asnumpy() == 1).all()
        assert (net[0].weight.data(mx.cpu(0)).asnumpy() == rank).all()


def test_network_without_statistics_needs_no_exchange():
    net = nn.Dense(2, in_units=3)
    net.initialize()
    Threads(0, Table(2)).average_statistics(net)


def test_start_weights_are_the_first_workers():
    def act(worker):
        net = nn.Dense(2, in_units=3)
        net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
        net.weight.set_data(mx.nd.full((2, 3), 0.1 + worker.rank))
        worker._share(list(net.collect_params().values()))
        return net

    for net in together(3, act):
        for data in net.weight.list_data():
            assert (data.asnumpy() == np.float32(0.1)).all()


def test_workers_that_differ_are_refused_on_all():
    found = together(2, lambda worker: worker.check_alike("step", 3, worker.rank))
    assert [type(error) for error in found] == [ConfigError] * 2
    assert "differ in the step: worker 0 [3.0, 0.0]; worker 1 [3.0, 1.0]" in str(found[0])
    assert together(2, lambda worker: worker.check_alike("step", 3, 4)) == [None, None]


def test_only_the_first_writes(tmp_path):
    def act(worker):
        run = worker.directory(RunDirectory(tmp_path / str(worker.rank)))
        run.create(Settings())
        run.write_environment(Settings())
        return run

    first, second = together(2, act)
    with second.log():
        second.write_epoch([], "", {})
    assert first.config.exists()
    assert not second.path.exists()


@pytest.mark.parametrize(
    ("sums", "expected"), [({"images": 640}, 10), ({"images": 700}, 10), ({}, 7), ({"images": 0}, 0)]
)
def test_interrupted_epoch_goes_on_behind_the_images_already_seen(sums, expected):
    assert engine.first_batch(TrainingState(batch=7, sums=sums), 64) == expected


# --- Two contexts of one process -------------------------------------------------------------------------------------


def plain_net(devices):
    """A network whose images know nothing of each other: no batch norm, no dropout."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3, activation="relu"), nn.Flatten(), nn.Dense(5, in_units=4 * 36))
    mx.random.seed(3)
    net.initialize(mx.init.Xavier(), ctx=devices)
    return net


def trained(devices, steps=4):
    net, loss = plain_net(devices), mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    trainer = build_trainer(net, Settings())
    for number in range(steps):
        draw = np.random.default_rng(number)
        targets = np.eye(5, dtype=np.float32)[draw.integers(0, 5, size=12)]
        batch = Batch(draw.normal(size=(12, 3, 8, 8)).astype(np.float32), targets)
        engine.take_step(net, trainer, loss, batch, devices)
    return net


def test_two_contexts_take_the_steps_of_one_where_images_do_not_meet():
    one, two = trained([mx.cpu()]), trained([mx.cpu(0), mx.cpu(1)])
    start = plain_net([mx.cpu()])
    for name, parameter in one._collect_params_with_prefix().items():
        first, second = (data.asnumpy() for data in two._collect_params_with_prefix()[name].list_data())
        assert first.tobytes() == second.tobytes()
        np.testing.assert_allclose(first, parameter.data().asnumpy(), rtol=1e-4, atol=1e-6)
        assert abs(first - start._collect_params_with_prefix()[name].data().asnumpy()).max() > 0.01


# --- How a worker is started -----------------------------------------------------------------------------------------


def settings(engine_name):
    found = Settings()
    return replace(found, runtime=replace(found.runtime, distributed=engine_name))


@pytest.fixture
def bare(monkeypatch):
    """An environment in which nothing started this process."""
    for name in [*os.environ]:
        if name.startswith(("DMLC_", "HOROVOD_")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_store_without_its_variables_is_refused_with_the_command_that_sets_them(bare):
    bare.setenv("DMLC_ROLE", "worker")
    with pytest.raises(
        ConfigError, match="DMLC_PS_ROOT_URI, .* not set: start the workers with python -m fusion.launch"
    ):
        distributed.start(settings("dist_sync"))


@pytest.mark.parametrize(("name", "word"), [("DMLC_NUM_WORKER", "dist_sync"), ("HOROVOD_SIZE", "horovod")])
def test_worker_that_does_not_know_it_is_refused(bare, name, word):
    bare.setenv(name, "2")
    with pytest.raises(ConfigError, match=f"one of 2 workers .{name}.*add runtime.distributed={word}"):
        distributed.start(settings("none"))
    bare.setenv(name, "1")
    assert distributed.start(settings("none")).size == 1


@pytest.mark.skipif(find_spec("horovod") is not None, reason="Horovod is installed")
def test_horovod_that_is_missing_is_refused_with_a_way_out(bare):
    with pytest.raises(ConfigError, match=r"runtime.distributed is horovod.*docs/scaling.md.*dist_sync"):
        distributed.start(settings("horovod"))


@pytest.mark.parametrize("word", ["2", "-1", "x"])
def test_number_of_no_worker_is_refused(bare, word):
    bare.setenv("DMLC_TASK_ID", word)
    bare.setenv("DMLC_NUM_WORKER", "2")
    with pytest.raises(ConfigError, match=f"DMLC_TASK_ID is '{word}'; expected a number from 0 to 1"):
        stores._task_number(0)


def test_number_of_a_worker_is_the_launchers_or_the_stores(bare):
    bare.setenv("DMLC_NUM_WORKER", "2")
    assert stores._task_number(1) == 1
    bare.setenv("DMLC_TASK_ID", "0")
    assert stores._task_number(1) == 0


# --- Two processes ---------------------------------------------------------------------------------------------------

#: Trains a network without batch norm by hand, and writes down its parameters.
STEPS = """
import sys
import numpy as np
from dataclasses import replace
from fusion.compat import mx, nn
from fusion.training import distributed
from fusion.training.settings import Settings

def take_steps(workers, count=4):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3, activation="relu"), nn.Flatten(), nn.Dense(5, in_units=4 * 36))
    mx.random.seed(workers.rank)  # so that only the first's weights are the right ones
    net.initialize(mx.init.Xavier())
    trainer = workers.trainer(net.collect_params(), "nag", {"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-3})
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for number in range(count):
        draw = np.random.default_rng(number)
        images, labels = draw.normal(size=(12, 3, 8, 8)), draw.integers(0, 5, size=12)
        own = slice(*(12 // workers.size * (workers.rank + end) for end in (0, 1)))
        with mx.autograd.record():
            found = loss(net(mx.nd.array(images[own])), mx.nd.array(labels[own]))
        found.backward()
        trainer.step(len(found))
    names = net._collect_params_with_prefix()
    return {name: parameter.data().asnumpy() for name, parameter in names.items()}

if __name__ == "__main__":
    settings = Settings()
    settings = replace(settings, runtime=replace(settings.runtime, distributed=sys.argv[1]))
    with distributed.start(settings) as workers:
        assert workers.size == 2
        np.savez(f"{sys.argv[2]}/{workers.rank}.npz", **take_steps(workers))
        sums = [workers._sum(mx.nd.full(3, number + workers.rank, dtype="float64")) for number in range(300)]
        assert [total.asnumpy().tolist() for total in sums] == [[2 * number + 1] * 3 for number in range(300)]
"""

#: Runs the training script, writes down each worker's parameters before it evaluates, and sends a signal on the way.
DRIVER = """
import os, runpy, signal, sys
import numpy as np
from fusion.training import distributed, engine, evaluation

folder, rank, count, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
start, copy_parameters, take_step = distributed.start, evaluation.copy_parameters, engine.take_step
save = engine.checkpoint.save
own, calls, epochs = None, 0, 0

def noted_start(settings):
    global own
    own = start(settings)
    return own

def noted_copy(net, twin):
    global epochs
    epochs += 1
    arrays = {name: p.data(p.list_ctx()[0]).asnumpy() for name, p in net._collect_params_with_prefix().items()}
    np.savez(f"{folder}/worker{own.rank}-epoch{epochs}.npz", **arrays)
    copy_parameters(net, twin)

def noted_step(*arguments):
    global calls
    calls += 1
    if own.rank == rank and calls == count:
        open(f"{folder}/sent", "w").close()
        os.kill(os.getpid(), signal.Signals[name])
    return take_step(*arguments)

def noted_save(path, *arguments):
    open(f"{folder}/{path.name}-by-worker{own.rank}", "w").close()
    save(path, *arguments)

engine.checkpoint.save = noted_save
distributed.start, evaluation.copy_parameters, engine.take_step = noted_start, noted_copy, noted_step
sys.argv = sys.argv[5:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
#: What becomes the scheduler or a server by its role.
HELPER = ("-m", "fusion.compat")
NO_SIGNAL = (-1, 0, "SIGKILL")


def prepare(folder):
    """The driver, the config, and noise on red or on green, some of it in the wrong folder."""
    (folder / "driver.py").write_text(DRIVER)
    (folder / "tiny.yaml").write_text(TINY)
    draw = np.random.default_rng(0)
    for split, count in IMAGES.items():
        for number in range(count):
            pixels = draw.integers(0, 200, size=(SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., number % 2] += 55
            path = folder / "pictures" / split / ("red", "green")[(number + (number < 4)) % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def environment(mark):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DMLC_", "HOROVOD_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "FUSION_TEST": mark, "OMP_NUM_THREADS": "1"}


def call(command, folder, expected=0):
    """Run a job to its end; what it printed. Nothing of it is left, however it ends."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment(mark),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as job:
        try:
            printed, _ = job.communicate(timeout=PATIENCE)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while still_running(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not still_running(mark)
    assert job.returncode == expected, printed
    return printed


def launched(folder, *words, expected=0):
    return call([sys.executable, "-m", "fusion.launch", "-n", 2, *words], folder, expected)


def horovod_run(folder, *words, expected=0):
    runner = shutil.which("horovodrun") or str(Path(sys.executable).with_name("horovodrun"))
    return call([runner, "-np", 2, "--gloo", sys.executable, *words], folder, expected)


def arrays_of(path):
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def assert_identical(one, other):
    one, other = arrays_of(one), arrays_of(other)
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


ENGINES = [
    pytest.param(("dist_sync", launched), id="dist_sync"),
    pytest.param(
        ("horovod", horovod_run),
        id="horovod",
        marks=pytest.mark.skipif(
            find_spec("horovod") is None, reason="Horovod is not installed: docs/scaling.md says how to build it"
        ),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ENGINES)
def test_two_workers_take_the_steps_of_one_with_the_whole_batch(chosen, tmp_path):
    name, start = chosen
    (tmp_path / "steps.py").write_text(STEPS)
    start(tmp_path, "steps.py", name, tmp_path)
    namespace = {"__name__": "steps"}
    exec(STEPS, namespace)
    expected = namespace["take_steps"](Workers())
    first, second = arrays_of(tmp_path / "0.npz"), arrays_of(tmp_path / "1.npz")
    for key, array in expected.items():
        assert first[key].tobytes() == second[key].tobytes()
        np.testing.assert_allclose(first[key], array, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module", params=ENGINES)
def finished(request, tmp_path_factory):
    """A run of two workers from start to end: its folder, and what it printed."""
    name, start = request.param
    folder = tmp_path_factory.mktemp(name)
    prepare(folder)
    words = ("--config", "tiny.yaml", "--run-dir", "run", f"runtime.distributed={name}")
    return folder, start(folder, "driver.py", folder, *NO_SIGNAL, SCRIPT, *words)


@pytest.mark.slow
def test_both_workers_hold_the_same_network_after_every_epoch(finished):
    folder, _ = finished
    for epoch in (1, 2):
        assert_identical(folder / f"worker0-epoch{epoch}.npz", folder / f"worker1-epoch{epoch}.npz")


@pytest.mark.slow
def test_checkpoint_is_what_the_workers_hold(finished):
    folder, _ = finished
    stored = arrays_of(folder / "run" / "checkpoints" / "last.npz")
    for name, array in arrays_of(folder / "worker1-epoch2.npz").items():
        assert stored[f"param/{name}"].tobytes() == array.tobytes()


@pytest.mark.slow
def test_two_workers_learn_and_only_the_first_writes_and_prints(finished):
    folder, printed = finished
    rows = read_metrics(folder / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["train_loss"] < rows[0]["train_loss"]
    assert printed.count(f"{LENGTH} batches of 16") == 1
    assert printed.count("epoch 2/2: train loss") == 1
    assert printed.count("finished:") == 1
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["pictures", "run"]
    log = (folder / "run" / "run.log").read_text()
    assert log.count("epoch 1/2: train loss") == 1
    assert [path.name for path in folder.glob("*-by-worker*")] == ["last.npz-by-worker0"]
    assert not list(folder.glob("run/**/*.part"))


@pytest.mark.slow
def test_metrics_are_of_the_whole_test_set(finished):
    folder, _ = finished
    last = json.loads((folder / "run" / "result.json").read_text())["last"]
    command = [sys.executable, "-m", "fusion", "evaluate", "--run", "run", "--checkpoint", "last", "--json"]
    found = json.loads(call(command, folder))
    assert found["images"] == 50
    assert found["top1_error"] == last["val_top1_error"]
    assert found["loss"] == pytest.approx(last["val_loss"], rel=1e-5)


@pytest.mark.slow
def test_run_of_two_goes_on_in_one(finished, tmp_path):
    folder, _ = finished
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "pictures").symlink_to(folder / "pictures")
    config = tmp_path / "run" / "config.yaml"
    without_checksum = config.read_text().split("\n", 1)[1]
    config.write_text(without_checksum.replace("epochs: 2\n", "epochs: 3\n"))
    printed = call([sys.executable, SCRIPT, "--resume", "run", "runtime.distributed=none"], tmp_path)
    assert "45 batches of 8" in printed
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[2]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.long
@pytest.mark.parametrize("chosen", ENGINES)
def test_killed_worker_ends_the_job_within_a_minute_and_the_checkpoint_resumes(chosen, tmp_path):
    name, start = chosen
    prepare(tmp_path)
    words = ("--config", "tiny.yaml", "--run-dir", "run", f"runtime.distributed={name}")
    status = 128 + signal.SIGKILL if name == "dist_sync" else 1
    printed = start(tmp_path, "driver.py", tmp_path, 1, 30, "SIGKILL", SCRIPT, *words, expected=status)
    assert time.time() - (tmp_path / "sent").stat().st_mtime < MINUTE
    if name == "dist_sync":
        assert "worker 1 (process" in printed
        assert "was killed by SIGKILL" in printed
        assert "--resume" in printed
    printed = start(tmp_path, SCRIPT, "--resume", "run")
    assert "resuming at epoch 2, batch 1" in printed
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.long
def test_workers_started_by_hand_notice_a_death_by_themselves(tmp_path):
    """As docs/scaling.md shows for several hosts: nothing but the variables, and nobody who watches."""
    prepare(tmp_path)
    words = ("--config", "tiny.yaml", "--run-dir", "run", "runtime.distributed=dist_sync")
    worker = ["driver.py", tmp_path, 1, 10, "SIGKILL", SCRIPT, *words]
    shared = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(free_port())}
    shared.update({"DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1", **environment(uuid.uuid4().hex)})
    with ExitStack() as ending:
        started = []
        for role, command in (("scheduler", HELPER), ("server", HELPER), ("worker", worker), ("worker", worker)):
            process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                cwd=tmp_path,
                env={**shared, "DMLC_ROLE": role},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            ending.callback(process.wait)
            ending.callback(process.kill)
            started.append(process)
        printed = [process.communicate(timeout=PATIENCE)[0] for process in started[2:]]
        assert time.time() - (tmp_path / "sent").stat().st_mtime < MINUTE
    statuses = {process.returncode: text for process, text in zip(started[2:], printed)}
    assert statuses.keys() == {-signal.SIGKILL, PARTNER_LOST}
    assert "error: worker 1 (on 127.0.0.1) is gone" in statuses[PARTNER_LOST]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ENGINES)
def test_signal_to_one_worker_stops_all_at_the_same_batch_and_the_run_goes_on(chosen, tmp_path):
    name, start = chosen
    prepare(tmp_path)
    words = ("--config", "tiny.yaml", "--run-dir", "run", f"runtime.distributed={name}")
    status = 130 if name == "dist_sync" else 1
    printed = start(tmp_path, "driver.py", tmp_path, 1, 30, "SIGTERM", SCRIPT, *words, expected=status)
    assert "interrupted in epoch 2 after 9 batches" in printed  # of which batch 8 was under way
    printed = start(tmp_path, SCRIPT, "--resume", "run")
    assert "resuming at epoch 2, batch 10" in printed
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2
