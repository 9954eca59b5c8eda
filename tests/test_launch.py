"""The local launcher with scripts that know nothing of training: how it ends, what it shows, what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from together import still_running

from fusion.command import INTERRUPTED
from fusion.machine import processors
from fusion.processors import Threads
from fusion.training.distributed import launch

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120  # seconds until a test gives a job up

#: Says what it was given; then, by its number, ends as it is told, or waits.
CHILD = """
import os, signal, sys, time
number = int(os.environ["DMLC_TASK_ID"])
print(f"worker {number} of {os.environ['DMLC_NUM_WORKER']} by {os.environ['DMLC_ROLE']}", flush=True)
open(f"started-{number}", "w").close()
word = sys.argv[1 + number]
if word == "wait":
    time.sleep(600)
elif word == "interrupted":
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(130)
elif word.startswith("SIG"):
    os.kill(os.getpid(), signal.Signals[word])
else:
    print(f"my status is {word}", file=sys.stderr)
    sys.exit(int(word))
"""


@pytest.fixture
def start(tmp_path):
    """Start a launcher with the child script and words; everything is gone after the test."""
    (tmp_path / "child.py").write_text(CHILD)
    mark = uuid.uuid4().hex
    started = []

    def begin(*words, count=2, child=("child.py",)):
        job = subprocess.Popen(
            [sys.executable, "-m", "fusion.launch", "-n", str(count), *child, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FUSION_TEST": mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(job)
        return job

    yield begin
    for job in started:
        job.kill()
        job.communicate()
    deadline = time.monotonic() + 10
    while still_running(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not still_running(mark)


def wait_for_children(folder, count=2):
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("started-*"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_end_of_all_is_its_end_and_the_first_is_heard(start):
    job = start("0", "0")
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0
    assert out == "worker 0 of 2 by worker\n"
    assert err == "my status is 0\n"


def test_module_is_started_with_all_words_that_follow_it(start, tmp_path):
    told = "print(__spec__.name, sys.argv[3:], flush=True)\n"
    (tmp_path / "child.py").write_text(CHILD.replace("word = ", f"{told}word = "))
    job = start("0", "0", "-n", "9", "--json", "a=b", child=("-m", "child"))
    out, err = job.communicate(timeout=PATIENCE)
    assert (job.returncode, err) == (0, "my status is 0\n")
    assert out == "worker 0 of 2 by worker\nchild ['-n', '9', '--json', 'a=b']\n"


@pytest.mark.parametrize(
    ("word", "status", "ended"),
    [("SIGKILL", 137, "was killed by SIGKILL"), ("3", 3, "ended with status 3"), ("SIGSEGV", 139, "killed by SIGSEGV")],
)
def test_worker_that_dies_ends_the_others_with_its_last_words(start, word, status, ended):
    job = start("wait", word, "wait", count=3)
    out, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == status
    assert re.search(rf"error: worker 1 \(process \d+\) {ended}|error: worker 1 .* was {ended}", err)
    assert "--resume" in err
    assert "worker 1: worker 1 of 3 by worker" in err
    assert ("worker 1: my status is 3" in err) == (word == "3")
    assert out == "worker 0 of 3 by worker\n"


def test_worker_that_only_lost_another_is_not_blamed(start):
    job = start(str(launch.PARTNER_LOST), "4")
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 4
    assert "error: worker 1 (process" in err


def test_first_worker_that_fails_is_not_repeated(start):
    job = start("2", "wait")
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2
    assert err.count("my status is 2") == 1
    assert "error: worker 0 (process" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_reaches_the_workers(start, tmp_path, number):
    job = start("interrupted", "interrupted")
    wait_for_children(tmp_path)
    job.send_signal(number)
    _, err = job.communicate(timeout=PATIENCE)
    assert job.returncode == INTERRUPTED
    assert err == ""


def test_second_interruption_ends_workers_that_do_not_listen(start, tmp_path):
    (tmp_path / "child.py").write_text("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + CHILD)
    job = start("wait", "wait")
    wait_for_children(tmp_path)
    job.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(timeout=1)
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=PATIENCE)
    assert job.returncode == INTERRUPTED


def test_killed_launcher_takes_its_processes_along(start, tmp_path):
    job = start("wait", "wait")
    wait_for_children(tmp_path)
    job.kill()  # the fixture finds that nothing is left


@pytest.mark.parametrize(
    ("usable", "workers", "share"), [(8, 2, "4"), (8, 3, "2"), (2, 2, "1"), (2, 5, "1"), (4, 1, "4")]
)
def test_workers_share_what_is_usable_and_know_that_it_was_not_the_user(monkeypatch, usable, workers, share):
    monkeypatch.setattr(launch, "choose", lambda environment: Threads(usable, "made up"))
    expected = {"OMP_NUM_THREADS": share, "FUSION_CHOSEN_THREADS": share}
    assert launch.threads_of_each({}, workers) == expected
    assert launch.threads_of_each({"OMP_NUM_THREADS": "8", "FUSION_CHOSEN_THREADS": "8"}, workers) == expected
    assert launch.threads_of_each({"OMP_NUM_THREADS": "8"}, workers) == {}


#: Writes down what a worker finds and what the package makes of it, and for whom.
TELL = """
import json, os
from fusion.machine import Usable
from fusion.processors import choose
found = Usable(frozenset(range(8)), 8)
names = ("OMP_NUM_THREADS", "FUSION_CHOSEN_THREADS")
choice = choose(os.environ, found=found, sleep=lambda seconds: 1 / 0)  # which would be to look for other programs
facts = [[os.environ.get(name) for name in names], choice.count, choice.why]
open(f"told-{os.environ['DMLC_TASK_ID']}", "w").write(json.dumps(facts))
"""


@pytest.mark.parametrize(("own", "share"), [(None, str(max(1, processors() // 2))), ("3", "3")])
def test_workers_follow_the_launcher(start, tmp_path, monkeypatch, own, share):
    for name in ("OMP_NUM_THREADS", "FUSION_CHOSEN_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    (tmp_path / "child.py").write_text(TELL)
    job = start()
    assert job.wait(PATIENCE) == 0
    count = int(share)
    for number in (0, 1):
        variables, chosen, why = json.loads((tmp_path / f"told-{number}").read_text())
        assert chosen == count
        if own:
            assert (variables, why) == ([own, None], "OMP_NUM_THREADS")
        else:
            assert variables == [share, share]
            assert why == f"a share of {share} for each of 2 processes"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "say what to start"),
        (["-n", "2", "--"], "say what to start"),
        (["missing.py", "--config", "x"], "missing.py: no such file"),
        (["-n", "2", "-m"], "say what to start"),
        (["-m", "no_such_module", "train"], "-m no_such_module: there is no such Python module"),
        (["-m", "", "train"], "there is no such Python module"),
        (["--", "-m", "no_such_module"], "-m no_such_module: there is no such Python module"),
    ],
)
def test_nothing_to_start_is_refused(words, complaint, capsys):
    assert launch.main(words) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("word", ["0", "-1", "two"])
def test_impossible_number_of_workers_is_refused(word, capsys):
    with pytest.raises(SystemExit):
        launch.main([f"--workers={word}", "train_cifar.py"])
    assert "expected a number from 1" in capsys.readouterr().err


def test_launcher_itself_imports_no_mxnet():
    """It trains nothing, and MXNet would take longer than all else that it does."""
    words = [sys.executable, "-X", "importtime", "-m", "fusion.launch", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "fusion.training.distributed.launch" in imported
    assert "mxnet" not in imported


@pytest.mark.parametrize("role", ["server", "scheduler", "worker"])
def test_launcher_does_not_take_a_role_that_it_finds(role, tmp_path):
    """Such as one that was exported in this shell for a job by hand: it would serve, and wait for ever."""
    (tmp_path / "child.py").write_text(CHILD)
    by_hand = {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": "9",
        "DMLC_NUM_WORKER": "1",
        "DMLC_NUM_SERVER": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "fusion.launch", "-n", "1", "child.py", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **by_hand, "DMLC_ROLE": role},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, "worker 0 of 1 by worker\n")
