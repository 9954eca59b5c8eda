"""Compares a run of this package with a published one: whether it can be compared, what differs, and the two curves.

What within, above and below mean is in `fusion.published.verdict`.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..data import describe
from ..devices import count_devices
from ..errors import ConfigError, FusionError
from ..models.zoo import network_identity
from ..training.config import differing_keys, model_keywords, read_config, value_of
from ..training.configs import packaged_config
from ..training.history import History, is_finished
from ..training.logbook import RunDirectory, read_evaluations, read_result
from ..training.run_files import NoEpochError
from ..training.settings import Settings
from ..words import counted
from .curves import Curve, read_curve
from .rows import Row, labellings
from .verdict import Verdict, judge, judge_best

logger = logging.getLogger(__name__)

#: Settings that are not compared: those in which runs of the same recipe may differ, and those that have a sentence of
#: their own.
_NOT_RECIPE = (
    "task",
    "runtime.",
    "data.",
    "model.",
    "train.seed",
    "train.initial_parameters",
    "train.encoder_parameters",
)


@dataclass(frozen=True)
class OwnRun:
    """A run of this package.

    Attributes
    ----------
    path : Path
        Its folder.
    settings : Settings
        All settings, as they were when the run started.
    facts : dict
        What its result.json says.
    curve : Curve
        Its top-1 error on the test set after each epoch that was evaluated, in percent. Of a figure that is better the
        higher it is, such as an IoU, it is what is missing to 100 %.
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
        """Whether all epochs of the run are done, or as many as `train.patience` lets it have."""
        return is_finished(self.facts, self.settings)

    @property
    def progress(self) -> str:
        """How many epochs are done, in words."""
        return f"{self.facts['epochs']} of {counted(self.settings.train.epochs, 'epoch')}"


def read_run(path: Path) -> OwnRun:
    """Read what a run has written so far.

    Raises
    ------
    ConfigError
        If the folder is not the folder of a run, or no epoch is finished, or no network is that of its config.yaml.
    """
    run = RunDirectory.existing(path)
    facts, settings = read_result(run), run.settings()
    try:
        network_identity(settings.model.name, model_keywords(settings))
    except ValueError as error:
        raise ConfigError(f"{run.path / 'config.yaml'}: model: {error}") from None
    history = read_evaluations(run, settings)
    return OwnRun(path, settings, facts, Curve(_errors(history), history.epochs))


def _errors(history: History) -> Tuple[float, ...]:
    """The headline figure of each evaluation as an error in percent."""
    headline = history.task.headline
    if headline.lower_is_better:
        return history.headlines
    return tuple(100 * (1 - row[headline.column()]) for row in history.evaluated)


def find_runs(folder: Path) -> Iterator[OwnRun]:
    """The runs in a folder, and in the folders in it such as that of an ablation, that have a finished epoch.

    One that is damaged, or of another version, is named in a warning and left out.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --runs expects a folder with runs in it, such as runs")
    for config in sorted([*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")]):
        try:
            yield read_run(config.parent)
        except NoEpochError:  # nothing that the user did wrong
            continue
        except FusionError as error:
            logger.warning("left out: %s", error)


# --- What can be compared --------------------------------------------------------------------------------------------


def refusal(run: OwnRun, row: Row) -> Optional[str]:
    """Why a run's error cannot be compared with a row's; None if it can."""
    data, wanted, found = run.settings.data, row.test_set, str(run.facts["data"])
    about = f"{run.path} was trained on {found}, and {row.id} on {wanted.title}"
    if not wanted.known:
        return f"{about}: which images these are was not published"
    if data.name not in (wanted.dataset, "image_folder"):
        return f"{about}: different images"
    if data.labels != wanted.labels and len(labellings(data.name)) > 1:
        return (
            f"{about}: the images are the same and the labels are not, so the errors cannot be compared (data.labels)"
        )
    if not describe(data.name).fixed_classes and run.facts["classes"] != wanted.classes:
        return f"{about}: {counted(run.facts['classes'], 'class', 'classes')} and {wanted.classes:,}"
    if run.facts["test_images"] != wanted.images:
        return (
            f"{about}: {counted(run.facts['test_images'], 'test image')} and {wanted.images:,}, so it is not the same "
            "test set"
        )
    return None


def same_network(run: OwnRun, row: Row) -> bool:
    """Whether the run's network is that of the row; the number of outputs may differ."""
    own = network_identity(run.settings.model.name, model_keywords(run.settings))
    return own == network_identity(row.model["name"], row.model)


def differences(run: OwnRun, row: Row) -> List[str]:
    """In what a run differs from a row that it can be compared with; one sentence for each difference."""
    settings, facts, lines = run.settings, run.facts, []
    if settings.data.name != row.test_set.dataset:
        title = row.test_set.title
        lines.append(f"The run read {facts['data']}: taken for {title}, which has as many classes and test images.")
    if facts["train_images"] != row.test_set.train_images:
        own = counted(facts["train_images"], "training image")
        lines.append(f"The run has {own}, the row's {row.test_set.train_images:,}.")
    if not same_network(run, row):
        own = f"{facts['model']} of {facts['parameters']:,} parameters"
        lines.append(f"Another network: {own}, the row's {row.title} of {row.parameters:,}.")
    if settings.data.size != row.pixels:
        lines.append(f"The run's images have {settings.data.size} px, the row's have {row.pixels} px.")
    if not _starts_alike(run, row):
        own, theirs = "another run's weights", "scratch"
        if len(row.configs) > 1:
            own, theirs = theirs, own
        lines.append(f"The run started from {own}, the row's from {theirs}.")
    if not (row.curve or run.finished):
        lines.append(f"The run is not finished: it has {run.progress}, and the row's figure is that of a whole run.")
    published = read_curve(row.id).epochs if row.curve else settings.train.epochs
    if settings.train.epochs != published:
        lines.append(
            f"A run of {counted(settings.train.epochs, 'epoch')} beside one of {published}: at the same epoch their "
            "learning rates are not at the same stage of their schedules."
        )
    try:
        unlike = _unlike(run, row, _recipe(row))
    except ConfigError as error:
        return [*lines, f"Whether the run has the settings of the row could not be checked: {error}."]
    if unlike:
        lines.append(f"Settings that differ from the row's, whose values are in brackets: {', '.join(unlike)}.")
    return lines


