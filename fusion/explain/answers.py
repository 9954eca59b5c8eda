"""What a network answers on its whole test set, and which classes it confuses most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..data.imageset import DataSet
from ..errors import ConfigError
from ..inference.predict import log_probabilities
from ..inference.trained import Trained
from ..progress import progress
from ..training.config import read_config
from ..training.settings import Settings
from ..words import counted
from .by_class import ClassFigures, figures_by_class

#: How many pairs are shown, and how many images of each.
PAIRS, EXAMPLES = 6, 8

#: Images per batch.
_BATCH = 64


@dataclass(frozen=True, eq=False)  # no field-wise ==: it has no truth value for arrays
class Answers:
    """What a network answers on every image of a test set, in the order of the set.

    Attributes
    ----------
    labels, answers : ndarray
        (N,) int64: the class of each image, and the class that the network finds likeliest.
    confidence : ndarray
        (N,): the probability that the network gives its answer.
    classes : tuple of str
        Names, in label order.
    losses : ndarray, optional
        (N,): the negative logarithm of the probability that the network gives the class of each image.
    """

    labels: np.ndarray
    answers: np.ndarray
    confidence: np.ndarray
    classes: Tuple[str, ...]
    losses: Optional[np.ndarray] = None

    #: What is counted.
    unit = "images"

    @property
    def about(self) -> str:
        """The figures in words."""
        return f"{100 * self.error:.2f} % error on {counted(len(self.labels), 'test image')}"

    @property
    def error(self) -> float:
        """The share of the images whose answer is not their class."""
        return float(np.mean(self.labels != self.answers))

    @property
    def mean_loss(self) -> Optional[float]:
        """The mean negative log-likelihood in nats; None where it was not measured."""
        return None if self.losses is None else float(np.mean(self.losses))

    def by_class(self) -> List[ClassFigures]:
        """Precision, recall and F1 of each class, with the mean confidence of its answers."""
        counts = np.bincount(self.answers, minlength=len(self.classes))
        sums = np.bincount(self.answers, weights=self.confidence, minlength=len(self.classes))
        with np.errstate(invalid="ignore"):
            return figures_by_class(self.matrix(), self.classes, (sums / counts).tolist())

    def matrix(self) -> np.ndarray:
        """How many images of each class (rows) got each answer (columns): (classes, classes) int64."""
        count = len(self.classes)
        return np.bincount(self.labels * count + self.answers, minlength=count**2).reshape(count, count)

    def pairs(self, most: int = PAIRS) -> List[Pair]:
        """The most frequent confusions, the most frequent first; equally frequent ones are in label order."""
        wrong = self.matrix()
        totals = wrong.sum(axis=1)
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(int(place), len(self.classes)) for place in order]
        return [
            Pair(label, answer, int(wrong[label, answer]), int(totals[label]))
            for label, answer in places
            if wrong[label, answer]
        ]

    def examples(self, pair: Pair, most: int = EXAMPLES) -> np.ndarray:
        """The numbers of the images of a pair, those with the highest confidence first."""
        found = np.flatnonzero((self.labels == pair.label) & (self.answers == pair.answer))
        return found[np.argsort(-self.confidence[found], kind="stable")][:most]

    def in_words(self, pair: Pair) -> str:
        """A pair by the names of its classes, such as `cat taken for dog`."""
        return f"{self.classes[pair.label]} taken for {self.classes[pair.answer]}"


@dataclass(frozen=True)
class Pair:
    """A class, and another class that the network answers for some of its images.

    Attributes
    ----------
    label, answer : int
        The class, and the answer.
    count, total : int
        Of the `total` images of the class, `count` got this answer.
    """

    label: int
    answer: int
    count: int
    total: int


def answer_all(trained: Trained, data: DataSet) -> Answers:
    """Run a network over a test set.

    Parameters
    ----------
    trained : Trained
        The network.
    data : DataSet
        Its test images.

    Raises
    ------
    FusionError
        If an image cannot be read, or an answer is not a number.
    """
    labels: List[np.ndarray] = []
    shares: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    trained.net.hybridize()
    try:
        with progress(f"{trained.model} on {data.title}", len(data), unit="images") as meter:
            for images, own in data.in_order(_BATCH):
                found = log_probabilities(trained, images)
                losses = -found[np.arange(len(own)), own]
                shares.append((found.argmax(axis=1), np.exp(found.max(axis=1)), losses))
                labels.append(own)
                meter.update(len(own))
    finally:
        trained.net.hybridize(False)
    answers, confidence, losses = (np.concatenate(parts) for parts in zip(*shares))
    # Networks for coarse CIFAR-100 have outputs that belong to no class, and may answer one of these.
    count = max(len(data.classes), int(answers.max()) + 1)
    names = (*trained.names_of(data), *trained.classes[len(data.classes) : count])
    return Answers(np.concatenate(labels), answers, confidence, names, losses)


def images_at(data: DataSet, numbers: Sequence[int]) -> Dict[int, np.ndarray]:
    """Some images of a test set by number, (H, W, 3) uint8; those of a data set on disk are read again."""
    pixels = getattr(data, "images", None)
    if pixels is not None:
        return {number: pixels[number] for number in numbers}
    wanted, found = set(numbers), {}
    for number, (images, _) in enumerate(data.in_order(1)):
        if number in wanted:
            found[number] = images[0]
        if len(found) == len(wanted):
            break
    return found


def format_pairs(answers: Answers, pairs: Sequence[Pair]) -> str:
    """The pairs as text, one per line."""
    return "\n".join(
        f"{pair.count:6,} of {pair.total:,} ({100 * pair.count / pair.total:.1f} %)  {answers.in_words(pair)}"
        for pair in pairs
    )


def settings_with(trained: Trained, words: Sequence[str]) -> Settings:
    """The settings of a network's run, with its data where it is now.

    Parameters
    ----------
    trained : Trained
        From a run, or with weights that come with the package.
    words : sequence of str
        Such as `data.dir=PATH`.

    Raises
    ------
    ConfigError
        If the network is not from a run, or a word is not about data.
    """
    if trained.run is None:
        raise ConfigError(
            f"{trained.file}: a file of weights does not say on which test set it is evaluated; name its run by "
            "--run DIR"
        )
    unwanted = [word for word in words if not word.startswith("data.")]
    if unwanted:
        raise ConfigError(f"command line, {unwanted[0]!r}: only data.key=value is taken here, such as data.dir=PATH")
    return read_config(trained.run.config, words)
