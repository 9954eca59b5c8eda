"""Segmentation of images: one class per pixel, a foreground before a background or one of several classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

from ...data.augment import Normalisation
from ...data.loader import Batch
from ...data.masks.labels import IGNORE
from ...errors import ConfigError
from ..base import EpochRow, Figure, Meter, Seen, Task
from .batches import training_batches
from .figures import ACCURACY, FA, IOU, LOSS, MIOU, NIOU, PD

if TYPE_CHECKING:
    from ...training.settings import Settings

#: What is minimised unless the settings say otherwise: of a foreground, and of several classes.
DEFAULT_LOSSES = ("soft_iou", "cross_entropy")

#: Of the pixels of targets, those of every fourth row and column are counted.
_EVERY = 4


class Segmentation(Task):
    """One class per pixel. What is measured depends on the number of classes, and what is minimised on the settings.

    Parameters
    ----------
    settings : Settings, optional
        Of the run.
    outputs : int
        Logits per pixel; one is for a foreground before a background.
    """

    title = "segmentation"
    dense = True
    settings = (
        *("train.loss", "train.focal_gamma", "runtime.pictures_every"),
        "model.prior",
        *("eval.resize", "eval.padding", "eval.tile", "eval.overlap", "eval.flips"),
    )

    def __init__(self, settings: Optional[Settings] = None, outputs: int = 1) -> None:
        self._run, self._outputs = settings, outputs
        binary = outputs == 1
        self.headline = IOU if binary else MIOU
        self.training = (LOSS, self.headline)
        self.evaluation = (LOSS, IOU, NIOU, ACCURACY, PD, FA) if binary else (LOSS, MIOU, NIOU, ACCURACY)
        self.best_note = f"best is the epoch with the highest {self.headline.title} on the test set; last is the last"

    def bound(self, settings: Optional[Settings], classes: Sequence[str]) -> Task:
        return Segmentation(settings, max(1, len(classes)))

    def label_names(self, classes: Sequence[str]) -> Tuple[str, ...]:
        return ("background", *classes) if len(classes) == 1 else tuple(classes)

    @property
    def panel(self) -> Tuple[Figure, ...]:
        return (self.headline, NIOU)

    @property
    def beside(self) -> Tuple[Figure, ...]:
        return (NIOU,)

    def problems(self, settings: Settings) -> Iterator[Tuple[str, str]]:
        from .losses import parse_loss  # here and below: of MXNet, without which the task is still known

        train, shown = settings.train, settings.eval
        if train.loss is not None:
            try:
                parse_loss(train.loss)
            except ValueError as error:
                yield "train.loss", str(error)
        if shown.tile and shown.overlap >= shown.tile:
            yield "eval.overlap", f"expected less than eval.tile, {shown.tile}, since windows have to move on"

    def outputs(self, settings: Settings, classes: int) -> int:
        return classes

    def batches(
        self, settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
    ) -> Any:
        return training_batches(settings, data, normalise, batch_size, shard)

    def evaluation_batches(
        self, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
    ) -> Iterator[Batch]:
        from .whole import resized_batches, whole_batches

        if self._run is not None and self._run.eval.resize:
            return resized_batches(data, normalise, batch_size, shard, self._run.eval.resize)
        return whole_batches(data, normalise, batch_size, shard)

    def answering(self, net: Any) -> Any:
        from .whole import Whole

        stride = max(net.pyramid.strides)
        if self._run is None:
            return Whole(net, stride)
        shown = self._run.eval
        return Whole(net, stride, shown.padding, shown.tile, shown.overlap, shown.flips)

    def loss(self, settings: Settings, teacher: Optional[Any]) -> Any:
        loss = self._loss()
        loss.hybridize(static_alloc=True, static_shape=True)
        return loss

    @property
    def _loss_text(self) -> str:
        """The loss as settings name it."""
        named = None if self._run is None else self._run.train.loss
        return named or DEFAULT_LOSSES[self._outputs > 1]

    def _loss(self) -> Any:
        from .losses import build_loss

        gamma = 2.0 if self._run is None else self._run.train.focal_gamma
        try:
            return build_loss(self._loss_text, self._outputs, IGNORE, gamma)
        except ValueError as error:
            raise ConfigError(f"train.loss is {self._loss_text!r}: {error}") from None

    def training_meter(self) -> Meter:
        from .meters import TrainingMeter

        return TrainingMeter(self._outputs, IGNORE)

    def evaluation_meter(self) -> Meter:
        from .meters import EvaluationMeter

        return EvaluationMeter(self._outputs, IGNORE, self._loss())

    def draw(self, net: Any, data: Any, normalise: Normalisation, context: Any, title: str, path: Path) -> bool:
        from .picture import IMAGES, answer_some, draw_answers

        resize = 0 if self._run is None else self._run.eval.resize
        found = answer_some(self.answering(net), data, normalise, context, IMAGES, resize)
        draw_answers(found, data.labels, title, path)
        return True

    def advice(self, rows: Sequence[EpochRow]) -> Optional[str]:
        from .advice import dead_loss
        from .losses import parse_loss

        return dead_loss(rows, [name for _, name in parse_loss(self._loss_text)]) if self._outputs == 1 else None

    def count_classes(self, targets: np.ndarray) -> np.ndarray:
        pixels = targets[:, ::_EVERY, ::_EVERY]
        return np.bincount(pixels[pixels != IGNORE], minlength=max(2, self._outputs))

    def doubts(self, rows: Sequence[EpochRow], seen: Seen) -> Dict[str, str]:
        from .advice import find_doubts

        return find_doubts(rows, seen, self.headline, self._outputs == 1)


TASK = Segmentation()
