"""Which files of a kind are changed, and how: an input is a function of a seed, its kind and its number.

Nothing here imports MXNet: whoever watches a process that reads can make the input again that ended it.
"""

from __future__ import annotations

import random
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

from .formats import bend_graph, bend_jpeg, bend_npz, bend_png, bend_tar, bend_tar_gz
from .mutations import Change, bend_bytes, bend_json, bend_text, bend_twice, one_of

#: The nine kinds, and which files of their samples are changed.
KINDS: Dict[str, Tuple[str, ...]] = {
    "parameters": ("*.params",),
    "graphs": ("*-symbol.json", "*-symbol.json", "*.params"),
    "checkpoints": ("*.npz",),
    "records": ("*.rec", "*.rec", "*.idx"),
    "photos": ("*.JPEG", "*.jpg", "*.png", "*.webp", "*.bmp", "*.gif", "*.tif"),
    "archives": ("*.tar", "*.tar.gz", "*.bin"),
    "yaml": ("*.yaml", "*.words"),
    "runs": ("*.yaml", "*.json", "*.csv", "*.txt"),
    "lists": ("*.txt", "*.csv", "*.json"),
}

#: How a file is changed, by the first pattern that its name fits; others are changed as bytes.
_CHANGES: Tuple[Tuple[str, Change], ...] = (
    ("*-symbol.json", one_of(bend_graph, bend_graph, bend_graph, bend_text)),
    ("*.json", one_of(bend_json, bend_json, bend_json, bend_text)),
    ("*.npz", one_of(bend_npz, bend_npz, bend_npz, bend_bytes)),
    ("*.png", one_of(bend_png, bend_png, bend_bytes)),
    ("*.jpg", one_of(bend_jpeg, bend_jpeg, bend_bytes)),
    ("*.JPEG", one_of(bend_jpeg, bend_jpeg, bend_bytes)),
    ("*.tar.gz", bend_tar_gz),
    ("*.tar", bend_tar),
    *((f"*.{suffix}", bend_text) for suffix in ("yaml", "words", "csv", "txt", "idx")),
)


class Input(NamedTuple):
    """A sample of which one file is changed.

    Attributes
    ----------
    kind, sample : str
        Which valid files.
    file : str
        The changed one, by its path within the sample.
    content : bytes
        What it has now.
    """

    kind: str
    sample: str
    file: str
    content: bytes


def make_input(originals: Path, seed: int, kind: str, number: int) -> Input:
    """The input of a number.

    Parameters
    ----------
    originals : Path
        Holds a folder for each kind with one for each sample, as `samples.write_samples` makes them.
    seed, number : int
        Of the campaign, and of the input among those of its kind.
    kind : str
        One of `KINDS`.
    """
    draw = random.Random(f"{seed} {kind} {number}")
    samples = _changeable(originals, kind)
    sample = draw.choice(sorted(samples))
    pattern = draw.choice([each for each in KINDS[kind] if any(fnmatch(file, each) for file in samples[sample])])
    file = draw.choice([file for file in samples[sample] if fnmatch(file, pattern)])
    content = (originals / kind / sample / file).read_bytes()
    return Input(kind, sample, file, bend_twice(draw, content, _change_of(file)))


def _change_of(file: str) -> Change:
    return next((change for pattern, change in _CHANGES if fnmatch(file, pattern)), bend_bytes)


@lru_cache(maxsize=None)
def _changeable(originals: Path, kind: str) -> Dict[str, List[str]]:
    """The files of each sample that are changed, sorted."""
    found = {}
    for sample in (originals / kind).iterdir():
        files = sorted(str(path.relative_to(sample)) for path in sample.rglob("*") if path.is_file())
        found[sample.name] = [file for file in files if any(fnmatch(file, pattern) for pattern in KINDS[kind])]
    return found


# --- Inputs that are kept --------------------------------------------------------------------------------------------

_AT, _SLASH = "@", "+"


def kept_name(input_: Input, what: str) -> Path:
    """Where an input is kept, within the folder of all that are: by what was wrong, and which file it is."""
    return Path(input_.kind) / input_.sample / f"{what}{_AT}{input_.file.replace('/', _SLASH)}"


def read_kept(path: Path) -> Input:
    """An input that was kept."""
    kind, sample, name = path.parts[-3:]
    return Input(kind, sample, name.split(_AT, 1)[1].replace(_SLASH, "/"), path.read_bytes())
