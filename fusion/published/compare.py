"""A run here beside a published one: what keeps them from being compared, what differs, and how their curves lie.

The verdict is on the last epoch that both have. **Within** means no further from the published error than the published
curve itself strays: in the range of its errors in the five epochs on either side, the highest and lowest fifth left
out since single epochs leap, widened by one standard error of an error rate on that many test images, sqrt(p(1-p)/n).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..data import describe
from ..devices import count_devices
from ..errors import ConfigError, FusionError
from ..models.zoo import network_identity
from ..training.config import differing_keys, model_keywords, read_config, value_of
from ..training.configs import packaged_config
from ..training.logbook import RunDirectory, read_result
from ..training.settings import Settings
from ..words import counted
from .curves import Curve, read_curve
from .rows import Row, labellings

#: Epochs on either side of the one compared, whose spread is the tolerance.
REACH = 5

#: The share of them, one in so many, that is left out at either end.
_LEAPS = 5

#: Settings in which runs of the same recipe may differ, and those that a sentence of their own is about.
_NOT_RECIPE = ("task", "runtime.", "data.", "model.", "train.seed", "train.initial_parameters")


@dataclass(frozen=True)
class OwnRun:
    """A run of this package.

    Attributes
    ----------
    path : Path
        Its folder.
    settings : Settings
        As resolved when it started.
    facts : dict
        Its result.json.
    curve : Curve
        Its top-1 error on the test set after each epoch that was evaluated.
    """

    path: Path
    settings: Settings
    facts: Dict[str, Any]
    curve: Curve

    @property
    def errors(self) -> Tuple[float, ...]:
        """The errors, in percent."""
        return self.curve.errors

    @property
    def finished(self) -> bool:
        """Whether all its epochs are done."""
        return bool(self.facts["epochs"] >= self.settings.train.epochs)

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        return f"{self.facts['epochs']} of {self.settings.train.epochs} epochs"


def read_run(path: Path) -> OwnRun:
    """What a run has left behind so far.

    Raises
    ------
    ConfigError
        If the folder is not a run's, or no epoch is finished.
    """
    run = RunDirectory.existing(path)
    facts, history = read_result(run), run.history()
    return OwnRun(path, run.settings(), facts, Curve(history.headlines, history.epochs))


def find_runs(folder: Path) -> Iterator[OwnRun]:
    """The runs in a folder and in its folders, such as an ablation's, that have a finished epoch."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --runs takes the folder that holds runs, such as runs")
    for config in sorted([*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")]):
        try:
            yield read_run(config.parent)
        except FusionError:  # one without a finished epoch, or of another version: not the fault of who asks
            continue


# --- What can be compared --------------------------------------------------------------------------------------------


def refusal(run: OwnRun, row: Row) -> Optional[str]:
    """Why a run's error and a row's are not of the same question; None where they are."""
    data, wanted, found = run.settings.data, row.test_set, str(run.facts["data"])
    about = f"{run.path} is on {found}, and {row.id} on {wanted.title}"
    if data.name not in (wanted.dataset, "image_folder"):
        return f"{about}: different images"
    if data.labels != wanted.labels and len(labellings(data.name)) > 1:
        return f"{about}: another question about the same images, so that their errors do not compare (data.labels)"
    if not describe(data.name).fixed_classes and run.facts["classes"] != wanted.classes:
        return f"{about}: {run.facts['classes']:,} classes and {wanted.classes:,}"
    if run.facts["test_images"] != wanted.images:
        return f"{about}: {run.facts['test_images']:,} test images and {wanted.images:,}, so not the same test set"
    return None


def same_network(run: OwnRun, row: Row) -> bool:
    """Whether the run's network is the row's, but for its number of logits."""
    own = network_identity(run.settings.model.name, model_keywords(run.settings))
    return own == network_identity(row.model["name"], row.model)


def differences(run: OwnRun, row: Row) -> List[str]:
    """What is unlike in a run and a row that can be compared, a sentence each."""
    settings, facts, lines = run.settings, run.facts, []
    if settings.data.name != row.test_set.dataset:
        lines.append(f"It read {facts['data']}: taken for {row.test_set.title} by its classes and test images.")
    if facts["train_images"] != row.test_set.train_images:
        lines.append(f"{facts['train_images']:,} training images, the row's {row.test_set.train_images:,}.")
    if not same_network(run, row):
        own = f"{facts['model']} of {facts['parameters']:,} parameters"
        lines.append(f"Another network: {own}, the row's {row.title} of {row.parameters:,}.")
    if settings.data.size != row.pixels:
        lines.append(f"Images of {settings.data.size} px, the row's of {row.pixels}.")
    if not _starts_alike(run, row):
        own, theirs = ("another run's weights", "scratch") if len(row.configs) == 1 else ("scratch", "another run's")
        lines.append(f"It started from {own}, the row from {theirs}.")
    published = read_curve(row.id).epochs
    if settings.train.epochs != published:
        lines.append(
            f"A run of {counted(settings.train.epochs, 'epoch')} beside one of {published}: at the same epoch their "
            "learning rates are not at the same stage."
        )
    try:
        unlike = _unlike(run, row, _recipe(row))
    except ConfigError as error:
        return [*lines, f"Whether its settings are the row's could not be checked: {error}."]
    return [*lines, f"Settings unlike the row's, which are in brackets: {', '.join(unlike)}."] if unlike else lines


def _starts_alike(run: OwnRun, row: Row) -> bool:
    """Whether both are the second half of a chain, or neither."""
    return (run.settings.train.initial_parameters is not None) == (len(row.configs) > 1)


def unlike_settings(run: OwnRun, row: Row) -> Optional[List[str]]:
    """The settings in which the run departs from the row's recipe; None where the row's config cannot be read."""
    try:
        return _unlike(run, row, _recipe(row))
    except ConfigError:
        return None


def _recipe(row: Row) -> Settings:
    """The settings of a row's config."""
    return read_config(packaged_config(row.configs[-1]))


def _unlike(run: OwnRun, row: Row, wanted: Settings) -> List[str]:
    own_batch = run.settings.data.batch_size * count_devices(run.settings.runtime.device)
    batch = wanted.data.batch_size * count_devices(row.devices)
    unlike = [] if own_batch == batch else [f"total batch {own_batch} ({batch})"]
    return unlike + [
        f"{key} {value_of(run.settings, key)} ({value_of(wanted, key)})"
        for key in differing_keys(run.settings, wanted)
        if not key.startswith(_NOT_RECIPE)
    ]


# --- The verdict -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How a run lies to a published curve at the last epoch that both have; errors in percent.

    Attributes
    ----------
    word : {'within', 'above', 'below'}
        Of the error: below is better.
    epoch : int
        From 1.
    own, published : float
        The errors there.
    low, high : float
        Between these is within.
    """

    word: str
    epoch: int
    own: float
    published: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Own error less the published, in points."""
        return self.own - self.published

    @property
    def figures(self) -> str:
        """The errors, in words."""
        side = "more" if self.difference > 0 else "less"
        return (
            f"At epoch {self.epoch} the error is {self.own:.2f} % against {self.published:.2f} %, "
            f"{abs(self.difference):.2f} points {side}; within is from {self.low:.2f} to {self.high:.2f} %"
        )

    def __str__(self) -> str:
        judgement = {"above": ": worse", "below": ": better"}.get(self.word, "")
        return f"{self.word} the published curve{judgement}. {self.figures}"


def judge(own: Curve, published: Curve, test_images: int) -> Verdict:
    """Hold a run's errors against a published curve, at the last epoch that has both.

    Parameters
    ----------
    own : Curve
        Of the run; at least one of its epochs is no later than the last published one.
    published : Curve
        The same of the published run.
    test_images : int
        Behind each error.
    """
    epoch = own.until(published.epochs)
    error, reference = own.at(epoch), published.at(epoch)
    low, high = error_range(published, epoch)
    margin = standard_error(reference, test_images)
    low, high = low - margin, high + margin
    word = "below" if error < low else "above" if error > high else "within"
    return Verdict(word, epoch, error, reference, max(0.0, low), min(100.0, high))


def error_range(curve: Curve, epoch: int) -> Tuple[float, float]:
    """The lowest and highest error around an epoch without those that leap; the epoch's own is always between them."""
    near = sorted(curve.around(epoch, REACH))
    left_out = len(near) // _LEAPS
    return min(curve.at(epoch), near[left_out]), max(curve.at(epoch), near[-1 - left_out])


def standard_error(error: float, images: int) -> float:
    """Of an error rate in percent measured on so many images, in points: sqrt(p (1 - p) / n)."""
    share = error / 100
    return 100 * math.sqrt(share * (1 - share) / images)


@dataclass(frozen=True)
class Comparison:
    """A run held against a row.

    Attributes
    ----------
    row : Row
        The published one.
    run : OwnRun
        The one here.
    verdict : Verdict
        At the last common epoch.
    differences : list of str
        What is unlike in them.
    """

    row: Row
    run: OwnRun
    verdict: Verdict
    differences: List[str]

    @property
    def published(self) -> Curve:
        """The published curve."""
        return read_curve(self.row.id)

    @property
    def conclusion(self) -> str:
        """The verdict in words; a run that differs from the row is called neither better nor worse."""
        if self.differences:
            return f"{self.verdict.word} the published curve. {self.verdict.figures}"
        return str(self.verdict)

    def lines_at(self) -> List[Tuple[int, Optional[float], float]]:
        """Epochs to show, with the run's error and the published one."""
        own = self.run.curve
        marks = {1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, own.epochs, own.best_epoch}
        marks |= {self.published.epochs, self.published.best_epoch, self.verdict.epoch}
        shown = sorted(mark for mark in marks if mark <= self.published.epochs)
        return [(epoch, own.at(epoch) if epoch in own.evaluated else None, self.published.at(epoch)) for epoch in shown]

    def as_dict(self) -> Dict[str, Any]:
        """All of it in plain types, for JSON."""
        own, published = self.run.curve, self.published
        return {
            "row": self.row.id,
            "run": str(self.run.path),
            "epochs": own.epochs,
            "epochs_planned": self.run.settings.train.epochs,
            "verdict": {**dataclasses.asdict(self.verdict), "difference": self.verdict.difference},
            "best": {"epoch": own.best_epoch, "error": own.best},
            "published_best": {"epoch": published.best_epoch, "error": published.best},
            "differences": self.differences,
            "curve": list(own.errors),
            "curve_epochs": list(own.evaluated),
            "published_curve": list(published.errors),
        }


def compare(row: Row, run: OwnRun) -> Comparison:
    """Hold a run against a row.

    Raises
    ------
    ConfigError
        If they are on other images, labels or classes, or no curve of the row was published.
    """
    if not row.curve:
        raise ConfigError(f"{row.id}: no curve of it was published; python -m fusion reproduce lists the rows with one")
    reason = refusal(run, row)
    if reason is not None:
        raise ConfigError(reason)
    published = read_curve(row.id)
    if not run.curve.until(published.epochs):
        raise ConfigError(
            f"{run.path}: its first evaluation is after epoch {run.curve.evaluated[0]}, and the published curve of "
            f"{row.id} ends at epoch {published.epochs}: no epoch has both"
        )
    verdict = judge(run.curve, published, row.test_set.images)
    return Comparison(row, run, verdict, differences(run, row))


def best_run(row: Row, runs: Sequence[OwnRun]) -> Optional[OwnRun]:
    """Of the runs of a row's network on its images the one with the lowest error, those by its recipe first."""
    fitting = [
        run
        for run in runs
        if row.configs
        and refusal(run, row) is None
        and run.settings.data.size == row.pixels
        and same_network(run, row)
        and _starts_alike(run, row)
    ]
    by_the_recipe = [run for run in fitting if unlike_settings(run, row) == []]
    return min(by_the_recipe or fitting, key=lambda run: run.curve.best, default=None)
