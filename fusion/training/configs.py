"""Finds the experiments that come with the package, such as `quickstart`, from any folder.

They are the files of configs/ and of its folders, such as configs/segmentation/, but for those in configs/base/: in a
checkout these lie beside the package, and an installed package has a copy in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Union

from ..errors import ConfigError, nearest

_PACKAGE = Path(__file__).resolve().parents[1]

#: Where configs/ can be: beside the package, in a checkout; in it, where it was installed.
_PLACES = (_PACKAGE.parent / "configs", _PACKAGE / "configs")

#: The folder of what experiments inherit from.
_BASE = "base"

#: What the name of a config's file ends with.
_SUFFIX = ".yaml"

#: What `--config` takes, for the help of every command that has it.
WHAT_IT_TAKES = "a YAML file, or the name of a config that comes with the package, such as quickstart"


def packaged_configs() -> Dict[str, Path]:
    """The file of each packaged experiment, by its name, such as `quickstart`."""
    for place in _PLACES:
        files = sorted(place.rglob(f"*{_SUFFIX}"))
        found = {path.stem: path for path in files if path.parent != place / _BASE}
        if "quickstart" in found:  # another program's folder of this name may lie beside an installed package
            return found
    return {}


def packaged_config(name: str) -> Path:
    """The file of a packaged experiment.

    Parameters
    ----------
    name : str
        Such as `quickstart`, or `base/cifar` for what several of them inherit from; `configs/` or
        `configs/segmentation/` before it and `.yaml` behind it may be left out.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ConfigError
        If there is none of that name; the nearest ones are named.

    Examples
    --------
    >>> packaged_config("quickstart").name
    'quickstart.yaml'
    """
    known = packaged_configs()
    if not known:
        raise ConfigError(f"{name}: cannot read this config: the configs that come with the package are missing")
    wanted, folder = Path(_without_ends(name)), known["quickstart"].parent
    file = known.get(wanted.name)
    if file is not None and wanted.parent in (Path(), file.parent.relative_to(folder)):
        return file
    if wanted.parent == Path(_BASE) and (folder / _BASE / f"{wanted.name}{_SUFFIX}").is_file():
        return folder / _BASE / f"{wanted.name}{_SUFFIX}"
    hint = nearest(wanted.name, known)
    shown = name if name.isprintable() else repr(name)
    raise ConfigError(
        f"{shown}: cannot read this config: no such file, nor a config of the package by that name; {hint}"
    )


def find_config(word: Union[str, Path], folder: Path = Path()) -> Path:
    """The file that `--config`, or `base:` in a config, names.

    Parameters
    ----------
    word : str or Path
        A file that exists; otherwise the name of a packaged experiment, such as `quickstart`, `quickstart.yaml` or
        `configs/quickstart.yaml`.
    folder : Path, optional
        Where a relative path starts; by default, the current folder.

    Raises
    ------
    ConfigError
        If it is neither; the nearest names are in the message.

    Examples
    --------
    >>> find_config("configs/segmentation/sirst_small.yaml").name
    'sirst_small.yaml'
    """
    path = folder / word
    is_folder = path.is_dir()
    if path.exists() and not is_folder:  # not is_file: what a shell makes of <(...) is a pipe
        return path
    try:
        return packaged_config(str(word))
    except ConfigError:
        if is_folder:
            raise ConfigError(f"{path}: cannot read this config: it is a folder; expected a YAML file") from None
        raise


def _without_ends(name: str) -> str:
    """A name without `configs/` before it and `.yaml` behind it."""
    name = name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) else name
    return name[len("configs/") :] if name.startswith("configs/") else name
