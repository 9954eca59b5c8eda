"""An export for PyTorch: `model.py`, `model.safetensors`, and whether they compute what the network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from ... import __version__
from ...words import counted
from .architecture import architecture
from .compare import run_torch, step_differences, training_step
from .interpreter import require_torch
from .names import to_torch
from .source import Call, assemble
from .weights import require_safetensors, write_safetensors

SOURCE, WEIGHTS = "model.py", "model.safetensors"

Arrays = Dict[str, np.ndarray]


def write_torch(
    net: Any,
    folder: Path,
    batches: Mapping[str, np.ndarray],
    model: str,
    pixels: Optional[Tuple[np.ndarray, np.ndarray]] = None,
    python: Optional[str] = None,
) -> Tuple[Arrays, Dict[str, float]]:
    """Write a network's module and weights, and let PyTorch answer by them.

    Parameters
    ----------
    net : Network
        With its weights.
    folder : Path
        Where the files go.
    batches : mapping of str to ndarray
        Inputs, by names that the caller chooses.
    model : str
        The network's name, for readers.
    pixels : (ndarray, ndarray), optional
        Scale and shift, where the module takes images of bytes and normalises them.
    python : str, optional
        The interpreter that has PyTorch: see `interpreter.find_torch`.

    Returns
    -------
    answers : dict of str to ndarray
        Outputs by the names of the batches.
    shares : dict of str to float
        How far a training step in float64 is from the network's: see `compare.step_differences`.

    Raises
    ------
    FusionError
        If PyTorch cannot be had, or computes something else in a training step.
    """
    require_safetensors()
    found = require_torch(python, "torch: an export is compared with its network before it is kept, which")
    call = architecture(net)
    about = _about(net, model, pixels is not None)
    if pixels is not None:
        call = _from_pixels(call, *pixels)
    (folder / SOURCE).write_text(assemble(call, about), encoding="utf-8")
    write_safetensors(folder / WEIGHTS, to_torch(net), {"model": model})
    inputs, expected = training_step(net)
    answers, step = run_torch(found, folder, batches, inputs)
    return answers, step_differences(step, expected)


def _from_pixels(call: Call, scale: np.ndarray, shift: np.ndarray) -> Call:
    """A network that takes images of bytes."""
    values = {
        name: tuple(float(value) for value in array.ravel()) for name, array in (("scale", scale), ("shift", shift))
    }
    return Call("FromPixels", {**values, **call.arguments}, {"Network": call.name, **call.slots})


def _about(net: Any, model: str, from_pixels: bool) -> str:
    """The docstring of `model.py`."""
    classes = counted(net.classes, "class", "classes")
    logits = "(B, classes, H, W), one answer per pixel" if net.dense else "(B, classes)"
    images = "(B, H, W, 3) uint8: red, green and blue, as they are"
    if not from_pixels:
        images = "(B, 3, H, W): red, green and blue, normalised as model.json says"
    return f"""{model} for {classes} as a PyTorch module, written by attentional-feature-fusion {__version__}.

    import torch
    from safetensors.torch import load_file

    from model import build

    net = build()
    net.load_state_dict(load_file("model.safetensors"))
    logits = net.eval()(images)

images  {images}
logits  {logits}

The network is that of Y. Dai et al., "Attentional Feature Fusion", WACV 2021, https://arxiv.org/abs/2009.14082. In the
equations X and Y are maps, ⊗ is the product of their elements, ‖ concatenation of channels, σ the sigmoid, δ the ReLU
and B a normalisation. Parameters have the names that they have in Gluon, where a norm's weight is its gamma and its
bias its beta."""


def described(net: Any) -> Dict[str, Any]:
    """What `model.json` says of a network, so that `import-torch` can build it again."""
    family, arguments = net.made_of
    return {"family": family, "arguments": arguments, "norm_layer": net.norm_layer}
