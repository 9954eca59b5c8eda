"""Which settings are possible: each by itself within its limits, then those that have to fit each other."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Mapping, NoReturn, Optional, Sequence, Tuple

from ..data import describe
from ..errors import ConfigError, nearest
from ..tasks import list_tasks, settings_of_other_tasks, task_of
from ..words import shortened
from .mask_training import mask_problems
from .photo_training import photo_problems
from .settings import KEYS, Settings, model_keywords, value_of
from .typed_yaml import plain


@dataclass(frozen=True)
class Place:
    """Where a setting was written.

    Attributes
    ----------
    source : str
        A file and line, or "command line".
    word : str, optional
        The whole word of a command line.
    """

    source: str
    word: Optional[str] = None

    def __str__(self) -> str:
        return self.source if self.word is None else f"{self.source}, {shortened(repr(self.word))}"


def check(settings: Settings, places: Mapping[str, Place]) -> None:
    """Refuse settings that are impossible.

    Parameters
    ----------
    settings : Settings
        Of the right types.
    places : mapping of str to Place
        Where each was written, for the message; the others have their defaults.

    Raises
    ------
    ConfigError
        With the value, where it was written, what was expected, and for values that contradict each other the words
        to add.
    """
    found = _Written(settings, places)
    _check_limits(found)
    _check_together(found)


@dataclass(frozen=True)
class _Written:
    """Settings, and where those that are not at their default were written."""

    settings: Settings
    places: Mapping[str, Place]

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Refuse one value."""
        place = self.places.get(key, "default")
        raise ConfigError(f"{place}: {key} is {shortened(repr(value_of(self.settings, key)))}; {expected}")

    def refuse_together(self, key: str, contradictions: Sequence[Tuple[str, str]], mend: str) -> NoReturn:
        """Refuse values that are possible alone.

        Parameters
        ----------
        key : str
            The one that the message begins with.
        contradictions : sequence of (str, str)
            How it contradicts which others; an empty "how" is that of the one before.
        mend : str
            What to write.
        """
        parts = " and ".join(f"{relation} {self._quoted(other)}".strip() for relation, other in contradictions)
        raise ConfigError(f"{self._quoted(key)} {parts}: {mend}")

    def source(self, key: str) -> str:
        """A file and line, "command line", or "default"."""
        return self.places[key].source if key in self.places else "default"

    def _quoted(self, key: str) -> str:
        return f"{key}={shortened(plain(value_of(self.settings, key)))} ({self.source(key)})"


_LIMITS = (
    ("low", lambda value, limit: value >= limit, "at least"),
    ("high", lambda value, limit: value <= limit, "at most"),
    ("above", lambda value, limit: value > limit, "more than"),
    ("below", lambda value, limit: value < limit, "less than"),
)


def _check_limits(found: _Written) -> None:
    for name, key in KEYS.items():
        value = value_of(found.settings, name)
        if value is None:
            continue
        choices = key.metadata.get("choices")
        if choices and value not in choices:
            hint = nearest(str(value), map(str, choices))
            found.refuse(name, f"expected one of {', '.join(map(str, choices))}; {hint}")
        for limit, holds, words in _LIMITS:
            # A comparison with NaN is false, so this refuses it too.
            if limit in key.metadata and not holds(value, key.metadata[limit]):
                why = f": {key.metadata['why']}" if "why" in key.metadata else ""
                found.refuse(name, f"expected {words} {key.metadata[limit]}{why}")
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            found.refuse(name, "expected a finite number")


def _check_together(found: _Written) -> None:
    """What no single setting shows: a schedule that does not fit the epochs, a data set without a folder, ..."""
    if found.settings.task is not None and found.settings.task not in list_tasks():
        found.refuse("task", nearest(found.settings.task, list_tasks()))
    _check_task(found)
    _check_epochs(found)
    _check_data(found)
    _check_optimizer(found)
    _check_recipe(found)
    _check_model(found)


def _check_task(found: _Written) -> None:
    """The task's own settings, and that none is set which has no effect on this task."""
    task, defaults = task_of(found.settings), Settings()
    for key, expected in task.problems(found.settings):
        found.refuse(key, expected)
    for key, names in settings_of_other_tasks(found.settings).items():
        if value_of(found.settings, key) != value_of(defaults, key):
            found.refuse(key, f"it is for {names}, and the task is {task.title}: leave it out")


def _check_epochs(found: _Written) -> None:
    """Settings that count epochs fit the number of epochs, whichever of them was set last."""
    schedule, epochs, augment = found.settings.schedule, found.settings.train.epochs, found.settings.augment
    steps = schedule.steps
    if steps != sorted(set(steps)) or any(step < 1 for step in steps):
        found.refuse("schedule.steps", "expected rising epochs of at least 1, such as [300, 450]")
    contradictions, words = [], []
    if 0 < schedule.warmup_epochs >= epochs:
        contradictions.append(("is not longer than", "schedule.warmup_epochs"))
        words.append("schedule.warmup_epochs=0")
    if schedule.mode == "step" and steps and steps[-1] >= epochs:
        contradictions.append(("ends before the last step of", "schedule.steps"))
        words.append(f"schedule.steps={plain([step for step in steps if step < epochs])}")
    if augment.mixup_off_epochs > epochs:
        contradictions.append(("is less than", "augment.mixup_off_epochs"))
        words.append("augment.mixup_off_epochs=0")
    if contradictions:
        found.refuse_together("train.epochs", contradictions, f"add {' '.join(words)}")


