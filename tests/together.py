"""Workers that are threads of one process."""

from __future__ import annotations

import threading

from fusion.compat import mx
from fusion.training import distributed

PATIENCE = 30  # seconds until a thread gives the others up


class Table:
    """Where threads put what they add up."""

    def __init__(self, size):
        self.values = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)


class Threads(distributed._Several):
    """A worker whose others are threads of this process."""

    def __init__(self, rank, table):
        super().__init__(rank, len(table.values))
        self.table = table

    def _sum(self, values):
        self.table.values[self.rank] = values.asnumpy()
        self.table.barrier.wait()
        total = sum(self.table.values)
        self.table.barrier.wait()
        return mx.nd.array(total, dtype="float64")


def together(size, act):
    """What `act(worker)` returns, or raises, on each of several workers."""
    table, found = Table(size), [None] * size

    def run(rank):
        try:
            found[rank] = act(Threads(rank, table))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
