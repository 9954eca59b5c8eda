"""Every row of the published tables: its figure, what that was measured on, and what truly produced it.

The rows are data, in rows.yaml. The tables print accuracy on CIFAR and top-1 error on ImageNet; `figure` is as printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Mapping, Optional, Set, Tuple

import yaml

from ..errors import ConfigError, nearest

_FILE = Path(__file__).parent / "rows.yaml"


@dataclass(frozen=True)
class TestSet:
    """What a figure was measured on.

    Attributes
    ----------
    title : str
        With its labels.
    dataset, labels : str
        `data.name` and `data.labels` of the settings.
    classes, images, train_images : int
        How many classes, how many images in it, and how many to train on beside it.
    """

    title: str
    dataset: str
    labels: str
    classes: int
    images: int
    train_images: int


IMAGENET = TestSet("ImageNet, 1,000 classes", "imagenet", "fine", 1000, 50_000, 1_281_167)
CIFAR10 = TestSet("CIFAR-10, 10 classes", "cifar10", "fine", 10, 10_000, 50_000)
FINE = TestSet("CIFAR-100, 100 fine labels", "cifar100", "fine", 100, 10_000, 50_000)
COARSE = TestSet("CIFAR-100, 20 superclasses", "cifar100", "coarse", 20, 10_000, 50_000)

_TEST_SETS = {"imagenet": IMAGENET, "cifar10": CIFAR10, "cifar100 fine": FINE, "cifar100 coarse": COARSE}


def labellings(dataset: str) -> Set[str]:
    """The kinds of labels, such as fine and coarse, with which figures on a data set were published."""
    return {known.labels for known in _TEST_SETS.values() if known.dataset == dataset}


@dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes
    ----------
    id : str
        For the command line; where there is a curve, that run's.
    table, title : str
        Where it stands, and its model as named there.
    figure : str
        As published.
    error : float
        Top-1 error in percent of that figure.
    test_set : TestSet
        What it was measured on.
    measured : str
        How: the size of the images, which epoch.
    produced : str
        What truly produced it, where the table does not say.
    size_published : str
        Parameters as published; empty where nothing was.
    pixels : int
        Height and width of the images.
    model : mapping
        The config's model section; empty in a row of others.
    parameters : int
        What the config's network has; 0 in a row of others.
    configs : tuple of str
        Files in configs/, in the order to run them; the last is the row's.
    as_described : str or None
        The config of the row as it reads.
    devices : str
        For `--device`, as published.
    curve : bool
        Whether the run's curve was published.
    """

    id: str
    table: str
    title: str
    figure: str
    error: float
    test_set: TestSet
    measured: str
    produced: str
    size_published: str = ""
    pixels: int = 32
    model: Mapping[str, Any] = field(default_factory=dict)
    parameters: int = 0
    configs: Tuple[str, ...] = ()
    as_described: Optional[str] = None
    devices: str = ""
    curve: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Whether the figure is an accuracy rather than an error."""
        return self.test_set is not IMAGENET

    @property
    def commands(self) -> List[str]:
        """What to run, in order and from any folder; nothing in a row of others."""
        return [f"python -m fusion train --config {Path(name).stem} --device {self.devices}" for name in self.configs]


def _read() -> Tuple[Row, ...]:
    rows = []
    for fields in yaml.safe_load(_FILE.read_text(encoding="utf-8"))["rows"]:
        fields["test_set"] = _TEST_SETS[fields["test_set"]]
        fields["configs"] = tuple(fields.get("configs", ()))
        rows.append(Row(**fields))
    return tuple(rows)


ROWS = _read()


def find_row(row_id: str) -> Row:
    """The row of an id.

    Raises
    ------
    ConfigError
        If there is none; the closest are named.
    """
    for row in ROWS:
        if row.id == row_id:
            return row
    known = [row.id for row in ROWS]
    raise ConfigError(f"no published row is named {row_id!r}: {nearest(row_id, known)} (python -m fusion reproduce)")