def _starts_alike(run: OwnRun, row: Row) -> bool:
    """Whether both started from another run's weights, or both from scratch."""
    return (run.settings.train.initial_parameters is not None) == (len(row.configs) > 1)


def unlike_settings(run: OwnRun, row: Row) -> Optional[List[str]]:
    """The settings in which the run departs from the row's recipe; None where the row's config cannot be read."""
    try:
        return _unlike(run, row, _recipe(row))
    except ConfigError:
        return None


def _recipe(row: Row) -> Settings:
    """The settings of a row's config."""
    return read_config(packaged_config(row.configs[-1]), row.words)


def _unlike(run: OwnRun, row: Row, wanted: Settings) -> List[str]:
    own_batch = run.settings.data.batch_size * count_devices(run.settings.runtime.device)
    batch = wanted.data.batch_size * count_devices(row.devices)
    unlike = [] if own_batch == batch else [f"total batch {own_batch} ({batch})"]
    return unlike + [
        f"{key} {value_of(run.settings, key)} ({value_of(wanted, key)})"
        for key in differing_keys(run.settings, wanted)
        if not key.startswith(_NOT_RECIPE)
    ]


# --- The comparison ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A run compared with a row.

    Attributes
    ----------
    row : Row
        The published row.
    run : OwnRun
        The run of this package.
    verdict : Verdict
        Of the last epoch that both have.
    differences : list of str
        In what the two differ; one sentence for each difference.
    """

    row: Row
    run: OwnRun
    verdict: Verdict
    differences: List[str]

    @property
    def published(self) -> Optional[Curve]:
        """The published curve; None if only the figure is known."""
        return read_curve(self.row.id) if self.row.curve else None

    @property
    def conclusion(self) -> str:
        """The verdict in words; a run that differs from the row is called neither better nor worse."""
        if self.differences:
            return f"{self.verdict.word} the published {self.verdict.beside}. {self.verdict.figures}"
        return str(self.verdict)

    def lines_at(self) -> List[Tuple[int, Optional[float], Optional[float]]]:
        """The epochs to show, each with the run's error and the published one, None where there is none."""
        own, published = self.run.curve, self.published
        marks = {1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 600, own.epochs, own.best_epoch, self.verdict.epoch}
        if published is not None:
            marks |= {published.epochs, published.best_epoch}
        last = own.epochs if published is None else published.epochs
        return [(epoch, _at(own, epoch), _at(published, epoch)) for epoch in sorted(marks) if epoch <= last]

    def as_dict(self) -> Dict[str, Any]:
        """The whole comparison in plain types, for JSON."""
        own, published = self.run.curve, self.published
        best = (published.best_epoch, published.best) if published else (None, self.row.error)
        return {
            "row": self.row.id,
            "run": str(self.run.path),
            "epochs": own.epochs,
            "epochs_planned": self.run.settings.train.epochs,
            "verdict": {**dataclasses.asdict(self.verdict), "difference": self.verdict.difference},
            "best": {"epoch": own.best_epoch, "error": own.best},
            "published_best": dict(zip(("epoch", "error"), best)),
            "differences": self.differences,
            "curve": list(own.errors),
            "curve_epochs": list(own.evaluated),
            "published_curve": list(published.errors) if published else None,
        }


def _at(curve: Optional[Curve], epoch: int) -> Optional[float]:
    return curve.at(epoch) if curve is not None and epoch in curve.evaluated else None


def compare(row: Row, run: OwnRun) -> Comparison:
    """Compare a run with a row.

    Raises
    ------
    ConfigError
        If the two have different images, labels or classes, or if no network of this package is that of the row.
    """
    if not row.configs:
        raise ConfigError(
            f"{row.id}: no curve of this row was published, and its network is not in this package; "
            "python -m fusion reproduce shows which rows can be trained"
        )
    reason = refusal(run, row)
    if reason is not None:
        raise ConfigError(reason)
    if not row.curve:
        verdict = judge_best(run.curve, row.error, row.test_set.images)
        return Comparison(row, run, verdict, differences(run, row))
    published = read_curve(row.id)
    if not run.curve.until(published.epochs):
        raise ConfigError(
            f"{run.path}: the first evaluation of this run is after epoch {run.curve.evaluated[0]}, and the published "
            f"curve of {row.id} ends at epoch {published.epochs}: there is no epoch to compare"
        )
    verdict = judge(run.curve, published, row.test_set.images)
    return Comparison(row, run, verdict, differences(run, row))


def best_run(row: Row, runs: Sequence[OwnRun]) -> Optional[OwnRun]:
    """The run with the lowest error among those of a row's network on its images.

    Runs with the settings of the row come first: the others count only if there are none of these.
    """
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
