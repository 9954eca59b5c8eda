"""What the reference consists of: the modules of the package by rooms, and how their docstrings are made fit for it."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, List

import fusion

PACKAGE = Path(fusion.__file__).parent

#: The files beside the folders of the package that make the blocks, in the order in which one meets them.
BLOCKS = (
    "fuse",
    "attention",
    "long_skip",
    "several",
    "attentional",
    "branches",
    "combination",
    "features",
    "operators",
    "norms",
)

#: The room of all other files beside the folders.
FOUNDATIONS = "foundations"

#: Modules that nobody imports by name: they only pass a command on, or belong to a process of PyTorch.
_NOT_IMPORTED = ("fusion.__main__", "fusion.launch", "fusion.training.__main__", "fusion.deploy.pytorch.program")

#: What an export for PyTorch is made of; these modules import PyTorch.
_PARTS_OF_EXPORTS = "fusion.deploy.pytorch.modules"

#: What goes into a block and comes out, which Gluon's docstrings have without a line below the title.
_GLUONS = re.compile(r"^(Inputs|Outputs)\n(?=    )", re.MULTILINE)

_INDENTED = re.compile(r"(?<=\n)(?<!::\n)\n(?=    \S)")


def all_modules() -> List[str]:
    """The modules of the package that a program can import, by name."""
    files = sorted(PACKAGE.rglob("*.py"))
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    names = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return [name for name in names if name not in _NOT_IMPORTED and not f"{name}.".startswith(f"{_PARTS_OF_EXPORTS}.")]


def room_of(module: str) -> str:
    """The room of a module, which is a page of the reference; empty for the package itself."""
    first = module.split(".")[1:2]
    if not first:
        return ""
    if first[0] in BLOCKS:
        return "blocks"
    return first[0] if (PACKAGE / first[0]).is_dir() else FOUNDATIONS


def modules_by_room() -> Dict[str, List[str]]:
    """The modules of each room."""
    found: Dict[str, List[str]] = {}
    for module in all_modules():
        found.setdefault(room_of(module), []).append(module)
    del found[""]
    found["blocks"].sort(key=lambda module: BLOCKS.index(module.split(".")[1]))
    return found


def entry_points() -> Dict[str, Any]:
    """What `import fusion` gives, by name."""
    return {name: getattr(fusion, name) for name in fusion.__all__}


def public_classes() -> Dict[str, List[str]]:
    """The modules of the public classes, by the names of these."""
    found: Dict[str, List[str]] = {}
    for module in all_modules():
        for name, value in vars(import_module(module)).items():
            if isinstance(value, type) and value.__module__ == module and not name.startswith("_"):
                found.setdefault(name, []).append(module)
    return found


def with_blocks(docstring: str) -> str:
    """The docstring of a module with its indented lines marked to be shown as they are, where they are not already.

    They are commands, trees of files, or tables; reStructuredText would fill them as a quotation.
    """
    return _INDENTED.sub("\n::\n\n", docstring)


def with_sections(docstring: str) -> str:
    """A docstring whose Inputs and Outputs, as Gluon writes them, are sections as NumPy writes them."""
    return _GLUONS.sub(lambda title: f"\n{title.group(1)}\n{'-' * len(title.group(1))}\n", docstring)
