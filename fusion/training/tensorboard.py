"""What TensorBoard shows of a run: the figures of each epoch, the means of the fusion weights, and pictures of answers.

The files are written by tensorboardX, in this thread: an epoch is on the disk when `epoch` returns, and a disk that is
full is an error here. A resumed run begins a file whose first event has TensorBoard forget the epochs that it repeats.

Nothing here touches the network that is trained, nor draws a random number: the weights are those of a copy.
"""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from itertools import islice
from typing import Any, Dict, Optional, Sequence

from PIL import Image

from ..compat import mx
from ..errors import ConfigError
from ..tasks import Task
from ..tasks.base import AVERAGED, TEST, TRAINING
from ..weights import mean_weights, weighted_places
from .history import TIMINGS
from .loading import build_normalisation
from .logbook import RunDirectory
from .preparation import build_twin, copy_parameters
from .settings import Settings

#: Test images on which the fusion weights are taken, at most.
_IMAGES = 16

#: The number of channels by the mode of a picture.
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def refuse_missing(settings: Settings) -> None:
    """Refuse a run that is to write for TensorBoard where nothing is installed that could.

    Raises
    ------
    ConfigError
        Saying what to install.
    """
    if settings.runtime.tensorboard and find_spec("tensorboardX") is None:
        raise ConfigError(
            "runtime.tensorboard is true, and tensorboardX, which writes the files, is not installed: python -m pip "
            "install 'attentional-feature-fusion[tensorboard]' 'numpy<2', or set runtime.tensorboard=false"
        )


class Board:
    """Writes what TensorBoard shows of a run. It does nothing unless the settings ask for it, and on other workers.

    Parameters
    ----------
    settings : Settings
        Of the run.
    run : RunDirectory
        In whose folder it writes.
    task : Task
        Of the run.
    net : Network
        That is being trained.
    test_set : DataSet
        On some of whose images the fusion weights are taken.
    devices : sequence of Context
        Of which the first is used.
    rank : int
        Of this worker; only the first one writes.
    """

    def __init__(
        self,
        settings: Settings,
        run: RunDirectory,
        task: Task,
        net: Any,
        test_set: Any,
        devices: Sequence[Any],
        rank: int,
    ) -> None:
        self._events: Optional[_Events] = None
        self._weights: Optional[_Weights] = None
        self._run = run
        self._on = settings.runtime.tensorboard and rank == 0
        if self._on:
            self._weights = _weights_of(settings, task, net, test_set, devices[0])

    def begin(self, rows: Sequence[Dict[str, float]]) -> None:
        """Begin a file.

        Parameters
        ----------
        rows : sequence of dict
            Of the epochs that are done. TensorBoard forgets later ones; these are written if nothing was before.
        """
        if not self._on:
            return
        first = not any(self._run.board.glob("*.tfevents.*"))
        self._events = _Events(self._run)
        self._events.forget_from(len(rows) + 1)
        for row in rows if first else ():
            self._events.add(int(row["epoch"]), _scalars(row))
        self._events.flush()

    def epoch(self, row: Dict[str, float]) -> None:
        """Write an epoch that has ended.

        Parameters
        ----------
        row : dict
            Of metrics.csv.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if self._events is None:
            return
        epoch = int(row["epoch"])
        scalars = _scalars(row)
        if self._weights is not None:
            scalars.update({f"fusion_weight/{name}": mean for name, mean in self._weights.means().items()})
        self._events.add(epoch, scalars, self._run.picture_of(epoch))
        self._events.flush()


def _scalars(row: Dict[str, float]) -> Dict[str, float]:
    """The figures of an epoch under the names that TensorBoard groups by what is before the first slash."""
    named = {}
    for column, value in row.items():
        if column != "epoch" and not math.isnan(value):
            part, _, name = column.partition("_")
            named[f"{part}/{name}" if part in (TRAINING, TEST, AVERAGED) else f"{_group(column)}/{column}"] = value
    return named


def _group(column: str) -> str:
    return "time" if column in TIMINGS else "schedule"


# --- Fusion weights ---------------------------------------------------------------------------------------------------


class _Weights:
    """The mean weights of a network's fusion blocks on the first test images.

    They are computed in a copy of the network: inference changes the layout of weights, by which other kernels are
    chosen, and neither the next step nor the next evaluation may notice.
    """

    def __init__(self, net: Any, twin: Any, answering: Any, images: Any) -> None:
        self._net, self._twin = net, twin
        self._answering, self._images = answering, images
        self._places = weighted_places(twin)

    def means(self) -> Dict[str, float]:
        copy_parameters(self._net, self._twin)
        return mean_weights(self._twin, self._places, lambda: self._answering(self._images))


def _weights_of(settings: Settings, task: Task, net: Any, test_set: Any, device: Any) -> Optional[_Weights]:
    """The weights of a network; None of one that fuses by addition or concatenation alone."""
    try:
        weighted_places(net)
    except ConfigError:
        return None
    twin = build_twin(net, settings, [device])
    count = min(_IMAGES, len(test_set))
    batches = task.evaluation_batches(test_set, build_normalisation(settings), count, (0, 1))
    (first,) = islice(batches, 1)
    return _Weights(net, twin, task.answering(twin), mx.nd.array(first.images, ctx=device))


# --- Files ------------------------------------------------------------------------------------------------------------


class _Events:
    """A new file of events, which sorts after those that are there."""

    def __init__(self, run: RunDirectory) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        run.board.mkdir(exist_ok=True)
        number = sum(1 for _ in run.board.glob("*.tfevents.*"))  # two that begin in one second need other names
        self._writer = EventsWriter(str(run.board / "events"), f".{number:04}")

    def forget_from(self, epoch: int) -> None:
        """Have TensorBoard forget this epoch and later ones, of earlier files."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self._write(epoch, session_log=SessionLog(status=SessionLog.START))

    def add(self, epoch: int, scalars: Dict[str, float], picture: Optional[Any] = None) -> None:
        """Add figures by name, and a picture from a file if there is one."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        if picture is not None and picture.is_file():
            values.append(Summary.Value(tag="answers", image=_encoded(picture, Summary.Image)))
        self._write(epoch, summary=Summary(value=values))

    def flush(self) -> None:
        self._writer.flush()

    def _write(self, epoch: int, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(step=epoch, wall_time=time.time(), **fields))


def _encoded(picture: Any, kind: Any) -> Any:
    """A picture as it is in its file."""
    with Image.open(picture) as image:
        width, height, channels = *image.size, _CHANNELS.get(image.mode, 3)
    return kind(height=height, width=width, colorspace=channels, encoded_image_string=picture.read_bytes())
