"""The scheduler and the servers of MXNet's key-value store, which take no commands from those who connect.

MXNet has a loop of its own for them, which starts as soon as it is imported where `DMLC_ROLE` says so. That loop loads
the optimizer that a worker sends with `pickle`, and so runs any code that is in it, of anyone who can connect. Here the
optimizer runs on every worker (`fusion.training.distributed`), and servers only add up: no worker has a reason to send
a command, and none is read.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NoReturn

from .command import BAD_INPUT

#: The variable that says what a process is, and the values of it that make it no worker.
ROLE, RELAYS = "DMLC_ROLE", ("scheduler", "server")


@contextmanager
def role_hidden() -> Iterator[bool]:
    """Hide the role of a scheduler or a server from MXNet while it is imported; yields whether there is one."""
    role = os.environ.get(ROLE)
    if role not in RELAYS:
        yield False
        return
    del os.environ[ROLE]
    try:
        yield True
    finally:
        os.environ[ROLE] = role


def refuse_command(number: int, body: bytes, _handle: Any = None) -> None:
    """End this process at a command from the network, without reading it.

    Going on would be wrong as well: a worker that has sent its optimizer would take the sums of the gradients for new
    weights.

    Parameters
    ----------
    number : int
        Of the command; 0 is a pickled optimizer.
    body : bytes
        What came with it.
    """
    what = "a pickled optimizer" if number == 0 else f"command {number}"
    print(
        f"error: {what} ({len(body or b''):,} bytes) was sent to this server, which takes none: loading it could run "
        "any code. Runs of this package send none. In a script of your own, keep the optimizer on the workers with "
        "mx.gluon.Trainer(..., update_on_kvstore=False); otherwise find out who can reach this server's port",
        file=sys.stderr,
        flush=True,
    )
    os._exit(BAD_INPUT)  # an error raised here would be lost in the thread of the server's library


def server_class(kvstore_server: Any) -> Any:
    """MXNet's server, from its module, with a controller that loads nothing."""

    class Server(kvstore_server.KVStoreServer):  # type: ignore[misc]
        """A server that adds up arrays and refuses commands."""

        def _controller(self) -> Callable[[int, bytes, Any], None]:
            return refuse_command

    return Server


def serve(mxnet: Any) -> NoReturn:
    """Be what the role says until the workers have ended; then end the process.

    Parameters
    ----------
    mxnet : module
        MXNet, imported while the role was hidden.
    """
    store = mxnet.kvstore.create("dist")
    server_class(sys.modules["mxnet.kvstore.kvstore_server"])(store).run()
    sys.exit(0)
