"""Replaces the batch norms of a network by batch norm over several devices, or by group norm.

The layers are replaced in a network that is built but not yet initialised. This works for every family, and parameters
keep their names. Synchronised batch norm is a block of gluon.contrib, after Zhang et al., arXiv 1803.08904; group norm
is that of Wu & He, arXiv 1803.08494.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, Sequence, Tuple

from ..compat import mx, nn
from ..errors import ConfigError
from ..norms import NORM_LAYERS
from ..operators import GroupNorm
from .layers import InputNorm, keep_statistics

#: More than the number of operations in a step over all devices, so that each operation has a workspace of its own.
_WORKSPACES = 1 << 14

#: More than the number of batch norms that a device can run at the same time.
_THREADS = 16
_THREADS_SETTING = "MXNET_CPU_WORKER_NTHREADS"


def use_norm_layer(net: Any, norm_layer: str) -> None:
    """Use one kind of normalisation in the whole network.

    A batch norm without scale and centre, such as the one on the input of a CIFAR-ResNet, is kept: it learns nothing,
    and standardises the channels of the images.

    Parameters
    ----------
    net : HybridBlock
        Built with batch norm, and not yet initialised.
    norm_layer : {"batch", "group"}
        Which kind; "batch" changes nothing.

    Raises
    ------
    ValueError
        If it is another word, or if a layer has a single channel, because a group would then be a single value.
    """
    if norm_layer not in NORM_LAYERS:
        raise ValueError(f"norm_layer={norm_layer!r}: expected one of {', '.join(NORM_LAYERS)}")
    net.norm_layer = norm_layer
    if norm_layer == "group":
        _exchange(net, _grouped, lambda old: not old._kwargs["fix_gamma"])


def synchronise_batch_norm(net: Any, devices: Sequence[Any]) -> None:
    """Make each batch norm of a network compute its statistics over the batch of all devices.

    A device that waits in a batch norm for another device keeps a workspace and a thread while it waits. On CPU
    contexts MXNet has few of both. It reads the number of workspaces at its first operation; this function sets a
    sufficient number, so no operation may have run in this process before. It has one thread per context, unless the
    environment asked for more when MXNet was loaded. With one thread, two contexts that start the batch norms of two
    branches in different orders would wait for each other for ever.

    Parameters
    ----------
    net : HybridBlock
        Built, and not yet initialised. From then on it must be trained on exactly these devices together: one alone
        would wait for the others for ever.
    devices : sequence of Context
        The devices that it is trained on; for a single one nothing changes.

    Raises
    ------
    ConfigError
        If there are several CPU contexts, and they have too few threads.
    """
    if len(devices) < 2:
        return
    if devices[0].device_type == "cpu":
        threads = os.environ.get(_THREADS_SETTING, "1")
        if not threads.isdigit() or int(threads) < _THREADS:
            raise ConfigError(
                f"synchronised batch norm on {len(devices)} CPU contexts needs {_THREADS} threads for each, and "
                f"{_THREADS_SETTING} is {threads}: two contexts could wait for each other for ever. MXNet reads it "
                f"when it is loaded, so start the command again with {_THREADS_SETTING}={_THREADS} in front of it"
            )
        os.environ.setdefault("MXNET_CPU_TEMP_COPY", str(_WORKSPACES))
    _exchange(net, lambda old: _synchronised(old, len(devices)), lambda old: True)


def _grouped(old: Any) -> Any:
    return GroupNorm(old.gamma.shape[0], epsilon=old._kwargs["eps"], prefix=old.prefix)


def _synchronised(old: Any, devices: int) -> Any:
    options = old._kwargs
    new = mx.gluon.contrib.nn.SyncBatchNorm(
        in_channels=old.gamma.shape[0],
        num_devices=devices,
        momentum=options["momentum"],
        epsilon=options["eps"],
        scale=not options["fix_gamma"],
        center=old.beta.grad_req != "null",
        prefix=old.prefix,
    )
    if isinstance(old, InputNorm):
        keep_statistics(new)
    return new


def _exchange(net: Any, make: Callable[[Any], Any], wanted: Callable[[Any], bool]) -> None:
    for parent, key, old in list(_batch_norms(net)):
        if not wanted(old):
            continue
        new = make(old)
        for name in ("gamma", "beta"):  # a last gamma that is initialised as 0 still is
            getattr(new, name).init = getattr(old, name).init
        parent._children[key] = new
        if getattr(parent, key, None) is old:
            object.__setattr__(parent, key, new)  # Gluon's own __setattr__ refuses a block of another class


def _batch_norms(block: Any) -> Iterator[Tuple[Any, str, Any]]:
    """(parent, key, layer) for each batch norm inside a block."""
    for key, child in block._children.items():
        if type(child) in (nn.BatchNorm, InputNorm):
            yield block, key, child
        else:
            yield from _batch_norms(child)