def _check_data(found: _Written) -> None:
    data, augment = found.settings.data, found.settings.augment
    for name, values in (("augment.mean", augment.mean), ("augment.std", augment.std)):
        if len(values) != 3 or (name == "augment.std" and min(values) <= 0):
            found.refuse(name, "expected three numbers, red, green and blue; std above 0")
    if augment.crop_padding >= data.size:
        contradiction = ("is not less than", "data.size")
        found.refuse_together("augment.crop_padding", [contradiction], "add augment.crop_padding=0, or a few pixels")
    known = describe(data.name)
    if data.labels == "coarse" and "labels" not in known.options:
        mend = "only cifar100 has superclasses; add data.labels=fine, or data.name=cifar100"
        found.refuse_together("data.labels", [("does not go with", "data.name")], mend)
    if known.needs_folder and data.dir is None:
        mend = f"{data.name} needs the folder that it is in, or that it is downloaded to; add data.dir=PATH"
        found.refuse_together("data.dir", [("does not go with", "data.name")], mend)
    if known.size is not None and data.size != known.size:
        mend = f"{data.name} has images of {known.size} pixels; add data.size={known.size}"
        found.refuse_together("data.size", [("does not go with", "data.name")], mend)
    for key, _, expected in (*photo_problems(found.settings), *mask_problems(found.settings)):
        # The problem names the other setting; add where that one was set.
        with_place = re.sub(
            r"(data\.(?:name|pipeline)) is \w+", lambda match: f"{match[0]} ({found.source(match[1])})", expected
        )
        found.refuse(key, with_place)


def _check_optimizer(found: _Written) -> None:
    optimizer, size = found.settings.optimizer, found.settings.data.batch_size
    if len(optimizer.betas) != 2 or not all(0 <= beta < 1 for beta in optimizer.betas):
        found.refuse("optimizer.betas", "expected two numbers of at least 0 and below 1, such as [0.9, 0.999]")
    if size % optimizer.accumulate:
        parts = [number for number in range(1, size + 1) if size % number == 0]
        closest = min(parts, key=lambda number: abs(number - optimizer.accumulate))
        mend = f"the parts of a batch are of one size; add optimizer.accumulate={closest}, or another data.batch_size"
        found.refuse_together("optimizer.accumulate", [("does not divide", "data.batch_size")], mend)


def _check_recipe(found: _Written) -> None:
    """Settings that would have no effect, or that the platform cannot have together."""
    model, train = found.settings.model, found.settings.train
    if train.teacher is None and train.teacher_checkpoint is not None:
        mend = "there is no teacher; add train.teacher=RUN, or train.teacher_checkpoint=null"
        found.refuse_together("train.teacher_checkpoint", [("does not go with", "train.teacher")], mend)
    if train.fresh and train.initial_parameters is None:
        mend = "without weights to begin from, all layers begin anew; add train.initial_parameters=FILE"
        found.refuse_together("train.fresh", [("does not go with", "train.initial_parameters")], mend)
    if model.sync_batch_norm and model.norm_layer != "batch":
        mend = "there is no batch norm; add model.sync_batch_norm=false"
        found.refuse_together("model.sync_batch_norm", [("does not go with", "model.norm_layer")], mend)
    if model.sync_batch_norm and train.dtype != "float32":
        mend = f"MXNet's has no {train.dtype}; add train.dtype=float32, or model.sync_batch_norm=false"
        found.refuse_together("model.sync_batch_norm", [("does not go with", "train.dtype")], mend)


def _check_model(found: _Written) -> None:
    """The network and its arguments. Where there is no MXNet, none can be made of them, and they are not checked."""
    if find_spec("mxnet") is None:
        return
    from ..models.zoo import model_arguments

    name = found.settings.model.name
    try:
        known = model_arguments(name)
    except ValueError as error:
        found.refuse("model.name", str(error))
    unknown = [f"model.{key}" for key in model_keywords(found.settings) if key not in known]
    if unknown:
        contradictions = [("does not take", unknown[0]), *(("", key) for key in unknown[1:])]
        words = " ".join(f"{key}=null" for key in unknown)
        takes = ", ".join(sorted(set(known) - {"classes"}))
        found.refuse_together("model.name", contradictions, f"add {words} ({name} takes {takes})")
    _check_answers(found)


def _check_answers(found: _Written) -> None:
    """The network answers for images where the task is about images, and for pixels where it is about pixels."""
    from ..models.zoo import FAMILIES, family_of

    settings, family = found.settings, FAMILIES[family_of(found.settings.model.name)[0]]
    task = task_of(settings)
    if family.dense != task.dense:
        which = "task" if settings.task else "data.name"
        answer, needs = ("pixel", "a classifier") if family.dense else ("image", "an answer per pixel")
        wanted = [name for name, other in FAMILIES.items() if other.dense == task.dense]
        mend = (
            f"{settings.model.name} gives an answer per {answer}, and {task.title} needs {needs}: use a network of "
            f"{', '.join(wanted)}, or other data"
        )
        found.refuse_together("model.name", [("does not go with", which)], mend)
    if settings.train.encoder_parameters is not None and not family.dense:
        mend = f"{settings.model.name} has no encoder; add train.encoder_parameters=null"
        found.refuse_together("train.encoder_parameters", [("does not go with", "model.name")], mend)
