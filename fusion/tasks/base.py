"""The interface of a task: what training, evaluation and pictures ask of it, and so do not know themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..data.augment import Normalisation
from ..data.loader import Batch, evaluation_batches

if TYPE_CHECKING:
    from ..training.settings import Settings

#: What stands before a figure's name in metrics.csv: in training, on the test set, and of the averaged weights there.
TRAINING, TEST, AVERAGED = "train", "val", "ema"

#: After so many steps at the full learning rate, or so many over so many epochs of a small data set, a network that
#: answers no better than at random learns nothing. The slowest of the published runs is far from chance by then.
MANY_STEPS, FEWER_STEPS, MANY_EPOCHS = 1000, 200, 10

#: So many evaluations in turn have to look wrong before it is said.
IN_TURN = 3

#: One row of metrics.csv.
EpochRow = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A figure that says how good a network is.

    Attributes
    ----------
    name : str
        In metrics.csv, after what `TRAINING`, `TEST` and `AVERAGED` have, as in `val_top1_error`.
    title : str
        In words.
    short : str
        In fewer words, where several figures stand side by side.
    scale : float
        What the stored value is multiplied by to be shown.
    unit : str
        Of the shown value.
    decimals : int
        Of the shown value.
    lower_is_better : bool
        Whether the best value is the lowest.
    """

    name: str
    title: str
    short: str
    scale: float = 1.0
    unit: str = ""
    decimals: int = 4
    lower_is_better: bool = True

    def column(self, prefix: str = TEST) -> str:
        """Its column of metrics.csv."""
        return f"{prefix}_{self.name}"

    def text(self, value: float) -> str:
        """A stored value as it is shown, such as `3.17 %`."""
        shown = f"{self.scale * value:.{self.decimals}f}"
        return f"{shown} {self.unit}" if self.unit else shown

    def shown(self, row: EpochRow, prefix: str = TEST) -> float:
        """The value in a row, in its unit."""
        return self.scale * row[self.column(prefix)]

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another one."""
        return value < other if self.lower_is_better else value > other

    def best(self, rows: Sequence[Dict[str, float]], prefix: str = TEST) -> Dict[str, float]:
        """Of rows that all have this figure, the first with the best value."""
        choose = min if self.lower_is_better else max
        return choose(rows, key=lambda row: row[self.column(prefix)])


@dataclass(frozen=True)
class StepOutput:
    """What a step leaves on the devices, which may still be computing it.

    Attributes
    ----------
    losses, outputs : list of NDArray
        Of each device: the loss of each image, and what the network says.
    targets : ndarray
        Of the whole batch.
    """

    losses: List[Any]
    outputs: List[Any]
    targets: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What is known of a run besides the figures of its epochs.

    Attributes
    ----------
    steps : int
        That were taken since the warm-up ended.
    test_images : int
        How many.
    counts : ndarray, optional
        (classes,): how often each class was a target in the first epoch; None if nothing was counted.
    """

    steps: int
    test_images: int
    counts: Optional[np.ndarray]

    def is_long(self, epochs: int) -> bool:
        """Whether a network that learns anything has learnt something in these steps, which are so many epochs."""
        return self.steps >= MANY_STEPS or (self.steps >= FEWER_STEPS and epochs >= MANY_EPOCHS)

    @property
    def shares(self) -> np.ndarray:
        """The same as shares of all targets; empty if nothing was counted."""
        return np.zeros(0) if self.counts is None else self.counts / max(1, self.counts.sum())


def part_losses(loss: Any, outputs: Sequence[Any], targets: Sequence[Any], images: Sequence[Any]) -> List[Any]:
    """The loss of each device's part of a batch: see `Task.loss`."""
    if getattr(loss, "needs_images", False):
        return [loss(*part) for part in zip(outputs, targets, images)]
    return [loss(*part) for part in zip(outputs, targets)]


