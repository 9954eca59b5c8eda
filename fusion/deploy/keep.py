"""python -m fusion.deploy.keep RUN NAME: adds a finished run's last weights to those that come with the package."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Optional, Sequence

from ..command import reported
from ..errors import CheckpointError, ConfigError
from ..files import whole_file, write_json, write_text
from ..models import pretrained
from ..models.parameter_file import save_network
from ..models.pretrained import BESIDE, FILE, NETWORKS, SUMS, network_in_name
from ..models.zoo import network_identity
from ..training import checkpoint
from ..training.config import model_keywords, to_yaml
from ..training.history import is_finished
from ..training.loading import load_split
from ..training.logbook import RunDirectory, read_result
from ..training.preparation import build_network

#: The largest file of weights, in bytes, that the package should carry.
_LARGEST = 1_000_000


def keep(run_path: Path, name: str, title: Optional[str] = None, folder: Optional[Path] = None) -> Path:
    """Copy from a run what a model with weights needs, and write the weights of its last epoch and their checksum.

    Parameters
    ----------
    run_path : Path
        The folder of a finished run.
    name : str
        The model's: FUSION_NETWORK_DATA, or NETWORK_DATA for plain addition, where NETWORK is one of
        `fusion.models.pretrained.NETWORKS`.
    title : str, optional
        A name for the data set, if it was a folder whose own name says little.
    folder : Path, optional
        Where the model's folder goes; that of the package's own weights by default.

    Returns
    -------
    Path
        The model's folder.

    Raises
    ------
    FusionError
        If the run is not finished or not of such a network, or its weights are too large.
    """
    folder = folder or pretrained.FOLDER
    run = RunDirectory.existing(run_path)
    settings, result = run.settings(), read_result(run)
    if not is_finished(result, settings):
        raise ConfigError(f"{run_path}: {result['epochs']} of {settings.train.epochs} epochs are done; finish it first")
    wanted = network_in_name(name)
    if wanted is None:
        networks = ", ".join(NETWORKS)
        raise ConfigError(f"{name!r}: expected FUSION_NETWORK_DATA, such as aff_resnet8_cifar10, of {networks}")
    family, arguments = wanted
    own, expected = network_identity(settings.model.name, model_keywords(settings)), network_identity(family, arguments)
    others = [f"{key} {own.get(key)}, expected {value}" for key, value in expected.items() if own.get(key) != value]
    if others:
        raise ConfigError(f"{run_path}: not the network of {name}: {'; '.join(others)}")
    classes = run.read_classes() or load_split(settings, "test").classes
    net = build_network(settings, len(classes))
    checkpoint.load_network(run.last, net)

    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    with whole_file(target / FILE) as aside:
        save_network(net, aside)
        if aside.stat().st_size > _LARGEST:
            raise CheckpointError(f"{run_path}: {aside.stat().st_size:,} bytes of weights; expected under {_LARGEST:,}")
    data = settings.data if settings.data.dir is None else dataclasses.replace(settings.data, dir="data")
    write_text(target / "config.yaml", to_yaml(dataclasses.replace(settings, data=data)))
    write_text(target / "classes.txt", "".join(f"{each}\n" for each in classes))
    with whole_file(target / "metrics.csv") as aside:
        aside.write_bytes(run.metrics.read_bytes())
    facts = {**result, "data": title or result["data"], "last": run.history().rows[-1]}
    write_json(target / "result.json", facts)
    _write_checksums(folder)
    return target


def _write_checksums(folder: Path) -> None:
    """Write the checksums of all files: the digits' last, then by network, AFF's before those of other fusions."""
    names = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
    networks = list(NETWORKS)
    names.sort(
        key=lambda name: (
            name.endswith("_digits"),
            next(number for number, network in enumerate(networks) if f"_{network}_" in f"_{name}_"),
            not name.startswith("aff_"),
        )
    )
    files = [f"{name}/{file}" for name in names for file in (FILE, *BESIDE)]
    lines = [f"{hashlib.sha256((folder / file).read_bytes()).hexdigest()}  {file}\n" for file in files]
    write_text(folder / SUMS, "".join(lines))


def _run(words: Optional[Sequence[str]]) -> int:
    parser = argparse.ArgumentParser(prog="python -m fusion.deploy.keep", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("name", metavar="NAME", help="such as aff_resnet8_cifar10")
    parser.add_argument("--title", help="a name for the data set, if it was a folder")
    arguments = parser.parse_args(words)
    print(keep(arguments.run, arguments.name, arguments.title))
    print(f"now describe it in {pretrained.FOLDER / 'README.md'}")
    return 0


main = reported(_run)

if __name__ == "__main__":
    sys.exit(main(None))
