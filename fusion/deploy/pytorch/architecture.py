"""Which modules of PyTorch make up a network of this package, and the arguments that build it."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Tuple, Type

from ...errors import ExportError
from ...fuse import Concat, DirectAdd, find_fusion
from ...models.cifar_resnet import WIDTHS
from ...models.cifar_resnext import FIRST_WIDTH, STAGES
from ...models.encoder import WIDTHS as BASIC_WIDTHS
from ...models.resnet import BLOCKS, STAGE_WIDTHS
from ...several import selects, total_of_shares
from .source import Call, Name

#: The modules of `norm`, of which batch norm is exchanged with the rest of the network's.
_CONTEXT_NORMS = {
    "batch": "BatchNorm",
    "group": "GroupNorm",
    "layer": "LayerNorm",
    "none": "nn.Identity",
}

#: The modules of `model.norm_layer`.
_NORM_LAYERS = {"batch": "BatchNorm", "group": "GroupNorm"}

Arguments = Mapping[str, Any]


def architecture(net: Any) -> Call:
    """The call that builds a network in PyTorch.

    Parameters
    ----------
    net : Network
        As `fusion.get_model` made it.

    Raises
    ------
    ExportError
        If the network was made in another way, so that its arguments are not known.
    """
    if net.made_of is None:
        raise ExportError(
            f"{type(net).__name__}: the arguments of this network are not known; expected one that get_model has made"
        )
    family, arguments = net.made_of
    call = _FAMILIES[family](net, arguments) if net.dense else _classifier(family, arguments, net.norm_layer)
    return Call(call.name, call.arguments, {"Norm": _NORM_LAYERS[net.norm_layer], **call.slots})


def _classifier(family: str, arguments: Arguments, norm_layer: str) -> Call:
    own = _FAMILIES[family](arguments)
    common = {"drop": float(arguments["final_drop"]), **_of_blocks(arguments, norm_layer)}
    return Call(own.name, {**own.arguments, "classes": arguments["classes"], **common})


def _of_blocks(arguments: Arguments, norm_layer: str) -> Dict[str, Any]:
    """What every fusion block is made with."""
    norm = arguments["norm"]
    grouped = norm == "batch" and norm_layer == "group"
    return {"r": arguments["r"], "norm": Name(_CONTEXT_NORMS["group" if grouped else norm])}


def _fusions(arguments: Arguments, stages: int) -> Tuple[Name, ...]:
    """The class of each stage's fusion blocks."""
    own = find_fusion(arguments["fusion"]).__name__
    first = arguments["start_layer"]
    return tuple(Name(own if stage >= first else DirectAdd.__name__) for stage in range(1, stages + 1))


# --- Classifiers -----------------------------------------------------------------------------------------------------


def _cifar_resnet(arguments: Arguments) -> Call:
    widths = tuple(width * arguments["channel_times"] for width in WIDTHS)
    return Call(
        "CIFARResNet",
        {
            "fusions": _fusions(arguments, len(widths) - 1),
            "blocks": arguments["blocks"],
            "widths": widths,
            "deep_stem": bool(arguments["deep_stem"]),
            "avg_down": bool(arguments["avg_down"]),
        },
    )


def _cifar_inception(arguments: Arguments) -> Call:
    widths = tuple(width * arguments["channel_times"] for width in WIDTHS)
    fusions = _fusions(arguments, len(widths) - 1)
    return Call(
        "CIFARInception",
        {
            "fusions": tuple((fusion, fusion != DirectAdd.__name__) for fusion in fusions),
            "blocks": arguments["blocks"],
            "widths": widths,
            "as_released": bool(arguments["as_released"]),
        },
    )


def _squeeze(arguments: Arguments) -> Any:
    return Name("SqueezeExcite") if arguments["use_se"] else None


def _cifar_resnext(arguments: Arguments) -> Call:
    return Call(
        "CIFARResNeXt",
        {
            "fusions": _fusions(arguments, STAGES),
            "blocks": arguments["blocks"],
            "width": FIRST_WIDTH * arguments["channel_times"],
            "groups": (arguments["cardinality"], arguments["bottleneck_width"]),
            "squeeze": _squeeze(arguments),
            "shortcut": Name("pooled_shortcut"),
            "deep_stem": bool(arguments["deep_stem"]),
        },
    )


def _resnext(arguments: Arguments) -> Call:
    stages = len(STAGE_WIDTHS)
    pooled, strided = Name("pooled_shortcut"), Name("strided_shortcut")
    later = pooled if arguments["avg_down"] else strided
    return Call(
        "ResNeXt",
        {
            "fusions": _fusions(arguments, stages),
            "blocks": BLOCKS[arguments["layers"]],
            "shortcuts": (strided, *(later,) * (stages - 1)),
            "groups": (arguments["cardinality"], arguments["bottleneck_width"]),
            "squeeze": _squeeze(arguments),
            "deep_stem": bool(arguments["deep_stem"]),
        },
    )


