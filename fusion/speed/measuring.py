"""The processes in which `python -m fusion benchmark` measures, and the ways to run a network that it compares.

`python -m fusion.speed.measuring JOB` runs such a process. JOB is JSON, and the process prints its answer as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..command import reported
from ..compat import mx
from ..deploy.onnx import open_session, require, to_onnx
from ..deploy.optimise import optimise, quantise
from ..deploy.symbols import load_graph, save_graph, trace
from ..errors import ConfigError
from ..models import get_model
from ..models.zoo import FAMILIES, family_of
from ..processors import chosen, with_threads
from ..timing import interleave

Call = Callable[[], object]

#: How many images a quantised network is calibrated on. Few are enough, because its weights are random.
_CALIBRATION_IMAGES = 8


class NotPossibleError(Exception):
    """A way to run a network is not possible on this machine; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A network and a way to run it.

    Attributes
    ----------
    model : str
        A family or a named model.
    fusion : str, optional
        The fusion to use in place of the model's own.
    way : str
        One of `WAYS`.
    size : int, optional
        Height and width of its images, in pixels; the model's own by default.
    """

    model: str
    fusion: Optional[str]
    way: str
    size: Optional[int] = None

    @property
    def title(self) -> str:
        """The network's name in tables."""
        return f"{self.model} ({self.fusion})" if self.fusion else self.model

    @property
    def key(self) -> str:
        """A name that is unique within a job."""
        return f"{self.title}: {self.way}"


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes
    ----------
    kind : str
        `times`: time the candidates, which take turns. `memory`: measure the peak memory of one candidate. `files`:
        write the files that one candidate is read from.
    candidates : list of Candidate
        The candidates.
    batch_size : int
        Images per call.
    rounds : int
        How many rounds are measured.
    folder : str, optional
        The folder in which a job of the kind `files` writes.
    """

    kind: str
    candidates: List[Candidate]
    batch_size: int
    rounds: int
    folder: Optional[str] = None

    def to_json(self) -> str:
        """The job as one word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "candidates": [Candidate(**each) for each in fields["candidates"]]})


@dataclass(frozen=True)
class Measurement:
    """What was measured of one way to run a network: a row of the table.

    Attributes
    ----------
    model : str
        The network; its fusion follows in brackets if it is not the model's own.
    way : str
        One of `WAYS`.
    batch_size : int
        Images per call.
    milliseconds, low, high : float
        Median and quartiles of the duration of one call.
    images_per_second : float
        Computed from the median.
    megabytes : float, optional
        Peak resident memory of a process that does nothing else, with the interpreter and MXNet.
    times_as_fast : float, optional
        This speed divided by that of the same way with the fusion of --against.
    threads : int, optional
        Threads of OpenMP in the process that was timed.
    """

    model: str
    way: str
    batch_size: int
    milliseconds: float
    low: float
    high: float
    images_per_second: float
    megabytes: Optional[float] = None
    times_as_fast: Optional[float] = None
    threads: Optional[int] = None


# --- Ways to run a network -------------------------------------------------------------------------------------------


def _training(net: Any, images: Any) -> Call:
    """One training step: forward pass, backward pass and update."""
    net.hybridize(static_alloc=True, static_shape=True)
    arguments = {"learning_rate": 1e-3, "momentum": 0.9, "wd": 1e-4}
    trainer = mx.gluon.Trainer(net.collect_params(), "nag", arguments, update_on_kvstore=False)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    labels = mx.nd.zeros(len(images))

    def step() -> None:
        with mx.autograd.record():
            error = loss(net(images), labels)
        error.backward()
        trainer.step(len(images))
        mx.nd.waitall()

    return step


def _hybridized(net: Any, images: Any) -> Call:
    net.hybridize(static_alloc=True, static_shape=True)
    return lambda: net(images).wait_to_read()


def _write_exported(net: Any, size: int, prefix: Path) -> None:
    save_graph(*trace(net, (2, 3, size, size)), prefix)


def _write_optimised(net: Any, size: int, prefix: Path) -> None:
    optimise(net, size).save(prefix)


