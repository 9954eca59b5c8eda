"""How a process that benchmarks/peers.py started waits for its turns; it needs nothing but Python."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

#: What is timed, which returns when its work is done.
Call = Callable[[], object]

#: From what a process is asked to be to its call, and the logits that are compared, if any.
Prepare = Callable[[Mapping[str, Any]], Tuple[Call, Optional[List[List[float]]]]]

#: Calls before the first turn: they compile, allocate, and choose layouts.
_WARM_UP = 3


def take_turns(prepare: Prepare) -> None:
    """Get ready, say so, and then time some calls for each line on standard input, until that ends.

    Parameters
    ----------
    prepare : callable
        Is given the JSON object of the last word on the command line.
    """
    # Libraries write notes on standard output: those go to standard error, and the answers alone where they were.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    call, logits = prepare(json.loads(sys.argv[-1]))
    for _ in range(_WARM_UP):
        call()
    _say(answers, {"logits": logits})
    for line in sys.stdin:
        _say(answers, {"seconds": _turn(call, float(line))})


def _turn(call: Call, length: float) -> List[float]:
    """Seconds of each call that begins within `length` seconds; the first wakes threads, and counts only if alone."""
    seconds: List[float] = []
    end = time.perf_counter() + length
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds


def _say(answers: Any, what: Dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)