def _resnet(arguments: Arguments) -> Call:
    return Call(
        "ResNet",
        {
            "fusions": _fusions(arguments, len(STAGE_WIDTHS)),
            "blocks": BLOCKS[arguments["layers"]],
            "shortcut": Name("pooled_shortcut" if arguments["avg_down"] else "strided_shortcut"),
            "deep_stem": bool(arguments["deep_stem"]),
            "dilated": bool(arguments["dilated"]),
        },
    )


# --- Networks with an answer per pixel -------------------------------------------------------------------------------


def _encoder(net: Any, arguments: Arguments) -> Tuple[str, Dict[str, Any]]:
    """The class of an encoder, and its arguments."""
    encoder = net.pyramid.encoder
    if arguments["encoder"] == "basic":
        widths = tuple(width * arguments["channel_times"] for width in BASIC_WIDTHS[: arguments["stages"] + 1])
        return "BasicEncoder", {"widths": widths, "blocks": arguments["blocks"], "tiny": bool(arguments["tiny"])}
    family, of_classifier = encoder.network.made_of
    return "ClassifierEncoder", {"encoder": _classifier(family, {**of_classifier, "classes": 0}, net.norm_layer)}


def _answering(arguments: Arguments) -> Dict[str, Any]:
    return {"classes": arguments["classes"], "drop": float(arguments["head_drop"])}


def _in_pairs(name: str, net: Any, arguments: Arguments, **own: Any) -> Call:
    """A network each of whose levels is fused with the one above it."""
    kind, encoder = _encoder(net, arguments)
    block: Type[Any] = find_fusion(arguments["fusion"])
    concatenates = block is Concat
    return Call(
        name,
        {
            "channels": net.pyramid.encoder.channels,
            **own,
            "width": arguments["decoder_width"] or 0,
            "inner": 2 if concatenates else 1,
            **_answering(arguments),
            **_of_blocks(arguments, net.norm_layer),
            **encoder,
        },
        {"Join": "Concatenation" if concatenates else block.__name__, "Encoder": kind},
    )


def _unet(net: Any, arguments: Arguments) -> Call:
    own = {"strides": net.pyramid.encoder.strides, "decoder_blocks": arguments["blocks"]}
    return _in_pairs("UNet", net, arguments, **own)


def _fpn(net: Any, arguments: Arguments) -> Call:
    if arguments["join"] == "pairs":
        return _in_pairs("FPN", net, arguments)
    kind, encoder = _encoder(net, arguments)
    channels, width = net.pyramid.encoder.channels, arguments["decoder_width"]
    fused = (width,) * len(channels) if width else channels
    fuse, slots = _fusion_of_all(arguments, fused, net.norm_layer)
    return Call(
        "JointFPN",
        {
            "fuse": fuse,
            "channels": channels,
            "width": fused[0],
            "lateral": bool(width),
            **_answering(arguments),
            **encoder,
        },
        {"Encoder": kind, **slots},
    )


def _fusion_of_all(arguments: Arguments, channels: Tuple[int, ...], norm_layer: str) -> Tuple[Call, Dict[str, str]]:
    """The fusion of all levels at once, and what it fills in."""
    block: Type[Any] = find_fusion(arguments["fusion"])
    common = {"channels": channels[0], "in_channels": channels}
    of_blocks = _of_blocks(arguments, norm_layer)
    if block in (DirectAdd, Concat):
        return Call("LevelSum" if block is DirectAdd else "LevelConcat", {**common, **of_blocks}), {}
    if not selects(block):
        return Call("PairwiseFusion", {**common, **of_blocks}), {"Join": block.__name__}
    concatenates = block.integrate == "concat"
    passes = tuple(
        tuple(
            (name, *_branch(branch, channels, concatenates and index == 0, **of_blocks))
            for name, branch in branches.items()
        )
        for index, branches in enumerate(block.passes)
    )
    share = total_of_shares(block, len(channels))
    return Call("SoftmaxFusion", {**common, "passes": passes, "share": share, "concatenates": concatenates}), {}


def _branch(branch: Any, channels: Tuple[int, ...], concatenated: bool, r: int, norm: Name) -> Tuple[Name, Any]:
    """The class of a branch, and its arguments after the channels."""
    inputs = len(channels)
    reduction = 0 if branch.reduction is None else branch.reduction or r
    features, logits = channels[0] * (inputs if concatenated else 1), max(branch.logits, inputs)
    name = branch.context.__name__
    return Name(name), (reduction, norm, features, logits) if name == "GlobalContext" else (reduction, features, logits)


_FAMILIES: Dict[str, Callable[..., Call]] = {
    "cifar_resnet": _cifar_resnet,
    "cifar_resnext": _cifar_resnext,
    "cifar_inception": _cifar_inception,
    "resnet": _resnet,
    "resnext": _resnext,
    "fpn": _fpn,
    "unet": _unet,
}
