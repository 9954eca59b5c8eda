"""Weights that come with the package: small networks trained here, each with its run. README.md has the cards.

A folder is named after its model, FUSION_NETWORK_DATA, with a NETWORK of `NETWORKS`. It holds what its training left
(config.yaml, classes.txt, metrics.csv, result.json) and the weights of the last epoch: the figures of the best epoch
would be chosen on the test set. `python -m fusion.deploy.keep` puts a run there.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ...errors import CheckpointError, nearest

FOLDER = Path(__file__).parent

#: The weights in a model's folder.
FILE = "weights.params"

#: The other files of a model's folder.
BESIDE = ("config.yaml", "classes.txt", "metrics.csv", "result.json")

#: The networks that are small enough to come with their weights: the family of each and its arguments.
NETWORKS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "resnet8": ("cifar_resnet", {"blocks": 1, "channel_times": 1}),
    "inception8": ("cifar_inception", {"blocks": 1, "channel_times": 1}),
    "fpn8": ("fpn", {"blocks": 1, "channel_times": 1, "tiny": True}),
}

#: Of the data sets whose networks have another number of outputs than ten.
_OUTPUTS = {"sirst": 1}

_NAME = re.compile(rf"((?P<fusion>[a-z]+)_)?(?P<network>{'|'.join(NETWORKS)})_(?P<data>[a-z0-9]+)")
_NAME_ALONE = re.sub(r"\?P<\w+>", "?:", _NAME.pattern)

#: In `FOLDER`: of every file of a model, as `sha256sum` writes it.
SUMS = "SHA256SUMS"

_LINE = re.compile(rf"^(?P<digest>[0-9a-f]{{64}})  (?P<file>{_NAME_ALONE}/[a-z]+\.[a-z]+)$", re.MULTILINE)

_MEND = "install the package again"


@dataclass(frozen=True)
class Weights:
    """Trained weights of a named model.

    Attributes
    ----------
    name : str
        For `get_model`; it ends in the data set that they were trained on.
    figure : str
        What it is measured by: "accuracy", the share of the test images whose class is the network's first answer, or
        "iou" (segmentation).
    value : float
        Of the figure on the test set, after the last epoch.
    epochs : int
        That it was trained for.
    trained_on : str
        The data set's title.
    classes : tuple of str
        Names in the order of the logits.
    """

    name: str
    figure: str
    value: float
    epochs: int
    trained_on: str
    classes: Tuple[str, ...]

    @property
    def folder(self) -> Path:
        """What its training left, laid out as a run's."""
        return FOLDER / self.name

    @property
    def data(self) -> str:
        """The data set as `pretrained=` takes it, such as 'cifar10'."""
        return data_of(self.name)

    @property
    def file(self) -> Path:
        """The weights, after a look at their checksum and at those of the files beside them.

        Raises
        ------
        CheckpointError
            If a file is not the one that the package was made with.
        """
        path = self.folder / FILE
        for beside in BESIDE:
            checked(self.folder / beside)
        checked(path)
        return path


@lru_cache(maxsize=None)
def _checksums() -> Dict[str, str]:
    """The SHA-256 of each file by its name, such as resnet8_cifar10/weights.params, without lines that are damaged.

    This is read when the package is imported, which no damaged file may prevent.
    """
    try:
        text = (FOLDER / SUMS).read_bytes().decode("utf-8", "replace")
    except OSError:
        return {}
    return {found["file"]: found["digest"] for found in _LINE.finditer(text)}


def checked(path: Path) -> bytes:
    """The content of a file of this folder, after a look at its checksum.

    Parameters
    ----------
    path : Path
        Below `FOLDER`.

    Raises
    ------
    CheckpointError
        If it is not the file that the package was made with, or its checksum is not known.
    """
    known = _checksums().get(path.relative_to(FOLDER).as_posix())
    if known is None:
        raise CheckpointError(f"{path}: {FOLDER / SUMS} has no checksum of it, or is damaged; {_MEND}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {_MEND}") from None
    if hashlib.sha256(content).hexdigest() != known:
        raise CheckpointError(f"{path}: damaged, by its SHA-256; {_MEND}")
    return content


@lru_cache(maxsize=None)
def _find(name: str) -> Optional[Weights]:
    if name not in list_pretrained():
        return None
    folder = FOLDER / name
    result = json.loads(checked(folder / "result.json"))
    classes = tuple(checked(folder / "classes.txt").decode().splitlines())
    last = result["last"]
    measured = ("accuracy", 1 - last["val_top1_error"]) if "val_top1_error" in last else ("iou", last["val_iou"])
    return Weights(name, *measured, result["epochs"], result["data"], classes)


def list_pretrained() -> Tuple[str, ...]:
    """The named models whose weights come with the package, in the order of `pretrained=True`: CIFAR-10 first.

    Examples
    --------
    >>> import fusion
    >>> fusion.list_pretrained()[0]
    'aff_resnet8_cifar10'
    """
    return tuple(dict.fromkeys(file.split("/")[0] for file in _checksums()))


def faults() -> Tuple[str, ...]:
    """What is wrong with the files of this folder, one sentence for each; all of them are read."""
    try:
        text = (FOLDER / SUMS).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return (f"{FOLDER / SUMS}: cannot be read ({error.strerror}); {_MEND}",)
    if not text:
        return (f"{FOLDER / SUMS}: empty; {_MEND}",)
    lines = enumerate(text.splitlines(), start=1)
    found = [f"{FOLDER / SUMS}, line {number}: damaged; {_MEND}" for number, line in lines if not _LINE.match(line)]
    for file in _checksums():
        try:
            checked(FOLDER / file)
        except CheckpointError as error:
            found.append(str(error))
    return tuple(found)


def network_in_name(name: str) -> Optional[Tuple[str, Dict[str, Any]]]:
    """The family and the arguments of a model that is named as here, such as iaff_resnet8_cifar10.

    A name without a fusion, such as resnet8_cifar10, is of addition. None is returned for a name of another form.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    family, arguments = NETWORKS[found["network"]]
    return family, {**arguments, "classes": _OUTPUTS.get(found["data"], 10), "fusion": found["fusion"] or "add"}


def data_of(name: str) -> str:
    """The data set in a model's name, as `pretrained=` takes it, such as 'cifar10'."""
    return name.rsplit("_", 1)[-1]


def find_weights(name: str) -> Weights:
    """The weights of a named model.

    Raises
    ------
    CheckpointError
        If none of that name come with the package; the closest are named.
    """
    found = _find(name)
    if found is None:
        raise CheckpointError(f"no weights of {name} come with this package: {nearest(name, list_pretrained())}")
    return found
