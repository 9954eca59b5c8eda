"""A lock that one process holds, and that no crash leaves held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusion import locks
from fusion.locks import HeldError, Lock, holder

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fusion.locks import Lock
lock = Lock(Path(sys.argv[2]))
lock.take()
print(flush=True)
time.sleep(600)
"""


def test_second_holder_is_told_the_first_ones_process(tmp_path):
    first = Lock(tmp_path / "lock")
    first.take()
    with pytest.raises(HeldError) as refused:
        Lock(tmp_path / "lock").take()
    assert refused.value.process == str(os.getpid())
    first.release()
    assert not list(tmp_path.iterdir())
    Lock(tmp_path / "lock").take()


def test_killed_process_leaves_no_lock(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(Path(locks.__file__).parents[1]), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with pytest.raises(HeldError, match=f"^{child.pid}$"):
            Lock(path).take()
        child.send_signal(signal.SIGKILL)
    assert path.exists()
    lock = Lock(path)
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
    assert not path.exists()


def test_release_without_a_lock_does_nothing(tmp_path):
    Lock(tmp_path / "lock").release()


def test_disk_without_locks_is_told_and_used(tmp_path, monkeypatch, caplog):
    def refuse(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    lock = Lock(tmp_path / "lock")
    lock.take()
    assert "other processes are not kept off (No locks available)" in caplog.text
    lock.release()


def test_holder_is_told_without_the_file_being_taken(tmp_path):
    path = tmp_path / "lock"
    assert holder(path) is None
    lock = Lock(path)
    lock.take()
    assert holder(path) == str(os.getpid())
    lock.release()
    path.write_text("4194304\n")  # of a process that was killed
    assert holder(path) is None
    assert path.read_text() == "4194304\n"


def test_one_who_looks_at_the_file_keeps_nobody_from_taking_it(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.touch()
    looking = path.open("rb")
    locks.fcntl.flock(looking, locks.fcntl.LOCK_SH)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: looking.close())
    lock = Lock(path)
    lock.take()
    lock.release()


def test_holder_on_a_disk_without_locks_is_what_the_file_says(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    (tmp_path / "lock").write_text("77\n")
    assert holder(tmp_path / "lock") == "77"
