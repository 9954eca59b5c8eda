"""Builds what a run needs from its settings: data, network and optimizer. Impossible settings raise an error here."""

from __future__ import annotations

import math
from typing import Any, List, Sequence, Tuple

from ..attention import normalises_over_images
from ..compat import mx
from ..errors import ConfigError
from ..models import get_model
from ..models.normalisation import use_norm_layer
from ..tasks import task_of
from .config import model_keywords
from .distributed.workers import ALONE, Workers
from .loading import build_normalisation
from .optimizers import optimizer_arguments
from .precision import cast_network
from .settings import Settings

_INITIALIZERS = {"xavier": mx.init.Xavier, "msraprelu": mx.init.MSRAPrelu}

#: Parameters whose names end so have no weight decay under `decay_norm_and_bias: false`.
_UNDECAYED = ("gamma", "beta", "bias")


def build_network(settings: Settings, classes: int) -> Any:
    """Build the network; its weights are not yet initialised.

    Raises
    ------
    ConfigError
        If a setting of the section `model` is impossible.
    """
    outputs = task_of(settings).outputs(settings, classes)
    try:
        net = get_model(settings.model.name, classes=outputs, **model_keywords(settings))
        use_norm_layer(net, settings.model.norm_layer)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    return net


def refuse_single_values(net: Any, settings: Settings) -> None:
    """Raise an error if batch norm would be taken over a single value.

    That happens in the global branch of a fusion block, if a device takes one image at a time.

    Raises
    ------
    ConfigError
        The message names the settings that avoid it.
    """
    size, parts = settings.data.batch_size, settings.optimizer.accumulate
    if size == parts and normalises_over_images(net):
        of_one = "" if parts == 1 else f", in {parts} parts of one image (optimizer.accumulate)"
        raise ConfigError(
            f"data.batch_size is {size} per device{of_one}: the batch norm in the global branch of the fusion blocks "
            "would normalise a single value; its output would be a constant, and the branch would learn nothing. Use a "
            "larger data.batch_size, or model.norm=group, or model.norm=none"
        )


def start_weights(net: Any, settings: Settings, devices: Sequence[Any]) -> None:
    """Initialise the weights of a network from the run's seed, and hybridise the network if the settings say so.

    Raises
    ------
    ConfigError
        If a probability of the target is set for a network of several outputs.
    """
    mx.random.seed(settings.train.seed)
    initializer = _INITIALIZERS.get(settings.model.initializer)
    net.initialize(initializer() if initializer else None, ctx=list(devices))
    if settings.model.prior is not None:
        if net.classes != 1:
            raise ConfigError(
                f"model.prior={settings.model.prior} is the probability of a single kind of target, and this network "
                f"has {net.classes} outputs: leave it out"
            )
        _start_at(net, settings.model.prior)
    cast_network(net, settings, devices)
    if settings.runtime.hybridize:
        net.hybridize(static_alloc=True, static_shape=True)


def _start_at(net: Any, probability: float) -> None:
    """Set the bias of the last layer so that an untrained network is about as sure of the target as this.

    Where targets are rare, a network that begins at one half spends its first steps on calling everything background,
    and may not find its way back. Source: the initialisation of Lin et al., arXiv 1708.02002, section 4.1.
    """
    bias = net._collect_params_with_prefix()[f"{net.classifier}.bias"]
    bias.set_data(mx.nd.full(bias.shape, math.log(probability / (1 - probability))))


def build_twin(net: Any, settings: Settings, devices: Sequence[Any]) -> Any:
    """Build a second network of the same structure, which is evaluated in place of the one that is trained.

    Inference converts the weights of its network to oneDNN's blocked layout, at a moment that varies from run to run.
    If training shared these weights, it would then use other kernels, which round differently, and two runs with the
    same seed would give different results.
    """
    twin = build_network(settings, net.classes)
    twin.initialize(mx.init.Zero(), ctx=list(devices))
    if settings.runtime.hybridize:
        twin.hybridize(static_alloc=True, static_shape=True)
    return twin


def copy_parameters(source: Any, target: Any) -> None:
    """Copy parameters to a network of the same structure; running statistics are averaged over the devices."""
    parameters = source._collect_params_with_prefix()
    for name, parameter in target._collect_params_with_prefix().items():
        parameter.set_data(parameters[name]._reduce().astype(parameter.dtype))


def build_trainer(net: Any, settings: Settings, workers: Workers = ALONE) -> Any:
    """Build the trainer of a network whose weights are initialised."""
    if not settings.optimizer.decay_norm_and_bias:
        for name, parameter in net._collect_params_with_prefix().items():
            if name.endswith(_UNDECAYED):
                parameter.wd_mult = 0.0
    return workers.trainer(net.collect_params(), settings.optimizer.name, optimizer_arguments(settings))


def build_batches(settings: Settings, data: Any, devices: Sequence[Any], shard: Tuple[int, int] = (0, 1)) -> Any:
    """Build the training batches of every epoch; with several workers, the part of one worker.

    Raises
    ------
    ConfigError
        If a batch is larger than the data set.
    """
    total = settings.data.batch_size * len(devices) * shard[1]
    try:
        return task_of(settings).batches(settings, data, build_normalisation(settings), total, shard)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def split_over(devices: Sequence[Any], array: Any, dtype: str = "float32") -> List[Any]:
    """Split a NumPy batch into equal parts, one on each device."""
    return mx.gluon.utils.split_and_load(mx.nd.array(array, dtype=dtype), list(devices))
