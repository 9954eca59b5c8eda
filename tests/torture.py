#!/usr/bin/env python3
"""Trains two tiny networks time and again, ends each run another way, resumes it, and compares: a table.

python tests/torture.py               everything: some minutes
python tests/torture.py --every 7     every seventh of the points, beginning with the first

A run is killed before each change of its folder and within each write; the disk is full, or read-only, from each change
on; a small disk of memory fills up (where this user may mount one); a thread that prepares batches fails; the process
is asked to stop; another process trains the run; a weight is no number. Afterwards the run is resumed, and must be the
unbroken one to the bit: metrics.csv but for its timings, result.json, each array of the last checkpoint, the best
weights, and the names of all files. The exit status is 1 if any run was not, or ended without its one message.

The picture of the curves is a small one here: to draw it would take longer than the training.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from faults import Fault
from masked import TARGETS, write_targets
from PIL import Image

from fusion.data import load_dataset
from fusion.files import unfinished
from fusion.tables import text_table
from fusion.training import engine, main, picture  # noqa: F401  children find the engine imported
from fusion.training.history import TIMINGS

#: All that draws random numbers, remembers earlier steps, or writes a file of its own, in a network of few parameters.
DIGITS = """
model: {{name: cifar_resnet, fusion: add, blocks: 1, channel_times: 1}}
data: {{name: image_folder, dir: {folder}, size: 16, batch_size: 12}}
augment: {{crop_padding: 2, flip: true, mixup_alpha: 0.4, mixup_off_epochs: 1}}
schedule: {{lr: 0.05, warmup_epochs: 0.5}}
train: {{epochs: 2, label_smoothing: 0.1, ema_decay: 0.9}}
runtime: {{log_every: 1}}
"""
IMAGES = {"train": 24, "test": 10}
BATCHES = 2

TASKS = ("classification", "segmentation")

#: The statuses of processes.
KILLED, TOO_LARGE, REFUSED, INTERRUPTED = -signal.SIGKILL, -signal.SIGXFSZ, 2, 130

#: What no end may show.
UNWANTED = ("Traceback", "Exception ignored", "Logging error")


# --- Processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a process ended: its status, minus the signal's number if one ended it, and all that it said."""

    status: int
    said: str


class Child:
    """A process that is forked from this one, where everything is imported already."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._output, inner = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            self._run(work, inner)
        os.close(inner)

    @staticmethod
    def _run(work: Callable[[], int], output: int) -> None:
        status = 1
        try:
            for stream in (1, 2):
                os.dup2(output, stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["train.py"]
            picture.draw_training_curves = _draw_little
            status = work()
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def read_until(self, text: str) -> None:
        """Wait until it has said something."""
        said = b""
        while text.encode() not in said:
            piece = os.read(self._output, 1)
            if not piece:
                raise RuntimeError(f"ended before it said {text!r}: {said.decode(errors='replace')}")
            said += piece

    def wait(self) -> Ended:
        """Its end."""
        with os.fdopen(self._output, "rb") as stream:
            said = stream.read().decode(errors="replace")
        status = os.waitpid(self.pid, 0)[1]
        return Ended(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), said)


def _draw_little(history: Any, title: str, path: Path) -> None:
    with path.open("wb") as stream:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(stream, format="PNG")


# --- Runs ------------------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A task with its data and its unbroken run."""

    folder: Path
    config: Path
    whole: Path = field(init=False)
    sizes: Dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.whole = self.folder / "whole"
        ended = self.train(self.whole)
        assert ended.status == 0, ended.said
        self.sizes = {path.name: path.stat().st_size for path in self.whole.rglob("*") if path.is_file()}

    def start(self, run: Path, fault: Optional[Fault] = None) -> Child:
        """A process that begins a run."""
        return self._child(run, fault, ["--config", str(self.config), "--run-dir", str(run)])

    def train(self, run: Path, fault: Optional[Fault] = None) -> Ended:
        """Begin a run, and wait for its end."""
        return self.start(run, fault).wait()

    def resume(self, run: Path) -> Ended:
        """Go on with a run, or begin it where it has not begun."""
        if not (run / "config.yaml").exists():
            return self.train(run)
        return self._child(run, None, ["--resume", str(run)]).wait()

    @staticmethod
    def _child(run: Path, fault: Optional[Fault], words: Sequence[str]) -> Child:
        def work() -> int:
            if fault is not None:
                fault.install(run)
            return main("", list(words))

        return Child(work)


