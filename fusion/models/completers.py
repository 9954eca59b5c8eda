"""What words of a command line may become: names of models and of fusion blocks.

`fusion.completion` uses them, in a process in which nothing can be computed.
"""

from __future__ import annotations

from typing import Dict, List

from ..completion import Completer
from ..fuse import fusion_aliases
from .zoo import FAMILIES, MODELS
from .zoo import model_arguments as arguments_of


def models(written: str = "") -> List[str]:
    """The families and the named models."""
    return [*FAMILIES, *MODELS]


def fusions(written: str = "") -> List[str]:
    """The blocks by alias and by class."""
    return [name for block, aliases in fusion_aliases().items() for name in (*aliases, block)]


def several_fusions(written: str) -> List[str]:
    """Blocks with commas between them, of which the last is being written; or all of them."""
    before, comma, _ = written.rpartition(",")
    return [f"{before}{comma}{name}" for name in [*fusions(), *([] if comma else ["all"])]]


def model_arguments(written: str) -> List[str]:
    """The arguments of models, such as `fusion=aff`; those of other values up to the equals sign."""
    if written.startswith("fusion="):
        return [f"fusion={name}" for name in fusions()]
    return [f"{key}=" for key in dict.fromkeys(key for family in FAMILIES for key in arguments_of(family))]


#: What arguments of commands may be, by their `dest`.
COMPLETERS: Dict[str, Completer] = {
    "model": models,
    "models": models,
    "pattern": models,
    "against": fusions,
    "fusions": several_fusions,
    "arguments": model_arguments,
}
