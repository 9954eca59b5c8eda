"""Networks by name: the four families, and the models of the paper's tables with plain addition beside them.

Source: "Attentional Feature Fusion", arXiv 2009.14082, tables 3 to 5.
"""

from __future__ import annotations

import inspect
from typing import Any, Dict, List, Tuple, Type

from ..errors import nearest
from .cifar_resnet import CIFARResNet
from .cifar_resnext import CIFARResNeXt
from .network import Network
from .resnet import ResNet
from .resnext import ResNeXt

FAMILIES: Dict[str, Type[Network]] = {
    "cifar_resnet": CIFARResNet,
    "cifar_resnext": CIFARResNeXt,
    "resnet": ResNet,
    "resnext": ResNeXt,
}

#: Suffix of a named model: its family and size. The prefix, or none, is its fusion.
_SIZES: Dict[str, Tuple[str, Dict[str, int]]] = {
    "resnet32": ("cifar_resnet", {"blocks": 5, "channel_times": 4}),
    "resnext38_32x4d": ("cifar_resnext", {"blocks": 4, "channel_times": 4}),
    "resnext47_32x4d": ("cifar_resnext", {"blocks": 5, "channel_times": 4}),
    "resnet50": ("resnet", {"layers": 50}),
    "resnet101": ("resnet", {"layers": 101}),
    "resnext50_32x4d": ("resnext", {"layers": 50}),
    "resnext101_32x4d": ("resnext", {"layers": 101}),
}
_PREFIXES = {"": "add", "aff_": "aff", "iaff_": "iaff"}

MODELS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    prefix + size: (family, {**arguments, "fusion": fusion})
    for size, (family, arguments) in _SIZES.items()
    for prefix, fusion in _PREFIXES.items()
}


def family_of(name: str) -> Tuple[str, Dict[str, Any]]:
    """The family behind a name, and the keyword arguments that a named model sets.

    Raises
    ------
    ValueError
        If nothing has that name; the closest ones are named.
    """
    if name in FAMILIES:
        return name, {}
    if name in MODELS:
        family, arguments = MODELS[name]
        return family, dict(arguments)
    raise ValueError(f"no model is named {name!r}: {nearest(str(name), [*FAMILIES, *MODELS])}")


def model_arguments(name: str) -> Dict[str, Any]:
    """The keyword arguments of a family or named model, with their defaults."""
    family, preset = family_of(name)
    parameters = inspect.signature(FAMILIES[family]).parameters.values()
    return {p.name: preset.get(p.name, p.default) for p in parameters if p.kind is not p.VAR_KEYWORD}


def get_model(name: str, **kwargs: Any) -> Network:
    """Make a network by family or by name.

    Parameters
    ----------
    name : str
        A family (`cifar_resnet`, `cifar_resnext`, `resnet`, `resnext`) or a named model of `list_models()`.
    **kwargs
        What the family takes (see its class), over what the named model sets: `fusion`, `classes`, `start_layer`,
        `norm`, ...; and Gluon's `prefix` and `params`.

    Returns
    -------
    Network
        Not initialised: call `initialize()`, which knows the family's initialiser, or `load_parameters(file)`.

    Raises
    ------
    ValueError
        If the name or an argument is unknown or impossible, naming it and what was expected.

    Examples
    --------
    >>> net = get_model("aff_resnet32", classes=10)
    """
    known = model_arguments(name)
    unknown = sorted(set(kwargs) - set(known) - {"prefix", "params"})
    if unknown:
        raise ValueError(f"{name} has no parameter {unknown[0]!r}: {nearest(unknown[0], known)}")
    family, preset = family_of(name)
    return FAMILIES[family](**{**preset, **kwargs})


def list_models() -> List[str]:
    """The named models: each family's sizes with plain addition, AFF and iAFF."""
    return list(MODELS)