def make_scene(task: str, folder: Path) -> Scene:
    """Write the images and the config of a task, and train its unbroken run."""
    folder.mkdir(parents=True)
    if task == "segmentation":
        write_targets(folder / "data")
        text = TARGETS.replace("epochs: 3", "epochs: 2").replace("batch_size: 4", "batch_size: 6")
    else:
        _write_digits(folder / "data")
        text = DIGITS
    config = folder / "config.yaml"
    config.write_text(text.format(folder=folder / "data"))
    return Scene(folder, config)


def _write_digits(folder: Path) -> None:
    for split, count in IMAGES.items():
        digits = load_dataset("digits", split)
        for number in range(count):
            label = digits.labels[number] % 3
            path = folder / split / str(label) / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[number]).resize((16, 16)).save(path)


def differences(run: Path, whole: Path) -> List[str]:
    """What a run has otherwise than the unbroken one, but for the times that it took."""
    found = [
        f"{name} differs" for name, read in _PARTS.items() if not (run / name).exists() or read(run) != read(whole)
    ]
    names = [sorted(str(path.relative_to(each)) for path in each.rglob("*")) for each in (run, whole)]
    if names[0] != names[1]:
        found.append(f"files {sorted(set(names[0]) ^ set(names[1]))}")
    return found


def _table(run: Path) -> List[Dict[str, str]]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return [{key: text for key, text in row.items() if key not in TIMINGS} for row in csv.DictReader(stream)]


def _result(run: Path) -> Any:
    found = json.loads((run / "result.json").read_text())
    return {key: _untimed(value) for key, value in found.items()}


def _untimed(value: Any) -> Any:
    return {key: each for key, each in value.items() if key not in TIMINGS} if isinstance(value, dict) else value


def _arrays(run: Path) -> Dict[str, bytes]:
    with np.load(run / "checkpoints" / "last.npz", allow_pickle=False) as stored:
        return {name: stored[name].tobytes() for name in stored.files if name != "state"}


def _bytes(name: str) -> Callable[[Path], bytes]:
    return lambda run: (run / name).read_bytes()


_PARTS: Dict[str, Callable[[Path], Any]] = {
    "metrics.csv": _table,
    "result.json": _result,
    "checkpoints/last.npz": _arrays,
    "checkpoints/best.params": _bytes("checkpoints/best.params"),
    "config.yaml": _bytes("config.yaml"),
    "classes.txt": _bytes("classes.txt"),
}


def left_over(run: Path) -> List[Path]:
    """What is unfinished in a run's folder and those in it."""
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())] if run.exists() else []
    return [path for folder in folders for path in unfinished(folder)]


# --- Trials ----------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A line of the table: how many runs ended so, and how many of them were right in each respect."""

    kind: str
    tried: int = 0
    resumed: int = 0
    told: int = 0
    clean: int = 0
    faults: List[str] = field(default_factory=list)

    def count(self, about: str, ended: Ended, right: bool, wrong: Sequence[str], left: Sequence[Path]) -> None:
        """Add a run."""
        self.tried += 1
        self.resumed += not wrong
        self.told += right
        self.clean += not left
        if wrong or left or not right:
            self.faults.append(f"{self.kind}, {about}: status {ended.status}; {wrong}; {left}\n{ended.said}")

    @property
    def cells(self) -> Tuple[str, ...]:
        return self.kind, str(self.tried), str(self.resumed), str(self.told), str(self.tried - self.clean)


def one_message(ended: Ended, status: int) -> bool:
    """Whether a process ended with this status, and said why in one message."""
    messages = sum(line.startswith("error: ") for line in ended.said.splitlines())
    return ended.status == status and messages == (status == REFUSED) and not any(w in ended.said for w in UNWANTED)


