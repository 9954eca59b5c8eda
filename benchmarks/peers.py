#!/usr/bin/env python
"""How fast AFF-ResNet-32 is here, beside the same network in PyTorch and in ONNX Runtime, on this machine's processors.

Each candidate is a process of its own with the same number of threads. They take turns, so that a busy machine slows
all of them equally. A ratio is the median of the ratios of all rounds, and is above 1 if this package is faster. All
have the same weights, and their answers are compared before anything is timed.

    python benchmarks/peers.py --torch PYTHON        an interpreter that can import torch
    python benchmarks/peers.py                       without PyTorch

PyTorch compiles with a C++ compiler, which must be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from peers_turns import Call, take_turns

#: The environment of PyTorch's processes. Importing `fusion` may add settings for MXNet, which PyTorch must not get.
_OUTSIDE = dict(os.environ)

import fusion  # noqa: E402  after the environment was copied
from fusion.compat import mx  # noqa: E402
from fusion.deploy.onnx import require, to_onnx  # noqa: E402
from fusion.deploy.optimise import optimise, quantise  # noqa: E402
from fusion.deploy.symbols import trace  # noqa: E402
from fusion.deploy.verify import relative_difference  # noqa: E402
from fusion.machine import processors  # noqa: E402
from fusion.processors import with_threads  # noqa: E402
from fusion.speed.measuring import IN_PLACE, NotPossibleError  # noqa: E402
from fusion.timing import Times, gain  # noqa: E402
from fusion.words import counted  # noqa: E402

MODEL = "aff_resnet32"
TRAINING_BATCH = 32

#: The length of a turn in seconds. No call begins later than that.
TURN = 0.6

#: The largest accepted difference from MXNet's logits, as a fraction of the largest logit. INT8 may differ by more.
TOLERANCE = 1e-3

#: How many images the INT8 network is calibrated on.
_CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Way:
    """A way to run the network.

    Attributes
    ----------
    title : str
        The name in tables.
    program : {"torch", "mxnet"}
        The library whose process runs it.
    way : str
        The name by which the process knows it.
    """

    title: str
    program: str
    way: str


EAGER = Way("PyTorch eager", "torch", "eager")
COMPILED = Way("torch.compile", "torch", "compile")
FROZEN = Way("torch.compile, freezing", "torch", "freezing")
PLAIN = Way("MXNet hybridized", "mxnet", "hybridized")
OPTIMISED = Way("MXNet optimise", "mxnet", "optimise")
INT8 = Way("MXNet INT8", "mxnet", "int8")
ONNX = Way("ONNX Runtime", "mxnet", "onnx")

INFERENCE = (EAGER, COMPILED, FROZEN, PLAIN, OPTIMISED, INT8, ONNX)
TRAINING = (EAGER, COMPILED, PLAIN)

#: Exports that compute the same function as the network; INT8 does not.
EXPORTS = (OPTIMISED, ONNX)


@dataclass(frozen=True)
class Goal:
    """How many times as fast the fastest of some ways should be as another way."""

    task: str
    batch: int
    ways: Sequence[Way]
    against: Way
    least: float


GOALS = (
    Goal("training", TRAINING_BATCH, (PLAIN,), COMPILED, 1.05),
    Goal("inference", 1, (OPTIMISED,), COMPILED, 1.2),
    Goal("inference", 32, (OPTIMISED,), COMPILED, 0.95),
    Goal("inference", 1, EXPORTS, COMPILED, 1.35),
    Goal("inference", 32, EXPORTS, COMPILED, 1.05),
    Goal("inference", 1, (OPTIMISED,), PLAIN, 1.35),
)

# --- A process that runs the network in one way -----------------------------------------------------------------------


def load(file: str) -> Tuple[Any, np.ndarray]:
    """The network with the weights in a file, and the images in this file."""
    net = fusion.get_model(MODEL)
    net.initialize()
    with np.load(file) as stored:
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(mx.nd.array(stored[name]))
        return net, stored["images"]


def onnx_runtime(net: Any, images: np.ndarray, threads: int) -> Call:
    """The ONNX model of this package in ONNX Runtime."""
    runtime = require("onnxruntime")
    model = to_onnx(*trace(net, images.shape), images.shape[1:])
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: images})[0]


def inference(net: Any, images: np.ndarray, batch: int, way: str, threads: int) -> Call:
    """A function that computes the answers for `batch` of the images."""
    if way == ONNX.way:
        return onnx_runtime(net, images[:batch], threads)
    if way == OPTIMISED.way:
        block = optimise(net).block
    elif way == INT8.way:
        block = quantise(net, images[:_CALIBRATION_IMAGES]).block
    else:
        block = net
        block.hybridize(static_alloc=True, static_shape=True)
    given = mx.nd.array(images[:batch])

    def call() -> Any:
        answer = block(given)
        answer.wait_to_read()
        return answer

    return call


def prepare(job: Mapping[str, Any]) -> Tuple[Call, Optional[List[List[float]]]]:
    """Prepare one way to run the network, with the weights and images in a file."""
    net, images = load(job["weights"])
    if job["task"] == "training":
        return IN_PLACE["training"](net, mx.nd.array(images[: job["batch"]])), None
    call = inference(net, images, job["batch"], job["way"], job["threads"])
    logits = call()
    return call, (logits if isinstance(logits, np.ndarray) else logits.asnumpy()).tolist()


# --- The process that lets the others take turns ----------------------------------------------------------------------


def save_weights(file: Path, images: int) -> None:
    """Write random weights by structural name, with batch norms that are not the identity, and random images."""
    mx.random.seed(0)
    net = fusion.get_model(MODEL)
    net.initialize()
    net(mx.nd.zeros((1, 3, net.input_size, net.input_size)))
    draw = np.random.default_rng(0)
    arrays = {name: parameter.data().asnumpy() for name, parameter in net._collect_params_with_prefix().items()}
    for name, array in arrays.items():
        if name.startswith("features.0."):
            continue  # the norm of the input has a fixed scale and shift
        if name.endswith(("running_mean", "beta", "bias")):
            arrays[name] = draw.normal(0, 0.1, array.shape).astype(np.float32)
        elif name.endswith(("running_var", "gamma")):
            arrays[name] = draw.uniform(0.5, 1, array.shape).astype(np.float32)
    size = (images, 3, net.input_size, net.input_size)
    np.savez(file, images=draw.standard_normal(size).astype(np.float32), **arrays)


class Candidate:
    """A process that runs the network in one way, and waits for its turns.

    Parameters
    ----------
    way : Way
        The way.
    job : mapping
        The description of what the process does.
    torch : str, optional
        The Python interpreter that can import torch.
    """

    def __init__(self, way: Way, job: Mapping[str, Any], torch: Optional[str]) -> None:
        self.way = way
        self.turns: List[List[float]] = []
        here = Path(__file__).resolve()
        if way.program == "torch":
            words, environment = [str(torch), str(here.with_name("peers_torch.py"))], _OUTSIDE
        else:
            words, environment = [sys.executable, str(here), "candidate"], os.environ
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            [*words, json.dumps({**job, "way": way.way})],
            env=with_threads(environment, job["threads"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ready(self) -> Optional[np.ndarray]:
        """Wait until the process can take turns.

        Returns
        -------
        numpy.ndarray or None
            Its logits (B, classes); None for training.

        Raises
        ------
        NotPossibleError
            If the process ends before that.
        """
        logits = self._answer()["logits"]
        return None if logits is None else np.array(logits)

    def turn(self) -> None:
        """Give the process one turn."""
        assert self._process.stdin is not None
        print(TURN, file=self._process.stdin, flush=True)
        self.turns.append(self._answer()["seconds"])

    def end(self) -> None:
        """Wait until the process has ended."""
        self._process.communicate()
        self._errors.close()

    @property
    def times(self) -> Times:
        """The median of each turn."""
        return Times(tuple(float(np.median(seconds)) for seconds in self.turns))

    def _answer(self) -> Dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines() or ["it said nothing"]
        reason = next((line for line in reversed(said) if "Error" in line.split(":")[0]), said[-1])
        raise NotPossibleError(f"{self.way.title}: {reason}")


#: The heading of the table. The last column but one is the speed as a multiple of that of torch.compile.
HEADING = f"  {'task':<9} {'batch':>5}  {'network':<23} {'ms':>8} {'middle half':>17} images/s  × torch  differs"


@dataclass
class Measured:
    """What was measured for one task at one batch size.

    Attributes
    ----------
    task : str
        Training or inference.
    batch : int
        Images per call.
    times : dict of Way to Times
        One figure per round.
    differences : dict of Way to float
        Differences of the logits from those of MXNet hybridized, as a fraction of the largest logit.
    """

    task: str
    batch: int
    times: Dict[Way, Times] = field(default_factory=dict)
    differences: Dict[Way, float] = field(default_factory=dict)

    def rows(self) -> List[str]:
        """One line of the table per way."""
        lines = []
        for way, times in self.times.items():
            low, high = (1000 * seconds for seconds in times.quartiles)
            ratio = f"{gain(self.times[COMPILED], times):.2f}" if COMPILED in self.times else "-"
            gap = f"{self.differences[way]:.0e}" if way in self.differences else "-"
            lines.append(
                f"  {self.task:<9} {self.batch:>5}  {way.title:<23} {1000 * times.median:>8.1f} "
                f"{f'{low:.1f} to {high:.1f}':>17} {self.batch / times.median:>8.0f} {ratio:>8}  {gap:>7}"
            )
        return lines


def measure(
    task: str, batch: int, ways: Sequence[Way], rounds: int, job: Mapping[str, Any], torch: Optional[str]
) -> Measured:
    """Start a process for each way, compare their answers, and let them take turns.

    Raises
    ------
    ValueError
        If one of them computes something else.
    """
    found = Measured(task, batch)
    candidates = [Candidate(way, {**job, "task": task, "batch": batch}, torch) for way in ways]
    try:
        running, logits = [], {}
        for candidate in candidates:
            try:
                logits[candidate.way] = candidate.ready()
                running.append(candidate)
            except NotPossibleError as error:
                print(f"  left out: {error}", flush=True)
        expected = logits.get(PLAIN)
        for way, answer in logits.items():
            if answer is not None and expected is not None:
                found.differences[way] = relative_difference(answer, expected)
                if way is not INT8 and found.differences[way] > TOLERANCE:
                    raise ValueError(
                        f"{way.title} computes something else than {PLAIN.title}: its logits differ by "
                        f"{found.differences[way]:.1e} of the largest, more than {TOLERANCE}"
                    )
        for _ in range(rounds):
            for candidate in running:
                candidate.turn()
        found.times = {candidate.way: candidate.times for candidate in running}
    finally:
        for candidate in candidates:
            candidate.end()
    return found


def judge(goal: Goal, measured: Sequence[Measured]) -> Dict[str, Any]:
    """A goal with its figure, which is None if one of the two sides was not measured."""
    times: Dict[Way, Times] = {}
    for found in measured:
        if (found.task, found.batch) == (goal.task, goal.batch):
            times = found.times
    figures = {way.title: gain(times[goal.against], times[way]) for way in goal.ways if {way, goal.against} <= {*times}}
    best = max(figures, key=lambda title: figures[title], default=None)
    title = goal.ways[0].title if len(goal.ways) == 1 else "the fastest float32 export"
    return {
        "goal": f"{goal.task}, batch {goal.batch}: {title} against {goal.against.title}",
        "least": goal.least,
        "figure": None if best is None else figures[best],
        "way": best,
    }


def tell(verdict: Mapping[str, Any]) -> str:
    """A verdict as a line."""
    if verdict["figure"] is None:
        return f"  {verdict['goal']:<69} goal {verdict['least']:.2f}  not measured"
    word = "met" if verdict["figure"] >= verdict["least"] else "missed"
    return f"  {verdict['goal']:<69} goal {verdict['least']:.2f}  {word:<6} {verdict['figure']:.2f} ({verdict['way']})"


def torch_release(python: Optional[str]) -> Optional[str]:
    """The release of PyTorch that an interpreter imports; if it imports none, print the reason and return None."""
    if python is None:
        print("PyTorch is left out: name an interpreter that can import it, --torch PYTHON")
        return None
    try:
        asked = [python, "-c", "import torch; print(torch.__version__)"]
        said = subprocess.run(asked, env=_OUTSIDE, capture_output=True, text=True, check=True).stdout
    except OSError as error:
        print(f"PyTorch is left out: {python} cannot be run ({error.strerror})")
    except subprocess.CalledProcessError as error:
        print(f"PyTorch is left out: {python} cannot import torch ({error.stderr.strip().splitlines()[-1]})")
    else:
        return said.strip()
    return None


def positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: expected a positive number")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that can import torch")
    parser.add_argument("--rounds", type=positive, default=15, help="turns per candidate (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=processors(), help="per process (default: %(default)s)")
    parser.add_argument(
        "--batch-sizes",
        type=positive,
        nargs="*",
        default=[1, 32],
        help="for inference (default: 1 32)",
        metavar="N",
    )
    parser.add_argument("--no-training", action="store_true", help="measure only inference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    arguments = parser.parse_args()
    release = torch_release(arguments.torch)
    tasks = [] if arguments.no_training else [("training", TRAINING_BATCH, TRAINING)]
    tasks += [("inference", batch, INFERENCE) for batch in arguments.batch_sizes]
    print(
        f"{MODEL} in MXNet {mx.__version__}{f' and PyTorch {release}' if release else ''}, "
        f"{counted(arguments.threads, 'thread')} each, {counted(arguments.rounds, 'round')} in turn"
    )
    print(HEADING)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        save_weights(weights, max([TRAINING_BATCH, *arguments.batch_sizes]))
        job = {"weights": str(weights), "threads": arguments.threads}
        for task, batch, ways in tasks:
            able = [way for way in ways if release or way.program != "torch"]
            measured.append(measure(task, batch, able, arguments.rounds, job, arguments.torch))
            print("\n".join(measured[-1].rows()), flush=True)
    verdicts = [judge(goal, measured) for goal in GOALS]
    print("\n".join(["How many times as fast, the median of the rounds", *map(tell, verdicts)]))
    if arguments.json:
        record = {
            "threads": arguments.threads,
            "torch": release,
            "figures": [
                {
                    "task": found.task,
                    "batch": found.batch,
                    "network": way.title,
                    "seconds": times.seconds,
                    "difference": found.differences.get(way),
                }
                for found in measured
                for way, times in found.times.items()
            ],
            "goals": verdicts,
        }
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(v["figure"] is not None and v["figure"] < v["least"] for v in verdicts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["candidate"]:
        take_turns(prepare)
    else:
        raise SystemExit(main())
