"""One step of training: forward, backward and update on one batch."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

from ..compat import mx
from ..data.loader import Batch, generator
from ..tasks.base import StepOutput, part_losses
from .gradients import begin_sum, update
from .precision import input_dtype
from .preparation import split_over

#: What a random draw is for: see `fusion.data.loader`, which has 0 and 1.
_NETWORK = 2
_MXNET_SEEDS = 2**31


def seed_network(seed: int, epoch: int, batch: int) -> None:
    """Seed the random numbers that the network itself draws in one step, such as those of dropout."""
    mx.random.seed(int(generator(seed, _NETWORK, epoch, batch).integers(_MXNET_SEEDS)))


def take_step(
    net: Any, trainer: Any, loss: Any, batch: Batch, devices: Sequence[Any], clip: float = 0.0, parts: int = 1
) -> StepOutput:
    """Forward, backward and update on one batch, split over the devices.

    Parameters
    ----------
    net, trainer, loss
        Of the run.
    batch : Batch
        Of this worker.
    devices : sequence of Context
        Each has as many images of the batch.
    clip : float
        The largest length of the gradient; 0 is none.
    parts : int
        Into which each device's images are split. They go through the network one after the other, and their gradients
        are added up, for which the network has been made ready by `gradients.add_up`.
    """
    images = split_over(devices, batch.images, input_dtype(net))
    targets = split_over(devices, batch.targets)
    if parts > 1:
        begin_sum(trainer)
    steps = [_backward(net, loss, *part) for part in zip(_in_parts(images, parts), _in_parts(targets, parts))]
    update(trainer, len(batch.images), clip)
    losses, outputs = (_in_order(found) for found in zip(*steps))
    return StepOutput(losses, outputs, batch.targets)


def _backward(net: Any, loss: Any, images: List[Any], targets: List[Any]) -> Tuple[List[Any], List[Any]]:
    with mx.autograd.record():
        outputs = [net(part) for part in images]
        losses = part_losses(loss, outputs, targets, images)
    mx.autograd.backward(losses)
    return losses, outputs


def _in_parts(arrays: List[Any], parts: int) -> List[List[Any]]:
    """The first part of each device's array, then the second of each, and so on."""
    if parts == 1:
        return [arrays]
    size = len(arrays[0]) // parts
    return [[array[start : start + size] for array in arrays] for start in range(0, parts * size, size)]


def _in_order(parts: Sequence[List[Any]]) -> List[Any]:
    """The results of all parts in the order of the images: those of the first device, then of the second, and so on."""
    return [result for of_device in zip(*parts) for result in of_device]
