"""Work of threads that is given in order, while they work ahead."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from itertools import islice
from typing import Any, Callable, Iterable, Iterator, Sequence


def in_turn(submit: Callable[[int], Sequence[Future[Any]]], numbers: Iterable[int], ahead: int) -> Iterator[Any]:
    """Results of threads in the order of their numbers, while the threads work on the next ones.

    Parameters
    ----------
    submit : callable
        From a number to the tasks that it queues; the result is that of the last task.
    numbers : iterable of int
        Submitted in this order.
    ahead : int
        How many numbers are submitted and not yet given, at most.

    Yields
    ------
    object
        One result per number. Tasks that are still queued when the iteration ends, or fails, are cancelled.
    """
    following = iter(numbers)
    pending = deque(submit(number) for number in islice(following, ahead))
    try:
        while pending:
            found = pending[0][-1].result()
            pending.popleft()
            yield found
            pending.extend(submit(number) for number in islice(following, 1))
    finally:
        for tasks in pending:
            for task in tasks:
                task.cancel()
