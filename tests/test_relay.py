"""Scheduler and servers take no commands, and under the launcher only this machine can reach them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusion import relay
from fusion.command import BAD_INPUT

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240  # seconds until a test gives a job up


class MakesFile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def ended(monkeypatch):
    """The statuses that the process would have ended with."""
    found = []
    monkeypatch.setattr(relay.os, "_exit", found.append)
    return found


def test_server_does_not_load_what_a_worker_sends(tmp_path, ended, capsys):
    body = pickle.dumps(MakesFile(tmp_path / "ran"), 0)
    mxnets = SimpleNamespace(KVStoreServer=type("KVStoreServer", (), {"_controller": None}))
    relay.server_class(mxnets)()._controller()(0, body, None)
    assert ended == [BAD_INPUT]
    assert not (tmp_path / "ran").exists()
    printed = capsys.readouterr().err
    assert f"a pickled optimizer ({len(body)} bytes)" in printed
    assert "update_on_kvstore=False" in printed
    pickle.loads(body)
    assert (tmp_path / "ran").exists()  # so that it would have been there


def test_every_other_command_ends_the_server_as_well(ended, capsys):
    relay.refuse_command(7, b"x")
    assert ended == [BAD_INPUT]
    assert "command 7 (1 bytes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("role", "expected"), [("scheduler", True), ("server", True), ("worker", False), (None, False)]
)
def test_role_of_relays_is_hidden_while_mxnet_is_imported_and_set_again(monkeypatch, role, expected):
    monkeypatch.delenv(relay.ROLE, raising=False)
    if role is not None:
        monkeypatch.setenv(relay.ROLE, role)
    with relay.role_hidden() as is_relay:
        assert is_relay is expected
        assert (relay.ROLE in os.environ) is (role == "worker")
    assert os.environ.get(relay.ROLE) == role


#: The first worker writes down where the processes of the job listen, and sends a pickle.
SENDER = """
import os, pathlib, pickle, sys, time

class MakesFile:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1] + "/ran",)

def listening():
    table = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    addresses = {row[9]: row[1] for row in table if row[3] == "0A"}
    for folder in pathlib.Path("/proc").glob("[0-9]*/fd"):
        try:
            if f"FUSION_MARK={os.environ['FUSION_MARK']}".encode() in (folder.parent / "environ").read_bytes():
                links = [os.readlink(link) for link in folder.iterdir()]
                yield from (addresses[link[8:-1]] for link in links if link[8:-1] in addresses)
        except OSError:
            pass

from fusion.compat import mx
store = mx.kv.create("dist_sync")
if os.environ["DMLC_TASK_ID"] == "0":
    end, found = time.monotonic() + 5, []
    while len(found) < 4 and time.monotonic() < end:  # scheduler, server and two workers, where each has a port
        found = list(listening())
    pathlib.Path(sys.argv[1], "listening").write_text("\\n".join(found))
    store._send_command_to_servers(0, pickle.dumps(MakesFile(), 0).decode())
time.sleep(60)
"""


@pytest.mark.slow
def test_job_whose_worker_sends_a_pickle_ends_and_nobody_else_could_have_sent_it(tmp_path):
    (tmp_path / "sender.py").write_text(SENDER)
    inherited = {"DMLC_USE_KUBERNETES": "1", "DMLC_NODE_HOST": "0.0.0.0"}
    mark = f"{os.getpid()}-{tmp_path.name}"
    job = subprocess.run(
        [sys.executable, "-m", "fusion.launch", "-n", "2", str(tmp_path / "sender.py"), str(tmp_path)],
        env={**os.environ, **inherited, "PYTHONPATH": str(ROOT), "FUSION_MARK": mark},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert job.returncode == BAD_INPUT, job.stderr
    assert "server 0: error: a pickled optimizer" in job.stderr
    assert not (tmp_path / "ran").exists()
    places = (tmp_path / "listening").read_text().split()
    assert {place.partition(":")[0] for place in places} == {"0100007F"}  # 127.0.0.1
