"""Gradient clipping by the length of the whole gradient: Pascanu et al., arXiv 1211.5063, algorithm 1."""

from __future__ import annotations

from typing import Any, List

from ..compat import mx

#: Keeps a gradient of length 0 from being divided by it.
_TINY = 1e-8


def clip_before_updates(trainer: Any, limit: float) -> None:
    """Make a trainer shorten each gradient to a length before it moves the weights.

    The gradient is the mean over the total batch, summed over all devices and workers: the trainer's update is where
    it is known, whichever the trainer's class is. No step waits for the devices.

    Parameters
    ----------
    trainer : gluon.Trainer
        That updates on its own devices (`update_on_kvstore=False`).
    limit : float
        The largest length; 0 leaves the trainer alone.
    """
    if limit == 0:
        return
    update = trainer._update

    def clipped_update(*arguments: Any, **keywords: Any) -> None:
        clip_gradients(trainer._params, limit / trainer._optimizer.rescale_grad)
        update(*arguments, **keywords)

    trainer._update = clipped_update


def clip_gradients(parameters: List[Any], limit: float) -> None:
    """Shorten the gradient of all parameters together, on each device.

    Parameters
    ----------
    parameters : list of gluon.Parameter
        Whose gradients are the same on all their devices.
    limit : float
        The largest length, in the scale that the gradients are stored in.
    """
    trained = [parameter for parameter in parameters if parameter.grad_req != "null"]
    for gradients in zip(*(parameter.list_grad() for parameter in trained)):
        exact = [
            gradient.astype("float32", copy=False) for gradient in gradients
        ]  # the square of 256 is too much for float16
        squares = mx.nd.multi_sum_sq(*exact, num_arrays=len(exact))
        factor = mx.nd.minimum(limit / (mx.nd.sqrt(mx.nd.sum(squares)) + _TINY), 1.0)
        for gradient in gradients:
            gradient *= factor.astype(gradient.dtype)
