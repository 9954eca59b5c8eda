"""Grad-CAM: which parts of an image speak for a class, by the features of a layer of the network.

Source: R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
ICCV 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2. The weight of a channel is the mean over its pixels of
the gradient of the class's logit; the map is what is positive in the channels' sum by these weights. Where the network
answers for each pixel, it is the gradient of the sum of the class's logits over all pixels: K. Vinogradova et al.,
"Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation Mapping", AAAI 2020,
https://arxiv.org/abs/2002.11434.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..errors import ConfigError
from ..places import imperative, on_device, stages, walk
from ..words import counted
from .layers import find_layer


def grad_cam(net: Any, images: Any, layer: str, classes: Optional[Sequence[int]] = None) -> np.ndarray:
    """The Grad-CAM maps of a batch of images.

    Parameters
    ----------
    net : Block
        From images to logits (B, classes) or (B, classes, H, W), with its weights initialised; compiled or not.
    images : NDArray or ndarray
        (B, 3, H, W), normalised as for the network.
    layer : str
        The layer whose output (B, C, h, w) is used: see `fusion.explain.layers.find_layer`.
    classes : sequence of int, optional
        The class to explain of each image; by default the one with the highest logit, or, of logits per pixel, with
        the highest sum of them.

    Returns
    -------
    ndarray
        (B, h, w) float32, at least 0, in units of the logit divided by h·w; 0 at pixels that do not speak for the
        class.

    Raises
    ------
    ConfigError
        If there is no such layer, if its output is not a map, or if the network does not have one of the classes.

    Examples
    --------
    >>> from fusion.data import load_dataset
    >>> from fusion.inference.trained import load_pretrained
    >>> trained = load_pretrained("aff_resnet8_digits")
    >>> images = trained.preparation.normalise(load_dataset("digits", "test").images[:2])
    >>> grad_cam(trained.net, images, default_layer(trained.net)).shape
    (2, 8, 8)
    """
    block = find_layer(net, layer)
    images = on_device(net, images)
    outputs: List[Any] = []

    def watch(_: Any, __: Any, output: Any) -> None:
        _check_maps(layer, output)
        output.attach_grad()  # what is computed from it is recorded as a function of this output
        outputs.append(output)

    with imperative(inner for _, inner in walk(net)):
        hook = block.register_forward_hook(watch)
        try:
            # Batch norm as in inference: with the statistics of the batch, an image's map would depend on the others.
            with mx.autograd.record(train_mode=False):
                logits = net(images)
                if logits.ndim > 2:
                    logits = logits.reshape((0, 0, -1)).sum(axis=2)
                wanted = logits.asnumpy().argmax(axis=1) if classes is None else _checked(classes, logits.shape)
                score = mx.nd.pick(logits, mx.nd.array(wanted, ctx=images.context), axis=1)
        finally:
            hook.detach()
    if not outputs:
        raise ConfigError(f"layer {layer!r} takes no part in the network's answer, so that it has no map: name another")
    features = outputs[-1]
    (gradient,) = mx.autograd.grad([score], [features], train_mode=False)
    weights = gradient.astype("float32").mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * features.astype("float32")).sum(axis=1).asnumpy(), 0)


def concentration(heat: np.ndarray, share: float = 0.5) -> float:
    """The smallest share of a map's area that holds a given share of the map's sum.

    Parameters
    ----------
    heat : ndarray
        (h, w), at least 0.
    share : float
        The share of the sum.

    Returns
    -------
    float
        From 0 to 1, by whole pixels of the map; not a number if the map is 0 everywhere.
    """
    ordered = np.sort(heat.ravel().astype(np.float64))[::-1].cumsum()
    if not ordered[-1] > 0:
        return float("nan")
    return float((np.searchsorted(ordered, share * ordered[-1]) + 1) / heat.size)


def default_layer(net: Any) -> str:
    """The name of the last stage, whose channels are closest to the classes.

    Raises
    ------
    ConfigError
        If the network has no stages.
    """
    count = len(stages(net))
    if not count and getattr(net, "dense", False):
        return f"layer{len(net.pyramid.strides)}"  # of the basic encoder, which does not fuse
    if not count:
        raise ConfigError("the network has no stages: say which layer to look at, with --layers NAME")
    return f"stage{count}"


def _check_maps(layer: str, output: Any) -> None:
    shape: Tuple[int, ...] = getattr(output, "shape", ())
    if len(shape) != 4 or shape[2] * shape[3] == 1:
        raise ConfigError(
            f"layer {layer!r} gives {shape} for a batch of images, so that it has no map: expected a layer before "
            "the pooling, with an output (B, C, h, w)"
        )


def _checked(classes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    wanted = np.asarray(classes)
    if wanted.shape != (shape[0],) or not np.issubdtype(wanted.dtype, np.integer):
        raise ConfigError(f"classes {classes!r}: expected {counted(shape[0], 'number')}, one per image")
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < shape[1]:
        raise ConfigError(f"classes {classes!r}: expected numbers from 0 to {shape[1] - 1}")
    return wanted