def _as_it_should(kind: str, ended: Ended) -> bool:
    if kind.startswith("killed"):
        return ended.status in (KILLED, TOO_LARGE) and not any(words in ended.said for words in UNWANTED)
    if kind in ("SIGTERM", "Ctrl-C"):
        return one_message(ended, INTERRUPTED) and "continue with" in ended.said
    return one_message(ended, REFUSED)


def try_fault(scene: Scene, fault: Fault, row: Row) -> bool:
    """End a run by a fault, resume it, and count it in a row; whether the fault came before the run's end."""
    run = scene.folder / "run"
    ended = scene.train(run, fault)
    reached = ended.status != 0
    # What comes after the last file of a run, such as the removal of its lock, may fail in silence.
    right = _as_it_should(fault.kind, ended) if reached else one_message(ended, 0)
    left = [] if fault.kind.startswith(("killed", "read-only")) else left_over(run)
    again = scene.resume(run)
    wrong = [] if one_message(again, 0) else [f"resumed: status {again.status}, {again.said}"]
    row.count(f"at {fault.number}", ended, right, wrong or differences(run, scene.whole), [*left, *left_over(run)])
    shutil.rmtree(run)
    return reached


def changes(scene: Scene) -> List[str]:
    """The changes that a run makes to its folder, in order, by their names."""
    run = scene.folder / "run"
    said = scene.train(run, Fault("counted", 0)).said
    shutil.rmtree(run)
    return re.findall(r"^change \d+: (\S+)", said, re.MULTILINE)


def sweep_faults(scene: Scene, kind: str, numbers: Sequence[int]) -> Row:
    """End a run by a fault at each of some points."""
    row = Row(kind)
    for number in numbers:
        try_fault(scene, Fault(kind, number, scene.sizes), row)
    return row


def second_process(scene: Scene, every: int) -> Iterator[Row]:
    """Start and resume a run that another process trains, and resume it once that has been killed."""
    row, run = Row("a second process"), scene.folder / "run"
    for number in range(1, 2 * BATCHES + 1, min(every, BATCHES)):
        child = scene.start(run, Fault("waits", number))
        child.read_until("waiting")
        started, resumed = scene.train(run), scene.resume(run)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        right = one_message(started, REFUSED) and one_message(resumed, REFUSED)
        right = right and f"process {child.pid} trains this run" in resumed.said
        again = scene.resume(run)
        wrong = [] if one_message(again, 0) else [f"resumed: status {again.status}, {again.said}"]
        row.count(f"at {number}", resumed, right, wrong or differences(run, scene.whole), left_over(run))
        shutil.rmtree(run)
    yield row


# --- A real disk -----------------------------------------------------------------------------------------------------


