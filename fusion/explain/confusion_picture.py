"""Pictures of what a network confuses: the confusion matrix, and the most confused pairs with their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence, Union

import numpy as np

from ..data.imageset import DataSet
from ..drawing import WIDTH, new_page, plain, save_page
from ..errors import DataError
from .answers import EXAMPLES, Answers, images_at
from .panels import LARGEST, name_row, new_image_page, show_picture
from .pixels import PixelAnswers

#: Up to this number of classes each cell has its number in it, and up to the second each class has its name beside it.
_NUMBERED, _NAMED = 20, 50

#: Inches for the name of a pair, between two images, for a caption, and for the title of the page.
_NAME, _BETWEEN, _CAPTION, _TITLE = 0.45, 0.1, 0.25, 0.6

#: Letters of a name per inch.
_LETTERS = 14


# --- The matrix ------------------------------------------------------------------------------------------------------


def draw_confusion(answers: Union[Answers, PixelAnswers], title: str, path: Path) -> None:
    """Draw the confusion matrix: one row per class, with the share of its images or pixels that got each answer.

    Parameters
    ----------
    answers : Answers or PixelAnswers
        On a whole test set.
    title : str
        Model and data set.
    path : Path
        Written in the format that its name ends in.
    """
    matrix = answers.matrix()
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(shares), dtype=bool)
    about = f"{title}: {answers.about}"
    figure, ((axes,),) = new_page(1, 1, 7.4, about)
    # Right answers have no colour, only numbers: beside their shares, those of wrong answers would look alike.
    wrong: Any = np.ma.masked_array(shares, diagonal)
    highest = max(float(wrong.max()) if wrong.count() else 0.0, 1.0)
    shown = axes.imshow(wrong, cmap="Blues", vmin=0, vmax=highest)
    axes.set_facecolor("#dddddd")
    bar = figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_label(f"wrong answers: % of the {answers.unit} of the class")
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


# --- The pairs -------------------------------------------------------------------------------------------------------


def draw_confused_pairs(answers: Answers, data: DataSet, title: str, path: Path) -> None:
    """Draw the most confused pairs, each with the images on which the network was most confident.

    Parameters
    ----------
    answers : Answers
        On the whole test set, with at least one wrong answer.
    data : DataSet
        That test set.
    title : str
        Model and data set.
    path : Path
        Written in the format that its name ends in.

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
    rows = in_rows([len(own) for own in numbers], EXAMPLES)
    columns = max(sum(len(numbers[index]) for index in row) for row in rows)
    side = min(LARGEST, (WIDTH - _NAME * max(map(len, rows))) / columns - _BETWEEN)
    height = _TITLE + len(rows) * (side + _CAPTION)
    figure, grid = new_image_page(len(rows), columns, height, f"{title}: the most confused pairs")
    for panels, row in zip(grid, rows):
        free = list(panels)
        for index in row:
            pair, own = pairs[index], numbers[index]
            name_row(free[0], f"{answers.in_words(pair)}\n{pair.count} of {pair.total}", room=int(_LETTERS * side))
            for number in own:
                axes = free.pop(0)
                show_picture(axes, pictures[int(number)])
                axes.set_xlabel(f"{100 * answers.confidence[number]:.0f} % sure", fontsize=8)
        for axes in free:
            axes.remove()
    save_page(figure, path)


def in_rows(lengths: Sequence[int], room: int) -> List[List[int]]:
    """Groups of panels, in their order, put side by side as long as a row has room for them.

    Parameters
    ----------
    lengths : sequence of int
        The number of panels of each group, none above `room`.
    room : int
        Panels per row at the most.

    Returns
    -------
    list of list of int
        Of each row the places of its groups in `lengths`.
    """
    rows: List[List[int]] = []
    for index, length in enumerate(lengths):
        if not rows or sum(lengths[other] for other in rows[-1]) + length > room:
            rows.append([])
        rows[-1].append(index)
    return rows
