"""Networks by name: the families, and the models of the paper's tables with plain addition beside them.

Source: "Attentional Feature Fusion", arXiv 2009.14082, tables 3 to 5.
"""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional, Sequence, Tuple, Type, Union, overload

from ..compat import mx
from ..errors import CheckpointError, nearest
from ..fuse import find_fusion
from ..lookup import matching
from .cifar_inception import CIFARInception
from .cifar_resnet import CIFARResNet
from .cifar_resnext import CIFARResNeXt
from .feature_maps import FeatureMaps
from .fpn import FPN
from .network import Network, count_classes
from .parameter_file import read_parameters
from .patterns import CLASSIFIER, names_matching
from .pretrained import data_of, find_weights, list_pretrained, network_in_name
from .resnet import ResNet
from .resnext import ResNeXt
from .unet import UNet

logger = logging.getLogger("fusion")

FAMILIES: Dict[str, Type[Network]] = {
    "cifar_resnet": CIFARResNet,
    "cifar_resnext": CIFARResNeXt,
    "cifar_inception": CIFARInception,
    "resnet": ResNet,
    "resnext": ResNeXt,
    "fpn": FPN,
    "unet": UNet,
}

#: The family and size of a named model, by the end of its name. The beginning of the name is its fusion.
_SIZES: Dict[str, Tuple[str, Dict[str, int]]] = {
    "resnet32": ("cifar_resnet", {"blocks": 5, "channel_times": 4}),
    "resnext38_32x4d": ("cifar_resnext", {"blocks": 4, "channel_times": 4}),
    "resnext47_32x4d": ("cifar_resnext", {"blocks": 5, "channel_times": 4}),
    "inception20": ("cifar_inception", {"blocks": 3, "channel_times": 1}),
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

# The small networks whose weights come with the package. A name says with which fusion and on which data set.
for _name in list_pretrained():
    _found = network_in_name(_name)
    if _found is not None:
        MODELS[_name] = _found

#: Arguments that change nothing in the functions that a network can represent.
_STARTING_POINTS = ("last_gamma", "final_drop", "classes")


def family_of(name: str) -> Tuple[str, Dict[str, Any]]:
    """The family behind a name, and the keyword arguments that a named model sets.

    Raises
    ------
    ValueError
        If there is no such model; the message names the closest ones.
    """
    if name in FAMILIES:
        return name, {}
    if name in MODELS:
        family, arguments = MODELS[name]
        return family, dict(arguments)
    raise ValueError(f"no such model {name!r}, {nearest(name, [*FAMILIES, *MODELS])}")


def model_arguments(name: str) -> Dict[str, Any]:
    """The keyword arguments of a family or named model, with their defaults."""
    family, preset = family_of(name)
    parameters = inspect.signature(FAMILIES[family]).parameters.values()
    return {p.name: preset.get(p.name, p.default) for p in parameters if p.kind is not p.VAR_KEYWORD}


def network_identity(name: str, keywords: Mapping[str, Any]) -> Dict[str, Any]:
    """The family and arguments of a network, which are the same whichever of its names and aliases it is given."""
    arguments = {**model_arguments(name), **keywords}
    arguments["fusion"] = find_fusion(arguments["fusion"]).__name__
    kept = {key: value for key, value in arguments.items() if key not in (*_STARTING_POINTS, "outputs", "name")}
    return {"family": family_of(name)[0], **kept}


@overload
def get_model(
    name: str,
    pretrained: Union[bool, str, Path] = ...,
    ctx: Any = ...,
    *,
    features_only: Literal[False] = ...,
    **kwargs: Any,
) -> Network: ...


@overload
def get_model(
    name: str,
    pretrained: Union[bool, str, Path] = ...,
    ctx: Any = ...,
    *,
    features_only: Literal[True],
    out_stages: Optional[Sequence[int]] = ...,
    **kwargs: Any,
) -> FeatureMaps: ...


def get_model(
    name: str,
    pretrained: Union[bool, str, Path] = False,
    ctx: Any = None,
    *,
    features_only: bool = False,
    out_stages: Optional[Sequence[int]] = None,
    **kwargs: Any,
) -> Union[Network, FeatureMaps]:
    """Make a network by family or by name.

    Parameters
    ----------
    name : str
        A family (`cifar_resnet`, `cifar_resnext`, `cifar_inception`, `resnet`, `resnext`, `fpn`, `unet`) or a model of
        `list_models()`.
    pretrained : bool, str or Path, default False
        True loads the weights that come with the package, for a name of `list_pretrained()` or for the same network
        under its family's name. If there are weights from several data sets, those from CIFAR-10 are loaded; the name
        of another data set, such as 'digits', selects its weights. Anything else is the path of a `.params` file of
        this package or of the original program.
    ctx : Context or list of Context, optional
        The devices for pretrained weights.
    features_only : bool, default False
        Give the maps of the network's stages in place of its answer: `network.features_only(out_stages)`.
    out_stages : sequence of int, optional
        With `features_only`, the stages whose maps are given, from 1; all by default.
    **kwargs
        Arguments of the family (see its class), which replace those that the named model sets: `fusion`, `classes`,
        `start_layer`, `norm`, ...; and Gluon's `prefix` and `params`. With a file, `classes` is by default the number
        of classes in the file; with another number, the last layer is initialised for it and the rest is loaded.

    Returns
    -------
    Network or FeatureMaps
        Not initialised unless pretrained: call `initialize()`, which knows the family's initialiser, or
        `load_parameters(file)`.

    Raises
    ------
    ValueError
        If the name or an argument is unknown or impossible; the message names it and what was expected. It is a
        `CheckpointError` if there are no such weights, or they do not fit.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> net = fusion.get_model("aff_resnet32", classes=10)
    >>> net.initialize()
    >>> trained = fusion.get_model("aff_resnet8_cifar10", pretrained=True)
    >>> trained(mx.nd.zeros((1, 3, 32, 32))).shape
    (1, 10)
    >>> maps = fusion.get_model("aff_resnet50", features_only=True, out_stages=(2, 3, 4))
    >>> maps.channels, maps.strides
    ((512, 1024, 2048), (8, 16, 32))
    """
    if out_stages is not None and not features_only:
        raise ValueError(f"out_stages={out_stages!r}: only features_only=True gives maps of stages")
    net = _network(name, pretrained, ctx, kwargs)
    return net.features_only(out_stages) if features_only else net


def _network(name: str, pretrained: Union[bool, str, Path], ctx: Any, kwargs: Mapping[str, Any]) -> Network:
    """The whole network that `get_model` makes."""
    known = model_arguments(name)
    unknown = sorted(set(kwargs) - set(known) - {"prefix", "params"})
    if unknown:
        raise ValueError(f"{name} has no parameter {unknown[0]!r}: {nearest(unknown[0], known)}")
    family, preset = family_of(name)
    if pretrained is False:
        return _made(family, {**preset, **kwargs})
    file = _weights_file(name, kwargs, pretrained)
    stored = read_parameters(str(file))
    outputs = count_classes(stored, FAMILIES[family].classifier)
    net = _made(family, {**preset, "classes": outputs, **kwargs})
    if net.classes != outputs:
        stored = {**stored, **_fresh_classifier(net, outputs)}
    net.take_parameters(stored, str(file), ctx, cast_dtype=True)  # the published ImageNet files are float16
    return net


def _fresh_classifier(net: Network, outputs: int) -> Dict[str, Any]:
    """The layer that makes the logits as it is initialised, where the weights are of another number of classes."""
    logger.info(
        "%s is fresh: the weights are of %d classes, and the network has %d", net.classifier, outputs, net.classes
    )
    own, arrays = net._collect_params_with_prefix(), {}
    for name in names_matching(net, [CLASSIFIER]):
        own[name].initialize(default_init=net.default_initializer(), ctx=mx.cpu())
        arrays[name] = own[name].data().asnumpy()
    return arrays


def _made(family: str, keywords: Mapping[str, Any]) -> Network:
    """A network of a family, which knows what it was made of."""
    net = FAMILIES[family](**keywords)
    own = {key: value for key, value in keywords.items() if key not in ("prefix", "params")}
    net.made_of = family, {**model_arguments(family), **own}
    return net


def classifier_of(name: str) -> str:
    """The structural name of the layer that makes the logits of a model.

    Raises
    ------
    ValueError
        If no model has that name.
    """
    return FAMILIES[family_of(name)[0]].classifier


def _weights_file(name: str, keywords: Mapping[str, Any], pretrained: Union[bool, str, Path]) -> Path:
    """The file that the argument `pretrained` names."""
    stored = list_pretrained()
    if pretrained is not True and str(pretrained) not in map(data_of, stored):
        return Path(str(pretrained)).expanduser()
    identity = network_identity(name, {key: keywords[key] for key in keywords if key not in ("prefix", "params")})
    fitting = [
        known for known in stored if network_identity(known, {}) == identity and pretrained in (True, data_of(known))
    ]
    if not fitting:
        asked = "" if pretrained is True else f" from {pretrained}"
        raise CheckpointError(
            f"no weights of this {name}{asked} come with the package; expected a .params file, pretrained=PATH, or one "
            f"of the models that have them: {', '.join(stored)}"
        )
    return find_weights(name if name in fitting else fitting[0]).file


def list_models(pattern: Optional[str] = None, pretrained: bool = False) -> List[str]:
    """The named models: the sizes of each family with addition, AFF and iAFF, and those of `list_pretrained()`.

    Parameters
    ----------
    pattern : str, optional
        A shell pattern, such as "aff_*": `*` is for any letters, `?` for one. By default, all.
    pretrained : bool, default False
        Only those whose weights come with the package.

    Raises
    ------
    FusionError
        If there is none that the pattern matches; the message has the nearest names.

    Examples
    --------
    >>> import fusion
    >>> fusion.list_models("aff_*", pretrained=True)
    ['aff_resnet8_cifar10', 'aff_inception8_cifar10', 'aff_fpn8_sirst', 'aff_resnet8_digits']
    """
    weights = list_pretrained()
    if not pretrained:
        return matching(pattern, MODELS, "models")
    return matching(pattern, [name for name in MODELS if name in weights], "models with weights in the package")