def _write_int8(net: Any, size: int, prefix: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.standard_normal((_CALIBRATION_IMAGES, 3, size, size)).astype(np.float32)
    try:
        quantise(net, images, size).save(prefix)
    except ConfigError as error:
        raise NotPossibleError(str(error)) from None


def _read_graph(prefix: Path, images: Any) -> Call:
    block = load_graph(prefix)
    return lambda: block(images).wait_to_read()


def _write_onnx(net: Any, size: int, prefix: Path) -> None:
    """Write a model by this package's exporter, because MXNet's own refuses these networks."""
    _require("onnx")
    model = to_onnx(*trace(net, (2, 3, size, size)), (3, size, size))
    prefix.with_suffix(".onnx").write_bytes(model.SerializeToString())


def _read_onnx(prefix: Path, images: Any) -> Call:
    _require("onnxruntime")
    session = open_session(str(prefix.with_suffix(".onnx")), chosen().count)
    name, array = session.get_inputs()[0].name, images.asnumpy()
    return lambda: session.run(None, {name: array})


def _require(package: str) -> None:
    try:
        require(package)
    except ConfigError as error:
        raise NotPossibleError(str(error)) from None


#: Ways to run a network as it was built, without files.
IN_PLACE: Dict[str, Callable[[Any, Any], Call]] = {"training": _training, "hybridized": _hybridized}

#: Ways to run a network from files: a function that writes the files, and one that reads them.
FROM_FILES: Dict[str, Tuple[Callable[[Any, int, Path], None], Callable[[Path, Any], Call]]] = {
    "exported": (_write_exported, _read_graph),
    "optimised": (_write_optimised, _read_graph),
    "int8": (_write_int8, _read_graph),
    "onnxruntime": (_write_onnx, _read_onnx),
}

#: All ways, in the order of the tables. All but the first are inference.
WAYS = (*IN_PLACE, *FROM_FILES)


# --- Jobs ------------------------------------------------------------------------------------------------------------


def _network(candidate: Candidate) -> Any:
    """The candidate's network with random weights."""
    mx.random.seed(0)
    arguments: Dict[str, Any] = {"fusion": candidate.fusion} if candidate.fusion else {}
    try:
        net = get_model(candidate.model, **arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    net.initialize()
    size = candidate.size or net.input_size
    try:
        net(mx.nd.zeros((1, 3, size, size))).wait_to_read()
    except mx.MXNetError:
        raise ConfigError(f"images of {size} pixels are too small for {candidate.title}") from None
    return net


def _images(size: int, batch_size: int) -> Any:
    return mx.nd.array(np.random.default_rng(0).standard_normal((batch_size, 3, size, size)))


def _size(candidate: Candidate) -> int:
    return candidate.size or FAMILIES[family_of(candidate.model)[0]].input_size


def _write(candidate: Candidate, prefix: Path) -> None:
    FROM_FILES[candidate.way][0](_network(candidate), _size(candidate), prefix)


def _read(candidate: Candidate, prefix: Path, batch_size: int) -> Call:
    return FROM_FILES[candidate.way][1](prefix, _images(_size(candidate), batch_size))


def _prepared(candidate: Candidate, batch_size: int, prefix: Path) -> Call:
    """A function that runs a candidate once."""
    if candidate.way in IN_PLACE:
        return IN_PLACE[candidate.way](_network(candidate), _images(_size(candidate), batch_size))
    _write(candidate, prefix)
    return _read(candidate, prefix, batch_size)


def times(job: Job) -> Dict[str, Any]:
    """Time the candidates, which take turns.

    Returns
    -------
    dict
        `seconds`: for each candidate's key, one duration per round. `left_out`: for each way that is not possible on
        this machine, the reason. `threads`: how many threads were used.
    """
    calls: Dict[str, Call] = {}
    left_out: Dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, candidate in enumerate(job.candidates):
            try:
                calls[candidate.key] = _prepared(candidate, job.batch_size, Path(folder) / f"net{number}")
            except NotPossibleError as error:
                left_out[candidate.way] = str(error)
        taken = interleave(calls, job.rounds)
    seconds = {key: each.seconds for key, each in taken.items()}
    return {"seconds": seconds, "left_out": left_out, "threads": chosen().count}


def files(job: Job) -> Dict[str, Any]:
    """Write the files that a candidate is read from."""
    (candidate,) = job.candidates
    _write(candidate, Path(job.folder or ".") / "net")
    return {}


def memory(job: Job) -> Dict[str, Any]:
    """Peak resident memory of this process after a candidate's rounds, in bytes.

    Another process writes the files that the candidate is read from, because they exist already where a network is
    deployed.
    """
    (candidate,) = job.candidates
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "net"
        if candidate.way in IN_PLACE:
            call = _prepared(candidate, job.batch_size, prefix)
        else:
            in_process(replace(job, kind="files", folder=folder))
            call = _read(candidate, prefix, job.batch_size)
        for _ in range(job.rounds):
            call()
    return {"bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}  # Linux counts in KiB


_KINDS = {"times": times, "files": files, "memory": memory}


def in_process(job: Job, threads: Optional[int] = None) -> Dict[str, Any]:
    """Do a job in a separate process.

    Parameters
    ----------
    job : Job
        What to do.
    threads : int, optional
        Threads of OpenMP in the process; by default, the package chooses a number there.

    Returns
    -------
    dict
        What the function for this kind of job returns.

    Raises
    ------
    ConfigError
        If the process fails; the message ends with the last line that it wrote.
    """
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    if threads is not None:
        environment = with_threads(environment, threads)
    command = [sys.executable, "-m", "fusion.speed.measuring", job.to_json()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        names = ", ".join(dict.fromkeys(candidate.title for candidate in job.candidates))
        raise ConfigError(f"{names} at batch size {job.batch_size}: {last.replace('error: ', '', 1)}")
    found: Dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _main(words: Optional[Sequence[str]]) -> int:
    job = Job.from_json((words or sys.argv[1:])[0])
    print(json.dumps(_KINDS[job.kind](job)))
    return 0


if __name__ == "__main__":
    sys.exit(reported(_main)(None))
