"""Keeps the lines that MXNet's C++ code logs off the terminal.

MXNet writes its log on standard error past Python, such as `[12:30:59] ../src/operator/nn/mkldnn/mkldnn_pooling.cc:58:
MKLDNN Pooling: training with prop_kind is forward_scoring`, once for each average pooling and shape of its input. There
is no environment variable for it: such a line says nothing to whoever trains, and breaks a progress bar.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from typing import Iterator

from .compat import mx

#: How a line of MXNet's log begins: time, source file and line.
_NATIVE_LINE = re.compile(rb"\[\d\d:\d\d:\d\d\] \S+\.(cc|cu|h):\d+: ")


@contextmanager
def without_native_log() -> Iterator[None]:
    """Leave out what MXNet's C++ code logs within a `with` block; if the block fails, everything is shown.

    All that is written on standard error within the block, by any thread, appears at its end. Use it for work of
    seconds, such as the first batch of a training: a process that is killed within the block shows nothing.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        terminal = os.dup(2)
        os.dup2(written.fileno(), 2)
        shown_in_full = True
        try:
            yield
            mx.nd.waitall()  # MXNet computes, and logs, after a call has returned
            shown_in_full = False
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            written.seek(0)
            with os.fdopen(terminal, "wb") as stream:
                for line in written:
                    if shown_in_full or not _NATIVE_LINE.match(line):
                        stream.write(line)
