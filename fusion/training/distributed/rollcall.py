"""Ends a worker when another one has died: each worker keeps a TCP connection to the first, and watches if it closes.

MXNet's key-value store would wait for a dead worker for ever. The operating system, however, closes the connections
of a dead process at once, and keepalive packets show that a host is gone, so that the other workers know in seconds.
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

#: The exit status of a worker that ends because another worker is gone.
PARTNER_LOST = 75
#: Seconds to wait before this worker ends: it may fail for the same reason as the other, and then prints its own error.
_OWN_WORDS = 2.0
#: Seconds that all workers have to connect.
_CONNECT = 60
#: Seconds of silence before the first keepalive packet, seconds between two packets, and packets without an answer.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_GOODBYE = b"."
_RANK = struct.Struct("!i")

Sum = Callable[[np.ndarray], np.ndarray]


class RollCall:
    """The connections of one worker to the others.

    Parameters
    ----------
    rank, size : int
        The worker's number, and the number of workers.
    total : callable
        Sums a float64 array over all workers. The first worker uses it to tell the others where to connect.
    root : str
        A host that all workers can reach. The first worker listens on the address from which it reaches this host.
    alone : callable
        A function that is called in a thread, with the name of a worker that is gone. The default ends the process.

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
                f"worker {rank}: no connection to the others within {_CONNECT} seconds ({error}); expected that "
                "every host can reach the first worker's host on any port: open the firewall between them"
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
        """Tell the other workers that this one ends because its work is done, and close the connections."""
        for connection in self._connections:
            try:
                connection.sendall(_GOODBYE)
            except OSError:
                continue  # the other worker has already said goodbye and ended
        self._thread.join(_CONNECT)
        for connection in self._connections:
            connection.close()


def end_partner_lost(name: str) -> None:
    """End this process because another worker is gone."""
    time.sleep(_OWN_WORDS)
    print(
        f"error: {name} is gone, and no step can be taken without it; this worker ends too. Correct the cause, then "
        "continue from the last checkpoint with --resume",
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
