"""python -m fusion confusion: which classes a network takes for which, and the images that show it best."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..command import log_to_terminal
from ..data.imageset import DataSet
from ..errors import ConfigError, DataError
from ..inference.predict import probabilities
from ..inference.trained import Trained, add_source, from_arguments
from ..progress import progress
from ..training.config import read_config
from ..training.preparation import load_split
from ..training.settings import Settings
from .drawing import name_row, new_page, plain, save_page, show_picture
from .output import add_output, written_folder

#: Up to so many classes a cell has its number, and every class its name at the axis.
_NUMBERED = 20
_NAMED = 50

#: Pairs that are shown, and images of each.
PAIRS, EXAMPLES = 6, 8

#: Images at a time.
_BATCH = 64


@dataclass(frozen=True, eq=False)  # no field-wise ==: it has no truth value for arrays
class Answers:
    """What a network says of every image of a test set, in its order.

    Attributes
    ----------
    labels, answers : ndarray
        (N,) int64: the class, and the network's likeliest.
    confidence : ndarray
        (N,): the probability of that answer.
    classes : tuple of str
        Names, in label order.
    """

    labels: np.ndarray
    answers: np.ndarray
    confidence: np.ndarray
    classes: Tuple[str, ...]

    @property
    def error(self) -> float:
        """Share of the images whose answer is not their class."""
        return float(np.mean(self.labels != self.answers))

    def matrix(self) -> np.ndarray:
        """How many images of each class (rows) got each answer (columns): (classes, classes) int64."""
        count = len(self.classes)
        return np.bincount(self.labels * count + self.answers, minlength=count**2).reshape(count, count)

    def pairs(self, most: int = PAIRS) -> List[Pair]:
        """The most frequent confusions, the most frequent first; of equal ones the first in label order."""
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
        """Numbers of the images of a pair, those of which the network is surest first."""
        found = np.flatnonzero((self.labels == pair.label) & (self.answers == pair.answer))
        return found[np.argsort(-self.confidence[found], kind="stable")][:most]


@dataclass(frozen=True)
class Pair:
    """A class that is taken for another.

    Attributes
    ----------
    label, answer : int
        The class, and what the network says.
    count, total : int
        So many of so many images of the class.
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
    shares: List[Tuple[np.ndarray, np.ndarray]] = []
    trained.net.hybridize()
    try:
        with progress(f"{trained.model} on {data.title}", len(data), unit="images") as meter:
            for images, own in data.in_order(_BATCH):
                found = probabilities(trained, images)
                shares.append((found.argmax(axis=1), found.max(axis=1)))
                labels.append(own)
                meter.update(len(own))
    finally:
        trained.net.hybridize(False)
    answers, confidence = (np.concatenate(parts) for parts in zip(*shares))
    # Coarse CIFAR-100 networks have logits without a class, and may answer one.
    count = max(len(data.classes), int(answers.max()) + 1)
    names = (*data.classes, *trained.classes[len(data.classes) : count])
    return Answers(np.concatenate(labels), answers, confidence, names)


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


