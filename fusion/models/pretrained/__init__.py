"""Weights that come with the package: small networks trained here, each with its run. README.md has the cards.

A folder is named after its model, FUSION_resnet8_DATA or FUSION_inception8_DATA, and holds what its training left
(config.yaml, classes.txt, metrics.csv, result.json) with the weights of the last epoch: the accuracy of the best would
be chosen on the test set. `python -m fusion.deploy.keep` puts a run there.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, Optional, Tuple

from ...errors import CheckpointError, ConfigError, nearest

FOLDER = Path(__file__).parent

#: The weights in a model's folder.
FILE = "weights.params"

#: In `FOLDER`: of every file of weights, as `sha256sum` writes it.
SUMS = "SHA256SUMS"

#: Of a model: its fusion, unless it adds, its host and its data set.
_NAME = re.compile(r"((?P<fusion>[a-z]+)_)?(?P<host>resnet|inception)8_(?P<data>[a-z0-9]+)")


@dataclass(frozen=True)
class Weights:
    """Trained weights of a named model.

    Attributes
    ----------
    name : str
        For `get_model`; it ends in the data set that they were trained on.
    accuracy : float
        Share of the test images whose class is the network's first answer, after the last epoch.
    epochs : int
        That it was trained for.
    trained_on : str
        The data set's title.
    classes : tuple of str
        Names in the order of the logits.
    """

    name: str
    accuracy: float
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
        return self.name.rsplit("_", 1)[-1]

    @property
    def file(self) -> Path:
        """The weights, after a look at their checksum.

        Raises
        ------
        CheckpointError
            If the file is not the one that the package was made with.
        """
        path = self.folder / FILE
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror}); install the package again") from None
        if found != _checksums()[self.name]:
            raise CheckpointError(f"{path}: damaged, by its SHA-256; install the package again")
        return path


@lru_cache(maxsize=None)
def _checksums() -> Dict[str, str]:
    lines = (FOLDER / SUMS).read_text(encoding="utf-8").splitlines()
    return {Path(path).parent.name: digest for digest, path in (line.split() for line in lines)}


@lru_cache(maxsize=None)
def _find(name: str) -> Optional[Weights]:
    if name not in _checksums():
        return None
    folder = FOLDER / name
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    classes = tuple((folder / "classes.txt").read_text(encoding="utf-8").splitlines())
    return Weights(name, 1 - result["last"]["val_top1_error"], result["epochs"], result["data"], classes)


def list_pretrained() -> Tuple[str, ...]:
    """The named models whose weights come with the package, in the order of `pretrained=True`: CIFAR-10 first."""
    return tuple(_checksums())


def network_in_name(name: str) -> Tuple[str, str]:
    """The family and the fusion of a model named as here: cifar_resnet and iaff of iaff_resnet8_cifar10.

    Raises
    ------
    ConfigError
        If it is not named so.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"{name!r}: expected FUSION_resnet8_DATA or FUSION_inception8_DATA, such as aff_resnet8_cifar10"
        )
    return f"cifar_{found['host']}", found["fusion"] or "add"


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
