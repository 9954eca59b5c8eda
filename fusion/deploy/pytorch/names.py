"""The parameters of a network by the names that its PyTorch module has for them, and back.

A name is the structural one of the Gluon network. Only its last word differs: a norm's `gamma` is PyTorch's `weight`
and its `beta` is `bias`. The norm of the images has neither in PyTorch, where Gluon keeps a scale of 1 and a shift of
0; and PyTorch counts the batches that a batch norm has seen, in `num_batches_tracked`, which Gluon does not.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Set

import numpy as np

from ...errors import ExportError

_WORDS = {"gamma": "weight", "beta": "bias"}

#: PyTorch's count of batches, of which nothing depends where a batch norm has a momentum.
_COUNTER = "num_batches_tracked"

#: The running statistics, of which each batch norm has two.
_STATISTICS = "running_var"

Arrays = Dict[str, np.ndarray]


def torch_name(name: str) -> str:
    """The name of a Gluon parameter in PyTorch."""
    layer, _, word = name.rpartition(".")
    return f"{layer}.{_WORDS.get(word, word)}"


def fixed_layers(net: Any) -> Set[str]:
    """The structural names of the norms that have no scale and shift to learn."""
    return {
        name.rpartition(".")[0]
        for name, parameter in net._collect_params_with_prefix().items()
        if name.endswith(".gamma") and parameter.lr_mult == 0
    }


def _is_fixed(name: str, fixed: Set[str]) -> bool:
    layer, _, word = name.rpartition(".")
    return word in _WORDS and layer in fixed


def to_torch(net: Any) -> Arrays:
    """The state dict of a network's PyTorch module.

    Raises
    ------
    ExportError
        If the norm of the images, which has no shift in PyTorch, has one here.
    """
    fixed = fixed_layers(net)
    state: Arrays = {}
    for name, parameter in net._collect_params_with_prefix().items():
        array = parameter._reduce().asnumpy()
        if not _is_fixed(name, fixed):
            state[torch_name(name)] = array
        elif name.endswith(".beta") and array.any():
            raise ExportError(f"{name}: the norm of the images has a shift, which no network of this package learns")
        if name.endswith(_STATISTICS):
            state[f"{name[: -len(_STATISTICS)]}{_COUNTER}"] = np.zeros((), np.int64)
    return state


def from_torch(net: Any, state: Mapping[str, np.ndarray]) -> Arrays:
    """A state dict by Gluon's names. Names that the network has not stay as they are.

    Parameters
    ----------
    net : Network
        Whose state it may be.
    state : mapping of str to ndarray
        By PyTorch's names.
    """
    fixed = fixed_layers(net)
    own = net._collect_params_with_prefix()
    gluon_names = {torch_name(name): name for name in own if not _is_fixed(name, fixed)}
    arrays: Arrays = {
        gluon_names.get(name, name): array for name, array in state.items() if not name.endswith(f".{_COUNTER}")
    }
    for layer in fixed:
        like = own[f"{layer}.gamma"]
        arrays[f"{layer}.gamma"] = np.ones(like.shape, like.dtype)
        arrays[f"{layer}.beta"] = np.zeros(like.shape, like.dtype)
    return arrays