def draw_confusion(answers: Answers, title: str, path: Path) -> None:
    """Draw the confusion matrix: of each class, a row, the share of its images that got each answer.

    Parameters
    ----------
    answers : Answers
        Of a whole test set.
    title : str
        Model and data set.
    path : Path
        Written as PNG, 990 pixels wide.
    """
    matrix = answers.matrix()
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(shares), dtype=bool)
    about = f"{title}: {100 * answers.error:.2f} % error on {len(answers.labels):,} test images"
    figure, ((axes,),) = new_page(1, 1, 7.4, about)
    # Right answers have numbers and no colour, which would leave none for the wrong ones.
    wrong: Any = np.ma.masked_array(shares, diagonal)
    highest = max(float(wrong.max()) if wrong.count() else 0.0, 1.0)
    shown = axes.imshow(wrong, cmap="Blues", vmin=0, vmax=highest)
    axes.set_facecolor("#dddddd")
    bar = figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_label("wrong answers: % of the images of the class")
    if len(shares) <= _NUMBERED:
        for row, column in np.ndindex(*shares.shape):
            _write_share(axes, shares, row, column, highest)
    step = 1 if len(shares) <= _NAMED else -(-len(shares) // _NAMED)
    places = range(0, len(shares), step)
    names = [plain(answers.classes[place]) for place in places]
    size = 9 if len(shares) <= _NUMBERED else 6
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set_xlabel("the network's answer")
    axes.set_ylabel("class (grey: the share of right answers, %)" if len(shares) <= _NUMBERED else "class")
    save_page(figure, path)


def _write_share(axes: Any, shares: np.ndarray, row: int, column: int, highest: float) -> None:
    share = shares[row, column]
    if share or row == column:
        colour = "white" if row != column and share > 0.6 * highest else "black"
        weight = "bold" if row == column else "normal"
        text = f"{share:.0f}" if share >= 10 or share == 0 else f"{share:.1f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour, fontweight=weight)


def draw_confused_pairs(answers: Answers, data: DataSet, title: str, path: Path) -> None:
    """Draw the most confused pairs, a row each, with the images of which the network was surest.

    Parameters
    ----------
    answers : Answers
        Of the whole test set, with at least one wrong answer.
    data : DataSet
        That test set.
    title : str
        Model and data set.
    path : Path
        Written as PNG, 990 pixels wide.

    Raises
    ------
    DataError
        If every answer is right.
    """
    pairs = answers.pairs()
    if not pairs:
        raise DataError(f"{title}: every answer is right, so that no pair is confused")
    numbers = [answers.examples(pair) for pair in pairs]
    pictures = images_at(data, [int(number) for own in numbers for number in own])
    figure, grid = new_page(len(pairs), EXAMPLES, 1.25 * len(pairs) + 0.75, f"{title}: the most confused pairs")
    for panels, pair, own in zip(grid, pairs, numbers):
        for axes in panels[max(1, len(own)) :]:
            axes.remove()
        for axes, number in zip(panels, own):
            show_picture(axes, pictures[int(number)])
            axes.set_xlabel(f"{100 * answers.confidence[number]:.0f} % sure", fontsize=8)
        name_row(panels[0], f"{_name(answers, pair)}, {pair.count} of {pair.total}", room=16)
    save_page(figure, path)


def _name(answers: Answers, pair: Pair) -> str:
    return f"{answers.classes[pair.label]} taken for {answers.classes[pair.answer]}"


def format_pairs(answers: Answers, pairs: Sequence[Pair]) -> str:
    """The pairs as text, a line each."""
    return "\n".join(
        f"{pair.count:6,} of {pair.total:,} ({100 * pair.count / pair.total:.1f} %)  {_name(answers, pair)}"
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
        raise ConfigError(f"{trained.file}: a file of weights does not say which test set is its own; name a --run")
    unwanted = [word for word in words if not word.startswith("data.")]
    if unwanted:
        raise ConfigError(f"command line, {unwanted[0]!r}: only data.key=value is taken here, such as data.dir=PATH")
    return read_config(trained.run.config, words)


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `confusion`."""
    parser = commands.add_parser("confusion", help="which classes a network takes for which, with examples")
    add_source(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_output(parser)
    parser.add_argument("settings", nargs="*", metavar="data.key=value", help="where the data is now")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    with written_folder(arguments.output, arguments.force) as folder:
        trained = from_arguments(arguments)
        data = load_split(settings_with(trained, arguments.settings), "test")
        answers = answer_all(trained, data)
        title = f"{trained.model} on {data.title}"
        pairs = answers.pairs()
        draw_confusion(answers, title, folder / "confusion.png")
        if pairs:
            draw_confused_pairs(answers, data, title, folder / "confused_pairs.png")
        _write_matrix(answers, folder / "confusion.csv")
    if arguments.json:
        print(json.dumps(_describe(answers, pairs, arguments.output)))
        return
    print(f"{title}: {100 * answers.error:.2f} % error on {len(answers.labels):,} images")
    print(format_pairs(answers, pairs) or "no wrong answer")
    print(f"{arguments.output}: {', '.join(path.name for path in sorted(arguments.output.glob('confus*')))}")


def _write_matrix(answers: Answers, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["class", *answers.classes])
        writer.writerows([name, *row] for name, row in zip(answers.classes, answers.matrix().tolist()))


def _describe(answers: Answers, pairs: Sequence[Pair], output: Optional[Path]) -> Dict[str, Any]:
    named = [
        {"class": answers.classes[pair.label], "answer": answers.classes[pair.answer], "count": pair.count}
        for pair in pairs
    ]
    about = {"error": answers.error, "images": len(answers.labels), "classes": list(answers.classes)}
    return {"output": str(output), **about, "matrix": answers.matrix().tolist(), "pairs": named}
