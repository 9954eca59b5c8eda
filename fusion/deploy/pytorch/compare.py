"""Whether a PyTorch module computes what its network does: answers, and a training step in float64."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from ...compat import mx
from ...errors import ExportError
from ...features import exact_resizing
from ...models.network import set_parameters
from ...models.normalisation import use_norm_layer
from ...models.zoo import FAMILIES
from ..verify import relative_difference
from .interpreter import run_program
from .names import fixed_layers, torch_name

#: The largest difference of a training step in float64, as a share of the largest number of its kind.
STEP_TOLERANCE = 1e-10

#: The same of running statistics: MXNet has the momentum of a batch norm as a float32, in float64 too.
_OF_STATISTICS = 1e-6

#: Images of that step. They are enough for a batch norm of pooled vectors.
_IMAGES = 6

#: Height and width of them in pixels, at most: of a network that shrinks them 32 times, four pixels are left.
_SIDE = 64

# The names of `program`, which cannot be imported without PyTorch.
_STEP_IMAGES, _DIRECTION = "step.images", "step.direction"
_PREDICTIONS, _LOGITS, _OF_IMAGES = "step.predictions", "step.logits", "step.of_images"
_OF_PARAMETER, _STATISTIC = "step.of.", "step.after."

#: The kinds of numbers of a step, by what their names begin with.
_KINDS = {
    "predictions in float64": _PREDICTIONS,
    "logits of a training step": _LOGITS,
    "gradients of images": _OF_IMAGES,
    "gradients of parameters": _OF_PARAMETER,
    "running statistics": _STATISTIC,
}

Arrays = Dict[str, np.ndarray]


def run_torch(
    python: str, folder: Path, batches: Mapping[str, np.ndarray], step: Mapping[str, np.ndarray]
) -> Tuple[Arrays, Arrays]:
    """What `model.py` in a folder answers, in a process of PyTorch.

    Parameters
    ----------
    python : str
        Of `interpreter.require_torch`.
    folder : Path
        With `model.py` and `model.safetensors`.
    batches : mapping of str to ndarray
        Inputs, by names that the caller chooses.
    step : mapping of str to ndarray
        The inputs of `training_step`.

    Returns
    -------
    answers, found : dict of str to ndarray
        The outputs by the same names, and what the step gave.
    """
    with tempfile.TemporaryDirectory() as aside:
        inputs, outputs = Path(aside, "inputs.npz"), Path(aside, "outputs.npz")
        np.savez(inputs, **batches, **step)
        run_program(python, "answers", str(folder), str(inputs), str(outputs))
        with np.load(str(outputs)) as stored:
            found = dict(stored)
    return {name: found.pop(name) for name in batches}, found


def training_step(net: Any) -> Tuple[Arrays, Arrays]:
    """Predictions and one step of training in float64, without dropout, on random images.

    Parameters
    ----------
    net : Network
        Whose weights it has; it is not changed.

    Returns
    -------
    inputs, found : dict of str to ndarray
        What PyTorch is given, and what it has to find, by the names of `program`.
    """
    twin = _twin(net)
    draw = np.random.default_rng(1)
    pixels = min(net.input_size, _SIDE)
    images = mx.nd.array(draw.standard_normal((_IMAGES, 3, pixels, pixels)), dtype="float64")
    with exact_resizing():
        predictions = twin(images).asnumpy()
        images.attach_grad()
        with mx.autograd.record():
            logits = twin(images)
    direction = draw.standard_normal(logits.shape)
    logits.backward(mx.nd.array(direction, dtype="float64"))
    mx.nd.waitall()  # the running statistics are written behind the engine's back
    found = {_PREDICTIONS: predictions, _LOGITS: logits.asnumpy(), _OF_IMAGES: images.grad.asnumpy()}
    fixed = fixed_layers(twin)
    for name, parameter in twin._collect_params_with_prefix().items():
        layer, _, word = name.rpartition(".")
        if word.startswith("running_"):
            found[_STATISTIC + name] = parameter.data().asnumpy()
        elif layer not in fixed:
            found[_OF_PARAMETER + torch_name(name)] = parameter.grad().asnumpy()
    return {_STEP_IMAGES: images.asnumpy(), _DIRECTION: direction}, found


def _twin(net: Any) -> Any:
    """The same network in float64 on the CPU, without dropout."""
    family, arguments = net.made_of
    kept: Dict[str, Any] = {key: 0.0 if key.endswith("_drop") else value for key, value in arguments.items()}
    twin: Any = FAMILIES[family](**kept)
    use_norm_layer(twin, net.norm_layer)
    twin.initialize(mx.init.Zero())
    arrays = {name: one._reduce().asnumpy() for name, one in net._collect_params_with_prefix().items()}
    set_parameters(twin, arrays, mx.cpu(), cast_dtype=True)
    twin.cast("float64")
    return twin


def rounding(net: Any, images: np.ndarray, answers: np.ndarray) -> float:
    """How far a network's answers are from its own in float64, as a share of the largest."""
    with exact_resizing():
        exact = _twin(net)(mx.nd.array(images, dtype="float64")).asnumpy()
    return relative_difference(answers, exact)


def step_differences(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Dict[str, float]:
    """How far a training step is from the network's, each kind of numbers as a share of the largest of its kind.

    Raises
    ------
    ExportError
        If parameters are others, or one difference is more than `STEP_TOLERANCE`.
    """
    if set(found) != set(expected):
        differing = sorted(name.replace(_OF_PARAMETER, "") for name in set(found) ^ set(expected))
        raise ExportError(f"the torch export has other parameters than the network: {', '.join(differing[:4])}")
    shares = {}
    for kind, prefix in _KINDS.items():
        names = [name for name in expected if name.startswith(prefix)]
        if names:
            shares[kind] = _share(kind, prefix, {name: (found[name], expected[name]) for name in names})
    return shares


def _share(kind: str, prefix: str, pairs: Mapping[str, Tuple[np.ndarray, np.ndarray]]) -> float:
    largest = max(float(np.abs(wanted).max()) for _, wanted in pairs.values()) or 1.0
    shares = {name: _largest_difference(*pair) / largest for name, pair in pairs.items()}
    name, worst = max(shares.items(), key=lambda item: item[1])
    allowed = _OF_STATISTICS if prefix == _STATISTIC else STEP_TOLERANCE
    if not worst <= allowed:
        where = f" ({name[len(prefix) :]})" if name != prefix else ""
        raise ExportError(
            f"the torch export does not compute what the network does: in float64 its {kind}{where} differ by "
            f"{worst:.2e} of the largest; expected at most {allowed:g}. Nothing was written"
        )
    return worst


def _largest_difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Infinity if the shapes differ, or a number is none."""
    if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return float("inf")
    return float(np.abs(found - wanted).max())