class Disk:
    """A disk of memory of a size that changes; a context manager that is None where this user may not mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Optional[Disk]:
        self.folder.mkdir()
        return self if self._mount("-t", "tmpfs", "-o", "size=64m", "tmpfs") else None

    def __exit__(self, *error: Any) -> None:
        subprocess.run(["umount", str(self.folder)], stderr=subprocess.DEVNULL, check=False)

    def change(self, option: str) -> None:
        """Give it another size, or make it read-only."""
        assert self._mount("-o", f"remount,{option}")

    def _mount(self, *words: str) -> bool:
        try:
            return not subprocess.run(["mount", *words, str(self.folder)], stderr=subprocess.DEVNULL).returncode
        except OSError:
            return False


def real_disk(scene: Scene, every: int) -> Iterator[Row]:
    """Train on a disk that is too small by ever less; then start and resume on a disk that is read-only."""
    with Disk(scene.folder / "disk") as disk:
        if disk is None:
            return
        row, run, page = Row("real disk full"), disk.folder / "run", os.sysconf("SC_PAGE_SIZE")
        pages = sum(-(-size // page) for size in scene.sizes.values())
        for count in range(1, pages + 1, every):
            disk.change(f"size={count * page}")
            ended = scene.train(run)
            left = left_over(run)
            disk.change("size=64m")
            _go_on(scene, run, row, f"{count} pages", ended, left)
        yield row
        row = Row("real disk read-only")
        disk.change("ro,size=64m")
        started = scene.train(run)
        disk.change("rw,size=64m")
        _go_on(scene, run, row, "started", started, [])
        scene.train(run, Fault("killed at a batch", BATCHES + 1))
        disk.change("ro,size=64m")
        resumed = scene.resume(run)
        disk.change("rw,size=64m")
        _go_on(scene, run, row, "resumed", resumed, [])
        yield row


def _go_on(scene: Scene, run: Path, row: Row, about: str, ended: Ended, left: Sequence[Path]) -> None:
    again = scene.resume(run)
    right = one_message(ended, REFUSED) or one_message(ended, 0)
    wrong = [] if one_message(again, 0) else [f"resumed: status {again.status}, {again.said}"]
    row.count(about, ended, right, wrong or differences(run, scene.whole), [*left, *left_over(run)])
    shutil.rmtree(run)


# --- All of it -------------------------------------------------------------------------------------------------------

#: Kinds that happen at a change of the folder, and those that happen in a file that is opened for writing.
AT_CHANGES = ("killed between writes", "disk full", "read-only disk", "read-only folder")
AT_OPENED = ("killed within a write", "disk full within a write")

#: Kinds that happen at a batch.
AT_BATCHES = (
    "killed at a batch",
    "SIGTERM",
    "Ctrl-C",
    "NaN",
    "loader thread: no memory",
    "loader thread: disk error",
    "loader thread: mistake",
    "loader thread: exit",
)


#: Kinds that need a process or a disk besides.
WITH_OTHERS: Dict[str, Callable[[Scene, int], Iterator[Row]]] = {
    "a second process": second_process,
    "real disk": real_disk,
}

KINDS = (*AT_CHANGES, *AT_OPENED, *AT_BATCHES, *WITH_OTHERS)


def torture(folder: Path, every: int = 1, tasks: Sequence[str] = TASKS, kinds: Sequence[str] = KINDS) -> Iterator[Row]:
    """End runs of each task in each way.

    Parameters
    ----------
    folder : Path
        For their data and runs.
    every : int
        How many points there are from one that is tried to the next, and at batches one less than there are at most.
    tasks, kinds : sequence of str
        Some of `TASKS` and of `KINDS`.
    """
    for task in tasks:
        scene = make_scene(task, folder / task)
        names = changes(scene)
        points = {
            **dict.fromkeys(AT_CHANGES, range(1, len(names) + 1)),
            **dict.fromkeys(AT_OPENED, tuple(number for number, name in enumerate(names, 1) if name == "open")),
            **dict.fromkeys(AT_BATCHES, range(1, 2 * BATCHES + 1)),
        }
        for place, kind in enumerate(kinds):
            if kind in WITH_OTHERS:
                yield from WITH_OTHERS[kind](scene, every)
            else:
                step = min(every, len(points[kind]) - 1)
                yield sweep_faults(scene, kind, points[kind][place % step :: step])


def table(rows: Sequence[Row]) -> str:
    """The table, with the rows of both tasks added up."""
    total: Dict[str, Counter[str]] = {}
    for row in rows:
        counts = {"tried": row.tried, "resumed": row.resumed, "told": row.told, "left": row.tried - row.clean}
        total.setdefault(row.kind, Counter()).update(counts)
    cells = [
        (kind, *(str(found[key]) for key in ("tried", "resumed", "told", "left"))) for kind, found in total.items()
    ]
    sums = [str(sum(found[key] for found in total.values())) for key in ("tried", "resumed", "told", "left")]
    heading = ("end", "tried", "resumed to the bit", "message and status right", "with leftovers")
    return text_table(heading, cells, totals=("all", *sums))


def run(words: Optional[Sequence[str]] = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try every N-th point only (default: 1)")
    parser.add_argument("--task", choices=TASKS, action="append", help="one task only")
    parser.add_argument("--kind", choices=KINDS, action="append", help="one kind of end only; may be repeated")
    arguments = parser.parse_args(words)
    rows, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture.") as folder:
        for row in torture(Path(folder), arguments.every, arguments.task or TASKS, arguments.kind or KINDS):
            rows.append(row)
            print(f"{time.monotonic() - began:5.0f} s  {'  '.join(row.cells)}", file=sys.stderr, flush=True)
            for fault in row.faults[:3]:
                print(fault, file=sys.stderr)
    print(table(rows))
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(run())
