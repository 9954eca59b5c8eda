"""python -m fusion optimise: a trained network made fast for inference, with accuracy and speed before and after."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from ..command import log_to_terminal
from ..compat import mx
from ..data.imageset import DataSet, ImageSet
from ..errors import ConfigError
from ..files import write_json
from ..inference.images import images_in_folder
from ..inference.source import add_source, from_arguments
from ..inference.trained import Trained
from ..outputs import check_folder
from ..progress import progress
from ..timing import gain, interleave
from ..training.config import read_config
from ..training.distributed.workers import ALONE
from ..training.evaluation import evaluate
from .optimise import Optimised, halve, optimise, quantise

#: How many images INT8 is calibrated on: more of them change the ranges little.
CALIBRATION_IMAGES = 256

#: INT8 is kept if it loses at most so many percentage points of accuracy and is at least so many times as fast.
INT8_LOSS = 0.5
INT8_GAIN = 1.05

#: Of the comparison of speeds: images per call, and rounds.
_BATCH = 32
_ROUNDS = 15

#: The exit status where INT8 was asked for and is not kept.
NOT_KEPT = 1

#: The network as it was trained, in the tables here.
BEFORE = "hybridized"


@dataclass(frozen=True)
class Decision:
    """Whether INT8 is worth keeping.

    Attributes
    ----------
    kept : bool
        The decision.
    words : str
        The decision and its reason, in a sentence.
    """

    kept: bool
    words: str


def decide_on_int8(lost: float, gained: float, limit: float = INT8_LOSS) -> Decision:
    """Decide whether INT8 is worth keeping.

    Parameters
    ----------
    lost : float
        How much accuracy it loses, in percentage points; negative if its error is lower.
    gained : float
        How many times as fast as the optimised float32 network it is.
    limit : float
        How much accuracy it may lose, in percentage points.
    """
    figures = f"{lost:+.2f} points of error, {gained:.2f} times as fast as float32 optimised"
    if not lost <= limit:
        return Decision(False, f"INT8 is not kept: {figures}; it may lose at most {limit:g} points")
    if gained < INT8_GAIN:
        return Decision(False, f"INT8 is not kept: {figures}; it must be at least {INT8_GAIN:g} times as fast")
    return Decision(True, f"INT8 is kept: {figures}")


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `optimise`."""
    parser = commands.add_parser("optimise")
    add_source(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the graphs and their weights")
    parser.add_argument("--int8", action="store_true", help="also in eight-bit integers, if that is worth it")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="what INT8 is calibrated on (default: training images)"
    )
    loss = "percentage points of accuracy that INT8 may lose (default: %(default)s)"
    parser.add_argument("--max-loss", type=float, default=INT8_LOSS, metavar="POINTS", help=loss)
    parser.add_argument("--float16", action="store_true", help="also with float16 weights, for GPUs")
    parser.add_argument("--force", action="store_true", help="write over what an earlier call left in DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("settings", nargs="*", metavar="data.key=value", help="where the run's data is now")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    _refuse(arguments)
    log_to_terminal("stderr" if arguments.json else "stdout")
    trained = from_arguments(arguments)
    images = _calibration_images(trained, arguments) if arguments.int8 else None
    made = {"optimised": optimise(trained)}
    if images is not None:
        made["int8"] = quantise(trained, images)
    if arguments.float16:
        made["float16"] = halve(trained)
    facts = _measure(trained, made, _test_set(trained, arguments.settings), images)
    decision = None
    if images is not None:
        measured = facts["networks"]["int8"]
        lost = 100 * (measured["error"] - facts["networks"][BEFORE]["error"])
        decision = decide_on_int8(lost, measured["times_as_fast_as_optimised"], arguments.max_loss)
        facts["int8"] = decision.words
        if not decision.kept:
            del made["int8"]
    facts["files"] = _write(arguments.output, made, facts)
    print(json.dumps(facts) if arguments.json else _described(facts))
    return NOT_KEPT if decision is not None and not decision.kept else 0


def _refuse(arguments: argparse.Namespace) -> None:
    """Refuse what cannot work, before anything is computed."""
    unwanted = [word for word in arguments.settings if not word.startswith("data.")]
    if unwanted:
        raise ConfigError(f"command line, {unwanted[0]!r}: optimise takes data.key=value only, such as data.dir=PATH")
    if arguments.device != "cpu":
        raise ConfigError(
            f"--device {arguments.device}: oneDNN and INT8 are for CPUs, so this command runs on the CPU; "
            "--float16 writes what a GPU runs, and needs no GPU to do so"
        )
    if arguments.images is not None and not arguments.int8:
        raise ConfigError(f"--images {arguments.images}: these images calibrate INT8; add --int8, or leave them out")
    if not arguments.max_loss >= 0:
        raise ConfigError(f"--max-loss {arguments.max_loss}: expected percentage points, 0 or more")
    check_folder(arguments.output, arguments.force)


# --- Images ----------------------------------------------------------------------------------------------------------


def _split(trained: Trained, split: str, words: Sequence[str]) -> Optional[DataSet]:
    """One split of the run's data; None for a network that comes from no run."""
    if trained.run is None:
        return None
    return trained.load_split(read_config(trained.run.config, words), split)


def _test_set(trained: Trained, words: Sequence[str]) -> Optional[DataSet]:
    return _split(trained, "test", words)


def _calibration_images(trained: Trained, arguments: argparse.Namespace) -> np.ndarray:
    """Normalised images from the folder that was named, or evenly spaced ones from the run's training set."""
    if arguments.images is not None:
        return trained.preparation.normalise(_read_folder(trained, arguments.images))
    data = _split(trained, "train", arguments.settings)
    if not isinstance(data, ImageSet):
        raise ConfigError("--int8 needs real images to calibrate on: name a folder of them with --images DIR")
    return trained.preparation.normalise(data.images[_evenly_spaced(len(data))])


def _evenly_spaced(count: int) -> np.ndarray:
    """The numbers of the calibration images among so many, from the first to the last."""
    return np.linspace(0, count - 1, min(CALIBRATION_IMAGES, count)).astype(int)


def _read_folder(trained: Trained, folder: Path) -> np.ndarray:
    files = images_in_folder(folder)
    chosen = [files[number] for number in _evenly_spaced(len(files))]
    images = []
    with progress("calibration images", len(chosen), unit="images") as meter:
        for file in chosen:
            images.append(trained.preparation.read(file))
            meter.update(1)
    return np.stack(images)


# --- Figures ---------------------------------------------------------------------------------------------------------


def _measure(
    trained: Trained, made: Dict[str, Optimised], test_set: Optional[DataSet], images: Optional[np.ndarray]
) -> Dict[str, Any]:
    """The error of each network, and the speed of each but float16's, which is not made for this processor."""
    trained.net.hybridize(static_alloc=True, static_shape=True)
    task = trained.task
    networks: Dict[str, Any] = {BEFORE: trained.net, **{name: each.block for name, each in made.items()}}
    facts: Dict[str, Dict[str, Any]] = {name: {} for name in networks}
    with progress("measuring", len(networks) + 1, unit="networks") as meter:
        for name, net in networks.items():
            if test_set is not None:
                batches = task.evaluation_batches(test_set, trained.preparation.normalisation, _BATCH, ALONE.shard)
                found = evaluate(net, batches, task.evaluation_meter(), [mx.cpu()])
                facts[name]["error"] = found.figures[task.headline.name]
            elif images is not None:
                facts[name]["error"] = _disagreement(trained.net, net, images)
            meter.update(1)
        batch = mx.nd.random.normal(shape=(_BATCH, 3, trained.preparation.size, trained.preparation.size))
        ways = {name: _call(net, batch) for name, net in networks.items() if name != "float16"}
        times = interleave(ways, _ROUNDS)
        meter.update(1)
    for name, taken in times.items():
        facts[name]["images_per_second"] = _BATCH / taken.median
        facts[name]["times_as_fast"] = gain(times[BEFORE], taken)
        facts[name]["times_as_fast_as_optimised"] = gain(times["optimised"], taken)
    if test_set is not None:
        measure = f"{task.headline.title} on {len(test_set):,} test images of {test_set.title}"
    else:
        measure = "share of the calibration images with another answer than the network's own"
    return {
        "model": trained.model,
        "weights": str(trained.file),
        "input_shape": [3, trained.preparation.size, trained.preparation.size],
        "classes": list(trained.classes),
        "mean": list(trained.preparation.mean),
        "std": list(trained.preparation.std),
        "error_is": measure,
        "batch_size": _BATCH,
        "rewritten": made["optimised"].rewritten,
        "networks": facts,
    }


def _call(net: Any, batch: Any) -> Any:
    return lambda: net(batch).wait_to_read()


def _disagreement(net: Any, other: Any, images: np.ndarray) -> float:
    answers = [each(mx.nd.array(images)).asnumpy().argmax(axis=1) for each in (net, other)]
    return float(np.mean(answers[0] != answers[1]))


# --- Files -----------------------------------------------------------------------------------------------------------


def _write(output: Path, made: Dict[str, Optimised], facts: Dict[str, Any]) -> List[str]:
    """Write two files for each network, and optimised.json with the figures.

    Files that an earlier call wrote, for a network that is not made this time, are removed.
    """
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for name in ("optimised", "int8", "float16"):
        if name in made:
            files += [str(path) for path in made[name].save(output / name)]
        else:
            for old in (output / f"{name}-symbol.json", output / f"{name}-0000.params"):
                if old.exists():
                    old.unlink()
    about = output / "optimised.json"
    write_json(about, facts)
    return [*files, str(about)]


def _described(facts: Dict[str, Any]) -> str:
    lines = [f"{facts['model']}, {facts['weights']}"]
    lines += [f"  {count:>4} {what}" for what, count in facts["rewritten"].items()]
    lines.append(f"  {'':<12} {'error':>8} {'images/s':>9} {'times as fast':>14}")
    for name, row in facts["networks"].items():
        error = f"{100 * row['error']:.2f} %" if "error" in row else "-"
        rate = f"{row['images_per_second']:.0f}" if "images_per_second" in row else "-"
        times = f"{row['times_as_fast']:.2f}" if "times_as_fast" in row else "-"
        lines.append(f"  {name:<12} {error:>8} {rate:>9} {times:>14}")
    lines.append(f"  error: {facts['error_is']}; speed at batches of {facts['batch_size']} on this machine")
    if "float16" in facts["networks"]:
        lines.append("  float16 is for GPUs, and faster on no CPU: its error is that of the rounded weights in float32")
    if "int8" in facts:
        lines.append(facts["int8"])
    return "\n".join([*lines, *(f"wrote {file}" for file in facts["files"])])
