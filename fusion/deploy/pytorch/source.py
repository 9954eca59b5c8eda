"""`model.py`: the modules that one network needs, put together of the sources in `modules`."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Mapping, Set, Tuple

#: The sources, each after those that it needs at its top.
_FILES = (
    *("layers", "contexts", "combinations", "fusions", "gates", "several", "cifar", "imagenet", "dense", "pixels"),
)

_MODULES = Path(__file__).parent / "modules"

#: What a source may take from torch: the name in it, and the line that brings it.
_IMPORTS = {
    "torch": "import torch",
    "Tensor": "from torch import Tensor",
    "nn": "from torch import nn",
    "F": "from torch.nn import functional as F",
}

_INDENT = "    "


class Name(str):
    """The name of a module or a function in `model.py`, as an argument."""


@dataclass(frozen=True)
class Call:
    """A call in `model.py`.

    Attributes
    ----------
    name : str
        Of the class that is called.
    arguments : dict
        By their names; each is a `Name`, a `Call`, a plain value, or a tuple of these.
    slots : dict of str to str
        What stands in the place of the names of `modules.slots`, for the class that is called and for all that it uses.
    """

    name: str
    arguments: Mapping[str, Any]
    slots: Mapping[str, str] = field(default_factory=dict)


def written(value: Any, indent: str = "") -> str:
    """An argument, or a call, as a source."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, tuple):
        inside = ", ".join(written(one, indent) for one in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if not isinstance(value, Call):
        return repr(value)
    inner = indent + _INDENT
    lines = [f"{inner}{name}={written(one, inner)},\n" for name, one in value.arguments.items()]
    return f"{value.name}(\n{''.join(lines)}{indent})"


def assemble(call: Call, about: str) -> str:
    """The text of `model.py`.

    Parameters
    ----------
    call : Call
        What builds the network.
    about : str
        The file's own docstring, without quotes.
    """
    built = f'def build() -> {call.name}:\n{_INDENT}"""The exported network, without its weights."""\n'
    built += f"{_INDENT}return {written(call, _INDENT)}"
    parts = [*_needed(built, call.slots), built]
    used = set().union(*(_names(part) for part in parts))
    imports = [line for name, line in _IMPORTS.items() if name in used]
    if {"Tensor", "nn"} <= used:
        imports = [line for line in imports if line != _IMPORTS["Tensor"]]
        imports[imports.index(_IMPORTS["nn"])] = "from torch import Tensor, nn"
    head = f'"""{about.strip()}\n"""\n\n' + "\n".join(imports)
    return "\n\n\n".join([head, *parts]) + "\n"


def _needed(built: str, slots: Mapping[str, str]) -> List[str]:
    """The sources of all that a source uses, in an order in which Python can read them."""
    known = {name: _filled(text, slots) for name, text in _definitions().items()}
    wanted: Set[str] = set()
    open_names = _names(built) & set(known)
    while open_names:
        wanted |= open_names
        open_names = set().union(*(_names(known[name]) for name in open_names)) & set(known) - wanted
    return [text for name, text in known.items() if name in wanted]


def _filled(text: str, slots: Mapping[str, str]) -> str:
    """A source with what an export fills in."""
    return re.sub(rf"\b({'|'.join(slots)})\b", lambda match: slots[match[1]], text) if slots else text


@lru_cache(maxsize=None)
def _definitions() -> Dict[str, str]:
    """The source of each class and function of `modules`, by its name."""
    found: Dict[str, str] = {}
    for name in _FILES:
        text = (_MODULES / f"{name}.py").read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found[node.name] = ast.get_source_segment(text, node) or ""
    return found


@lru_cache(maxsize=None)
def _names(text: str) -> Set[str]:
    """The names that a source reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def modules_of(text: str) -> Tuple[str, ...]:
    """The classes and functions that a source defines."""
    return tuple(node.name for node in ast.parse(text).body if isinstance(node, (ast.ClassDef, ast.FunctionDef)))
