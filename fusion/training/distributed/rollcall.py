"""Notices when another worker has died: each worker has a connection to the first one, which then ends early.

MXNet's key-value store waits for a dead worker for ever. The operating system, however, closes the connections of a
dead process at once, and keepalive packets find out about a host that is gone. So the others know in seconds.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ...errors import ConfigError

#: The exit status of a worker that ends because another one did.
PARTNER_LOST = 75
#: Seconds to wait before this worker ends: it may fail for the same reason as the other one, and say which.
_OWN_WORDS = 2.0
#: Seconds for all workers to connect.
_CONNECT = 60
#: Seconds of silence before the first keepalive packet, seconds between two packets, and packets without an answer.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_GOODBYE = b"."
_RANK = struct.Struct("!i")

Sum = Callable[[np.ndarray], np.ndarray]


class RollCall:
    """The connections of one worker.

    Parameters
    ----------
    rank, size : int
        The worker's number, and how many there are.
    total : callable
        Sums a float64 array over all workers. By it the first worker tells the others where to connect.
    root : str
        A host that all can reach. The first worker listens on that of its addresses from which it reaches this host.
    alone : callable
        Called in a thread with the name of a worker that is gone. By default it ends the process.

    Raises
    ------
    ConfigError
        If the workers cannot connect within a minute.
    """

    def __init__(self, rank: int, size: int, total: Sum, root: str, alone: Any = None) -> None:
        self._alone = alone or end_partner_lost
        self._connections: Dict[socket.socket, str] = {}
        try:
            if rank == 0:
                self._listen(size, total, root)
            else:
                self._connect(rank, total)
        except OSError as error:
            raise ConfigError(
                f"worker {rank}: no connection to the others within {_CONNECT} seconds ({error}); expected every "
                "host to reach the first worker's on any port: open the firewall between them"
            ) from None
        self._thread = threading.Thread(target=self._watch, name="roll call", daemon=True)
        self._thread.start()

    def _listen(self, size: int, total: Sum, root: str) -> None:
        with socket.create_server((_address_towards(root), 0), backlog=size) as server:
            server.settimeout(_CONNECT)
            total(_packed(server.getsockname()))
            for _ in range(size - 1):
                connection, (host, _port) = server.accept()
                connection.settimeout(_CONNECT)
                (rank,) = _RANK.unpack(connection.recv(_RANK.size, socket.MSG_WAITALL))
                self._keep(connection, f"worker {rank} (on {host})")

    def _connect(self, rank: int, total: Sum) -> None:
        host, port = _unpacked(total(_packed(("0.0.0.0", 0))))
        connection = socket.create_connection((host, port), timeout=_CONNECT)
        connection.sendall(_RANK.pack(rank))
        self._keep(connection, f"worker 0 (on {host}), or one that it lost,")

    def _keep(self, connection: socket.socket, name: str) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self._connections[connection] = name

    def _watch(self) -> None:
        open_: List[socket.socket] = list(self._connections)
        while open_:
            for connection in select.select(open_, [], [])[0]:
                open_.remove(connection)
                if not _said_goodbye(connection):
                    self._alone(self._connections[connection])
                    return

    def close(self) -> None:
        """Say goodbye: this worker ends because the work is done."""
        for connection in self._connections:
            try:
                connection.sendall(_GOODBYE)
            except OSError:
                continue  # it has said so first, and is gone
        self._thread.join(_CONNECT)
        for connection in self._connections:
            connection.close()


def end_partner_lost(name: str) -> None:
    """End this process because another worker is gone."""
    time.sleep(_OWN_WORDS)
    print(
        f"error: {name} is gone, without which no step can be taken; this worker ends too. Once the reason is gone, "
        "--resume goes on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(PARTNER_LOST)


def _said_goodbye(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == _GOODBYE
    except OSError:
        return False


def _address_towards(host: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # sends nothing
        return str(probe.getsockname()[0])


def _packed(address: Tuple[str, int]) -> np.ndarray:
    return np.array([*socket.inet_aton(address[0]), address[1]], dtype=np.float64)


def _unpacked(numbers: np.ndarray) -> Tuple[str, int]:
    *host, port = map(int, numbers)
    return socket.inet_ntoa(bytes(host)), port
