"""The process that reads inputs: it may crash, hang or fill the memory, and whoever started it sees that.

    python -m fuzzing.child FOLDER SEED

Each line on standard input is a request in JSON, each line on standard output its answer. What the readers print goes
to FOLDER/log, with where the interpreter was when it crashed.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import re
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

#: How much more memory an input may take, in bytes.
MOST_MEMORY = 1024**3

#: Beyond what the process has mapped once everything is imported. MXNet, OpenCV and their threads map, and do not use.
_MOST_MAPPED = 3 * 1024**3

#: The longest message of an error that the user can correct, in characters and lines.
_LONGEST, _MOST_LINES = 5000, 12

REFUSED, ACCEPTED, TRACEBACK, OVER = "refused", "accepted", "traceback", "over 1 GB"

#: Of what a terminal obeys, only the end of a line may be in a message.
_OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

#: The samples whose readers write into their folder.
_WRITTEN = ("runs",)


class _Messages(logging.Handler):
    """Keeps what the package tells the user."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def judge(read: Callable[[Path], None], folder: Path, messages: Optional[_Messages] = None) -> Tuple[str, str]:
    """The outcome of reading a folder, and a text about it.

    Anything but a message that a user can act on counts as a traceback, and so does a message that a terminal would
    obey, or that is no message of a few lines.
    """
    from fusion.errors import FusionError

    try:
        read(folder)
        outcome, text = ACCEPTED, ""
    except FusionError as error:
        outcome, text = REFUSED, str(error)
        if _lacked_memory(error):
            return OVER, text
        if not text or len(text) > _LONGEST or text.count("\n") > _MOST_LINES or _OBEYED.search(text):
            return TRACEBACK, f"unfit message: {text[:300]!r}\n{traceback.format_exc()}"
    except Exception as error:
        return (OVER if _lacked_memory(error) else TRACEBACK), traceback.format_exc()
    for told in messages.texts if messages else ():
        if _OBEYED.search(told):
            return TRACEBACK, f"unfit log message: {told[:300]!r}"
    return outcome, text


def _lacked_memory(error: Optional[BaseException]) -> bool:
    """Whether an error, or one that it came of, says that there was no memory: the limit was reached."""
    while error is not None:
        if isinstance(error, MemoryError) or "nsufficient memory" in str(error) or "bad_alloc" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _memory(which: str) -> int:
    """A figure of the process in bytes: VmRSS is what it has in memory, VmHWM the most that it ever had."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{which}:\s+(\d+)", status).group(1)) * 1024  # type: ignore[union-attr]


class _Reader:
    """Answers requests."""

    def __init__(self, folder: Path, seed: int) -> None:
        from fuzzing.samples import SAMPLES

        self._samples = SAMPLES
        self._originals, self._work = folder / "originals", folder / "work"
        self._seed = seed
        self._messages = _Messages()
        logger = logging.getLogger("fusion")
        logger.addHandler(self._messages)
        logger.setLevel(logging.INFO)

    def answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Read one input: that of a number, one that was kept, or a sample as it is."""
        from fuzzing.inputs import make_input, read_kept

        kind = request["kind"]
        self._prepare(kind)
        if "sample" in request:
            return self._read(kind, request["sample"])
        kept = request.get("kept")
        given = read_kept(Path(kept)) if kept else make_input(self._originals, self._seed, kind, request["number"])
        (self._work / kind / given.sample / given.file).write_bytes(given.content)
        answer = self._read(kind, given.sample)
        self._restore(kind, given.sample, given.file)
        return answer

    def _read(self, kind: str, sample: str) -> Dict[str, Any]:
        self._messages.texts.clear()
        start, before = time.process_time(), _memory("VmRSS")
        outcome, text = judge(self._samples[kind][sample].read, self._work / kind / sample, self._messages)
        seconds, grown = time.process_time() - start, _memory("VmHWM") - before
        if grown > MOST_MEMORY:
            outcome, text = OVER, f"{grown / 1e9:.1f} GB; {outcome}: {text}"
        return {"outcome": outcome, "text": text[-6000:], "seconds": seconds}

    def _prepare(self, kind: str) -> None:
        """Make the samples of a kind, unless a process before this one has."""
        from fuzzing.samples import write_samples

        if not (self._originals / kind).exists():
            aside = self._originals / ".aside"
            shutil.rmtree(aside, ignore_errors=True)
            write_samples(aside, kind)
            (aside / kind).rename(self._originals / kind)
        if not (self._work / kind).exists():
            shutil.copytree(self._originals / kind, self._work / kind)

    def _restore(self, kind: str, sample: str, file: str) -> None:
        original, work = self._originals / kind / sample, self._work / kind / sample
        shutil.copyfile(original / file, work / file)
        if kind in _WRITTEN:
            shutil.rmtree(work)
            shutil.copytree(original, work)


def main() -> None:
    """Answer until the requests end."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(all_threads=False)
    (folder / "originals").mkdir(exist_ok=True)
    shutil.rmtree(folder / "work", ignore_errors=True)
    reader = _Reader(folder, seed)
    limit = _memory("VmSize") + _MOST_MAPPED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(reader.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
