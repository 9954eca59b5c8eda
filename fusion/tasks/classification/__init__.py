"""Classification of images: one class per image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ...data.augment import Normalisation
from ..base import TRAINING, EpochRow, Figure, Meter, Seen, Task
from .advice import find_doubts
from .batches import count_outputs, training_batches
from .meters import EvaluationMeter, TrainingMeter

if TYPE_CHECKING:
    from ...training.settings import Settings

LOSS = Figure("loss", "cross-entropy (nats)", "loss")
RMSE = Figure("rmse", "root mean square of probabilities minus targets", "rmse")
TOP1 = Figure("top1_error", "top-1 error", "top-1", scale=100, unit="%", decimals=2)
TOP5 = Figure("top5_error", "top-5 error", "top-5", scale=100, unit="%", decimals=2)


class Classification(Task):
    """Softmax over the classes; the published tables have the best epoch's top-1 error on the test set."""

    title = "classification"
    settings = (
        *("train.label_smoothing", "train.teacher", "train.teacher_checkpoint", "model.outputs"),
        *("train.distillation_weight", "train.distillation_temperature"),
        *("augment.mixup_alpha", "augment.cutmix_alpha", "augment.mixup_off_epochs"),
    )
    training = (LOSS, RMSE)
    evaluation = (LOSS, TOP1, TOP5)
    headline = TOP1
    best_note = (
        "best is the epoch with the lowest top-1 error on the test set, as in the published tables; last is the last"
    )
    panel = (TOP1, TOP5)
    panel_title = "error"
    loss_title = "cross-entropy"

    def __init__(self, settings: Optional[Settings] = None) -> None:
        self._run = settings

    def bound(self, settings: Optional[Settings], classes: Sequence[str]) -> Task:
        return Classification(settings)

    def outputs(self, settings: Settings, classes: int) -> int:
        return count_outputs(settings, classes)

    def batches(
        self, settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
    ) -> Any:
        return training_batches(settings, data, normalise, batch_size, shard)

    def loss(self, settings: Settings, teacher: Optional[Any]) -> Any:
        from .loss import CrossEntropy, Distillation, DistillationLoss  # of MXNet, which batches do not need

        weight, temperature = settings.train.distillation_weight, settings.train.distillation_temperature
        dtype = "float64" if settings.train.dtype == "float64" else "float32"
        loss = CrossEntropy(dtype) if teacher is None else DistillationLoss(weight, temperature)
        loss.hybridize(static_alloc=True, static_shape=True)
        return loss if teacher is None else Distillation(teacher, loss)

    def count_classes(self, targets: np.ndarray) -> np.ndarray:
        return np.bincount(targets.argmax(axis=1), minlength=targets.shape[1])

    def doubts(self, rows: Sequence[EpochRow], seen: Seen) -> Dict[str, str]:
        train = None if self._run is None else self._run.train
        smoothing, has_teacher = (0.0, False) if train is None else (train.label_smoothing, train.teacher is not None)
        evaluated = [row for row in rows if not math.isnan(row.get(TOP1.column(), math.nan))]
        losses = [row[LOSS.column(TRAINING)] for row in evaluated]
        tested = [(row[TOP1.column()], row[LOSS.column()]) for row in evaluated]
        return find_doubts(losses, tested, len(rows), seen, smoothing, has_teacher)

    def training_meter(self) -> Meter:
        return TrainingMeter()

    def evaluation_meter(self) -> Meter:
        return EvaluationMeter()

    def epoch_facts(self, row: EpochRow) -> List[Tuple[str, str]]:
        top1, *others = super().epoch_facts(row)
        return [top1, self.result_words(row), *others]

    def result_words(self, row: EpochRow) -> Tuple[str, str]:
        return "accuracy", TOP1.text(1 - row[TOP1.column()])


TASK = Classification()