class Meter:
    """What is added up over batches, and the figures that follow from the sums.

    Attributes
    ----------
    names : tuple of str
        Of the sums. One is `batches` in training, `images` in evaluation.
    """

    names: Tuple[str, ...] = ()

    def of_step(self, step: StepOutput) -> np.ndarray:
        """The numbers (len(names),), float64, that a training step adds to the sums."""
        raise NotImplementedError

    def of_batch(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The numbers (len(names),), float64, that a batch of an evaluation adds to the sums."""
        raise NotImplementedError

    def figures(self, sums: np.ndarray) -> Dict[str, float]:
        """The figures by name. Without a batch those in training are not a number, those of an evaluation are 0."""
        raise NotImplementedError


class Task:
    """What is learnt, and how one sees whether it was.

    Attributes
    ----------
    title : str
        In words.
    training, evaluation : tuple of Figure
        What the meters find, in the order of the columns of metrics.csv; the loss is the first of each.
    headline : Figure
        The figure of an evaluation by which the best epoch is chosen.
    best_note : str
        What `best` and `last` in result.json mean.
    loss_title : str
        What a report calls the loss on the test set.
    settings : tuple of str
        Settings that mean something to this task, and not to every task.
    dense : bool
        Whether the network answers for each pixel: see `fusion.models.Network.dense`.
    """

    title: str
    training: Tuple[Figure, ...]
    evaluation: Tuple[Figure, ...]
    headline: Figure
    best_note: str
    loss_title: str = "loss"
    settings: Tuple[str, ...] = ()
    dense: bool = False

    def bound(self, settings: Optional[Settings], classes: Sequence[str]) -> Task:
        """The task as one run has it, where its figures depend on the settings or classes; by default itself.

        Parameters
        ----------
        settings : Settings, optional
            Of the run.
        classes : sequence of str
            Names of the classes of the data; empty where they are not known.
        """
        return self

    def problems(self, settings: Settings) -> Iterator[Tuple[str, str]]:
        """The settings of this task that are impossible: for each its name, and what was expected."""
        return iter(())

    def label_names(self, classes: Sequence[str]) -> Tuple[str, ...]:
        """Names of the numbers in targets, for the names of classes; a single class may stand before a background."""
        return tuple(classes)

    # --- What is computed ---------------------------------------------------------------------------------------------

    def outputs(self, settings: Settings, classes: int) -> int:
        """How many outputs the network has for a data set of this many classes."""
        raise NotImplementedError

    def batches(
        self, settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
    ) -> Any:
        """The training batches of every epoch.

        Parameters
        ----------
        settings : Settings
            Of the run.
        data : DataSet
            The training images.
        normalise : Normalisation
            From uint8 images to the network's input.
        batch_size : int
            Images per step over all devices of all workers.
        shard : tuple of two int
            Rank and size of this worker, which gets an equal part of each batch.

        Raises
        ------
        ValueError
            If a batch is larger than the data set.
        """
        raise NotImplementedError

    def evaluation_batches(
        self, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
    ) -> Iterator[Batch]:
        """Every test image once. A last batch that is not full has fewer targets than images."""
        return evaluation_batches(data, normalise, batch_size, shard)

    def answering(self, net: Any) -> Any:
        """What answers a batch of an evaluation on one device: by default the network, shown it as it is."""
        return net

    def loss(self, settings: Settings, teacher: Optional[Any]) -> Any:
        """The loss, for `part_losses`.

        Parameters
        ----------
        settings : Settings
            Of the run.
        teacher : callable, optional
            From images to the outputs of a network to distil from.

        Returns
        -------
        callable
            From the outputs and targets of the part of a batch that one device has to an NDArray (B,). If it has an
            attribute `needs_images` that is true, it takes the images as a third argument. If it has a method `doubt`,
            that is asked once, after the first images, what there is to say of them; None, as a rule.
        """
        raise NotImplementedError

    def advice(self, rows: Sequence[EpochRow]) -> Optional[str]:
        """What to say after an epoch to somebody whose network learns nothing; None, as a rule.

        Parameters
        ----------
        rows : sequence of dict
            The epochs so far. It is asked once after each epoch, and says it once.
        """
        return None

    def count_classes(self, targets: np.ndarray) -> np.ndarray:
        """How often each class is a target.

        Parameters
        ----------
        targets : ndarray
            Of a batch of training.

        Returns
        -------
        ndarray
            (classes,) int64; of pixels some rows and columns are enough. By default it is empty: nothing is counted.
        """
        return np.zeros(0, np.int64)

    def doubts(self, rows: Sequence[EpochRow], seen: Seen) -> Dict[str, str]:
        """What looks wrong in the figures, although nothing failed: none, as a rule.

        Parameters
        ----------
        rows : sequence of dict
            The epochs so far.
        seen : Seen
            What else is known of the run.

        Returns
        -------
        dict of str to str
            By a name of what is wrong, which is said once in a run, what to say.
        """
        return {}

    def training_meter(self) -> Meter:
        """The meter of a training step."""
        raise NotImplementedError

    def evaluation_meter(self) -> Meter:
        """The meter of an evaluation."""
        raise NotImplementedError

    def draw(self, net: Any, data: Any, normalise: Normalisation, context: Any, title: str, path: Path) -> bool:
        """Draw some of a network's answers to the test images.

        Parameters
        ----------
        net : Network
            With its weights.
        data : DataSet
            The test images.
        normalise : Normalisation
            From uint8 images to the network's input.
        context : Context
            Where the network is.
        title : str
            Of the picture.
        path : Path
            Written in the format that its name ends in.

        Returns
        -------
        bool
            Whether this task has such a picture; if not, none is written.
        """
        return False

    # --- What is said -------------------------------------------------------------------------------------------------

    @property
    def panel(self) -> Tuple[Figure, ...]:
        """The figures that are drawn on one axis with the headline, which is the first."""
        return (self.headline,)

    @property
    def beside(self) -> Tuple[Figure, ...]:
        """The figures that stand beside the headline in the table of an ablation."""
        return ()

    @property
    def panel_title(self) -> str:
        """What is on that axis."""
        return self.headline.title

    def columns(self, prefix: str, figures: Mapping[str, float]) -> Dict[str, float]:
        """The cells of metrics.csv of an evaluation of the network (`TEST`) or of its averaged weights (`AVERAGED`)."""
        return {figure.column(prefix): figures[figure.name] for figure in self.evaluation}

    def training_columns(self, sums: Mapping[str, float]) -> Dict[str, float]:
        """The cells of metrics.csv of an epoch of training, from its sums by name."""
        meter = self.training_meter()
        found = meter.figures(np.array([sums[name] for name in meter.names]))
        return {figure.column(TRAINING): found[figure.name] for figure in self.training}

    def epoch_words(self, row: EpochRow) -> str:
        """The figures of an epoch for its line of the log."""
        trained = ", ".join(f"{figure.short} {figure.text(row[figure.column(TRAINING)])}" for figure in self.training)
        if self.headline.column() not in row:
            return f"train {trained}; "
        loss, *others = self.evaluation
        others = [figure for figure in others if figure is not self.headline]
        shown = [(self.headline.title, self.headline), *((figure.short, figure) for figure in [*others, loss])]
        tested = ", ".join(f"{title} {figure.text(row[figure.column()])}" for title, figure in shown)
        averaged = row.get(self.headline.column(AVERAGED), math.nan)
        words = "" if math.isnan(averaged) else f"averaged weights {self.headline.text(averaged)}; "
        return f"train {trained}; test {tested}; {words}"

    def epoch_facts(self, row: EpochRow) -> List[Tuple[str, str]]:
        """The figures of an epoch that was evaluated, for a report: the name of each, and its value as it is shown."""
        loss, *others = self.evaluation
        trained = self.training[0]
        return [
            (f"{self.headline.title} on the test set", self.headline.text(row[self.headline.column()])),
            *((figure.title, figure.text(row[figure.column()])) for figure in others if figure is not self.headline),
            (f"{self.loss_title} on the test set", loss.text(row[loss.column()])),
            ("training loss", trained.text(row[trained.column(TRAINING)])),
        ]

    def result_words(self, row: EpochRow) -> Tuple[str, str]:
        """What is said of the best and the last epoch when a run has finished: a title, and the value of a row."""
        return self.headline.title, self.headline.text(row[self.headline.column()])
