"""The picture of several runs on one axis: the headline figure of each on the test set, and its loss there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from ..drawing import BLUE, GREEN, GREY, ORANGE, SKY, epoch_marker, label_epochs, new_page, plain, save_page
from ..errors import ConfigError
from ..training.history import History
from ..words import counted, distinct

#: The colour of each line and its marks, by which lines can be told apart in black and white.
_STYLES = tuple(zip((BLUE, ORANGE, GREEN, "#CC79A7", SKY, "#E69F00", GREY, "#000000"), "osD^vPX*"))

#: The facts of a run that must be equal for its errors to be comparable with those of another.
_QUESTION = ("data", "classes", "test_images")


@dataclass(frozen=True)
class RunCurve:
    """The evaluations of a run.

    Attributes
    ----------
    path : Path
        The run's folder.
    facts : dict
        Its result.json.
    history : History
        Its epochs.
    """

    path: Path
    facts: Dict[str, Any]
    history: History

    @property
    def epochs(self) -> Tuple[int, ...]:
        """The epochs that were evaluated, from 1."""
        return self.history.epochs

    @property
    def errors(self) -> Tuple[float, ...]:
        """The headline figure of each in its unit, such as top-1 error in percent."""
        return self.history.headlines

    @property
    def losses(self) -> Tuple[float, ...]:
        """The loss of each on the test set."""
        loss = self.history.task.evaluation[0]
        return tuple(map(loss.shown, self.history.evaluated))


def refuse_mixed(curves: Sequence[RunCurve]) -> None:
    """Refuse runs on different images or classes, because their errors cannot be compared.

    Raises
    ------
    ConfigError
        The message names the first two that differ.
    """
    first = curves[0]
    for other in curves[1:]:
        if any(first.facts.get(key) != other.facts.get(key) for key in _QUESTION):
            raise ConfigError(
                f"{first.path} is on {_question(first)}, and {other.path} on {_question(other)}: their errors cannot "
                "be compared, so draw them in different pictures"
            )


def _question(curve: RunCurve) -> str:
    data, classes, images = (curve.facts[key] for key in _QUESTION)
    return f"{data} ({counted(classes, 'class', 'classes')}, {counted(images, 'test image')})"


def draw_run_curves(curves: Sequence[RunCurve], path: Path) -> None:
    """Draw runs on one axis: their error on the test set, and beside it their loss there.

    Parameters
    ----------
    curves : sequence of RunCurve
        At most eight, all on the same data.
    path : Path
        Written in the format that its name ends in.

    Raises
    ------
    ConfigError
        If there are more, or their data differ.
    """
    if len(curves) > len(_STYLES):
        raise ConfigError(f"{len(curves)} runs; expected at most {len(_STYLES)}, whose lines can still be told apart")
    refuse_mixed(curves)
    names = distinct([curve.facts["model"] for curve in curves], [curve.path.resolve().name for curve in curves])
    title = _question(curves[0])
    figure, ((left, right),) = new_page(1, 2, 4.2, title)
    task = curves[0].history.task
    headline = task.headline
    for curve, name, (colour, mark) in zip(curves, names, _STYLES):
        marker = epoch_marker(curve.epochs, mark)
        look: Dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.5}
        best, last = headline.best(curve.history.evaluated), curve.history.evaluated[-1]
        words = [headline.text(row[headline.column()]) for row in (last, best)]
        label = f"{name}: last {words[0]}, best {words[1]} (epoch {best['epoch']:.0f})"
        left.plot(curve.epochs, curve.errors, label=plain(label), **look)
        right.plot(curve.epochs, curve.losses, **look)
    unit = f" ({headline.unit})" if headline.unit else ""
    left.set_ylabel(f"{headline.title} on the test set{unit}")
    right.set_ylabel(f"{task.evaluation[0].title} on the test set")
    for axes in (left, right):
        label_epochs(axes)
    # Below both panels: within one of them it would hide lines.
    figure.legend(loc="outside lower center", ncols=2 if len(curves) > 1 else 1, frameon=False, fontsize=8)
    save_page(figure, path)
