"""Connections between workers: a goodbye is no death, and a connection that ends without one is."""

from __future__ import annotations

import queue
import socket

import numpy as np
import pytest
from together import together

from fusion.errors import ConfigError
from fusion.training.distributed import rollcall
from fusion.training.distributed.rollcall import RollCall

WAIT = 20  # seconds after which something that never happens is a failure


def called(size):
    """Connected workers and where each notes who is gone."""
    notes = [queue.Queue() for _ in range(size)]

    def connect(worker):
        return RollCall(worker.rank, worker.size, worker.sum, "127.0.0.1", notes[worker.rank].put)

    return together(size, connect), notes


def die(call):
    """What the system does with the connections of a dead process."""
    for connection in call._connections:
        connection.shutdown(socket.SHUT_RDWR)


def test_workers_that_say_goodbye_are_not_missed():
    calls, notes = called(3)
    together(3, lambda worker: calls[worker.rank].close())
    assert all(note.empty() for note in notes)
    assert not any(call._thread.is_alive() for call in calls)


def test_worker_that_leaves_first_is_not_missed():
    calls, notes = called(2)
    calls[1]._connections and next(iter(calls[1]._connections)).sendall(b".")
    die(calls[1])
    calls[0].close()
    assert notes[0].empty()


@pytest.mark.parametrize("dead", [1, 2])
def test_dead_worker_is_named_to_the_first(dead):
    calls, notes = called(3)
    die(calls[dead])
    assert notes[0].get(timeout=WAIT) == f"worker {dead} (on 127.0.0.1)"


def test_death_of_the_first_is_noticed_by_all_others():
    calls, notes = called(3)
    die(calls[0])
    for note in notes[1:]:
        assert note.get(timeout=WAIT).startswith("worker 0 (on 127.0.0.1)")


def test_silence_is_looked_into():
    calls, _ = called(2)
    for call in calls:
        for connection in call._connections:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, between, count = (connection.getsockopt(socket.IPPROTO_TCP, o) for o, _ in rollcall._KEEPALIVE)
            assert idle + between * count < 60
    together(2, lambda worker: calls[worker.rank].close())


def test_first_worker_that_cannot_be_reached_is_an_error(monkeypatch):
    monkeypatch.setattr(rollcall, "_CONNECT", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = server.getsockname()
    with pytest.raises(ConfigError, match="worker 1: no connection to the others within 1 seconds"):
        RollCall(1, 2, lambda values: rollcall._packed(nobody), "127.0.0.1")


def test_worker_that_never_comes_is_an_error(monkeypatch):
    monkeypatch.setattr(rollcall, "_CONNECT", 1)
    with pytest.raises(ConfigError, match="worker 0: no connection to the others within 1 seconds"):
        RollCall(0, 2, lambda values: values, "127.0.0.1")


def test_address_survives_being_summed_as_numbers():
    packed = rollcall._packed(("10.255.0.1", 65535))
    assert packed.dtype == np.float64
    assert rollcall._unpacked(packed + rollcall._packed(("0.0.0.0", 0))) == ("10.255.0.1", 65535)
