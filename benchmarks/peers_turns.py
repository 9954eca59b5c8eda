"""How a process of benchmarks/peers.py waits for its turns. This module needs only Python's standard library."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

#: The function that is timed. It returns when its work is done.
Call = Callable[[], object]

#: From the description of a process to the function that is timed, and to the logits that are compared, if any.
Prepare = Callable[[Mapping[str, Any]], Tuple[Call, Optional[List[List[float]]]]]

#: Calls before the first turn, which compile the network, allocate memory and choose layouts.
_WARM_UP = 3


def take_turns(prepare: Prepare) -> None:
    """Prepare, report that, and then time some calls for each line on standard input until the input ends.

    Parameters
    ----------
    prepare : callable
        Gets the JSON object that is the last word of the command line.
    """
    # Libraries write notes on standard output. These go to standard error, so that standard output has only answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    call, logits = prepare(json.loads(sys.argv[-1]))
    for _ in range(_WARM_UP):
        call()
    _say(answers, {"logits": logits})
    for line in sys.stdin:
        _say(answers, {"seconds": _turn(call, float(line))})


def _turn(call: Call, length: float) -> List[float]:
    """The duration of each call that begins within `length` seconds.

    The first call wakes threads, so it counts only if it is the only one.
    """
    seconds: List[float] = []
    end = time.perf_counter() + length
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds


def _say(answers: Any, what: Dict[str, Any]) -> None:
    print(json.dumps(what), file=answers, flush=True)
