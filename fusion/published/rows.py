"""Every row of the published tables: its figure, what it was measured on, and which run truly produced it.

The rows are data. rows.yaml has those of the released tables. tables.yaml has the paper's comparisons of blocks, a row
for each block and depth; the rows of a table and a network share a config. The tables print accuracy for CIFAR and
top-1 error for ImageNet, and IoU for images with masks; `figure` is the figure as it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import yaml

from ..errors import ConfigError, nearest

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class TestSet:
    """The test set that a figure was measured on.

    Attributes
    ----------
    title : str
        The data set and its kind of labels, in words.
    dataset, labels : str
        The settings `data.name` and `data.labels`.
    classes, images, train_images : int
        The numbers of classes, of test images, and of training images.
    known : bool
        Whether it was published which images these are; otherwise their numbers are 0, and nothing can be compared.
    """

    title: str
    dataset: str
    labels: str
    classes: int
    images: int
    train_images: int
    known: bool = True


IMAGENET = TestSet("ImageNet, 1,000 classes", "imagenet", "fine", 1000, 50_000, 1_281_167)
CIFAR10 = TestSet("CIFAR-10, 10 classes", "cifar10", "fine", 10, 10_000, 50_000)
FINE = TestSet("CIFAR-100, 100 fine labels", "cifar100", "fine", 100, 10_000, 50_000)
COARSE = TestSet("CIFAR-100, 20 superclasses", "cifar100", "coarse", 20, 10_000, 50_000)
SIRST = TestSet("SIRST, small infrared targets", "mask_folder", "fine", 1, 86, 341)
STOPSIGN = TestSet("StopSign, a subset of COCO", "mask_folder", "fine", 1, 0, 0, known=False)

_TEST_SETS = {
    "sirst": SIRST,
    "stopsign": STOPSIGN,
    "imagenet": IMAGENET,
    "cifar10": CIFAR10,
    "cifar100 fine": FINE,
    "cifar100 coarse": COARSE,
}


def labellings(dataset: str) -> Set[str]:
    """The kinds of labels, such as fine and coarse, with which figures on a data set were published."""
    return {known.labels for known in _TEST_SETS.values() if known.dataset == dataset}


@dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes
    ----------
    id : str
        The name of the row on the command line, and of its curve if it has one.
    table, title : str
        The table it stands in, and its model as the table names it.
    figure : str
        The figure as published.
    error : float
        The same as a top-1 error in percent; of an IoU, what is missing to 100 %.
    test_set : TestSet
        What it was measured on.
    measured : str
        How it was measured: the size of the images, and after which epoch.
    produced : str
        Which run truly produced it, as far as the table does not say so.
    size_published : str
        The number of parameters as published; empty if none was.
    pixels : int
        Height and width of the images.
    model : mapping
        The model section of the config; empty for the work of others.
    parameters : int
        The number of parameters of the config's network; 0 for the work of others.
    configs : tuple of str
        Files in configs/, in the order in which to run them; the last one trains the row's network.
    words : tuple of str
        Settings over those of the last config, where several rows share it.
    as_described : str or None
        The config with the recipe as the paper describes it, if that is another one.
    devices : str
        The devices of the published run, for `--device`.
    curve : bool
        Whether the curve of the run was published.
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
    words: Tuple[str, ...] = ()
    as_described: Optional[str] = None
    devices: str = ""
    curve: bool = False

    @property
    def is_accuracy(self) -> bool:
        """Whether the figure is an accuracy, or an IoU, rather than an error."""
        return self.test_set is not IMAGENET

    @property
    def commands(self) -> List[str]:
        """The commands to run, in order and in any folder; none for the work of others."""
        train = [f"python -m fusion train --config {Path(name).stem} --device {self.devices}" for name in self.configs]
        if train:
            train[-1] = " ".join([train[-1], *self.words])
        return train


def _read(name: str) -> Any:
    return yaml.safe_load((_FOLDER / name).read_text(encoding="utf-8"))


def _released() -> Iterator[Row]:
    for fields in _read("rows.yaml")["rows"]:
        fields["test_set"] = _TEST_SETS[fields["test_set"]]
        fields["configs"] = tuple(fields.get("configs", ()))
        yield Row(**fields)


def _of_the_paper() -> Iterator[Row]:
    """The rows of tables.yaml: one for each figure, with b = 1, 2, ... residual blocks per stage."""
    found = _read("tables.yaml")
    for table in found["tables"]:
        host = found["hosts"][table["host"]]
        data = found["data"][host["data"]]
        about = " ".join((data["about"], host["about"], table["about"]))
        for block in table["rows"]:
            for blocks, figure in enumerate(block["figures"], start=1):
                if figure is None:  # the paper has none
                    continue
                yield Row(
                    id=f"{host['data']}_table{table['number']}_{table['host']}_{block['id']}_b{blocks}",
                    table=f"{data['title']}, table {table['number']} of the paper ({table['title']}), {host['title']}",
                    title=f"{block['title']}, b = {blocks}",
                    figure=f"{figure:.{data['decimals']}f} {data['unit']}",
                    error=round(100 * (1 - figure / data["whole"]), 1),
                    test_set=_TEST_SETS[data["test_set"]],
                    measured="epoch not stated",
                    pixels=data["pixels"],
                    **_trained(table, host, block, blocks, about),
                )


def _trained(
    table: Mapping[str, Any], host: Mapping[str, Any], block: Mapping[str, Any], blocks: int, about: str
) -> Dict[str, Any]:
    """The fields about the network of a row, and how to train it; or why it cannot be trained here."""
    if "missing" in block:
        return {"produced": block["missing"]}
    own = {**block["model"], "blocks": blocks}
    return {
        "produced": about,
        "model": {**host["model"], **own},
        "parameters": block["parameters"][blocks - 1],
        "configs": (table["config"],),
        "words": tuple(f"model.{key}={value}" for key, value in own.items()),
        "devices": "0",
    }


ROWS = (*_released(), *_of_the_paper())


def find_row(row_id: str) -> Row:
    """The row with an id.

    Raises
    ------
    ConfigError
        If there is none; the message names the closest ids.

    Examples
    --------
    >>> row = find_row("cifar100_fine_aff_resnet32")
    >>> row.title, row.error, row.test_set.title
    ('AFF-ResNet-32', 16.43, 'CIFAR-100, 100 fine labels')
    """
    for row in ROWS:
        if row.id == row_id:
            return row
    known = [row.id for row in ROWS]
    raise ConfigError(f"no published row is named {row_id!r}: {nearest(row_id, known)} (python -m fusion reproduce)")
