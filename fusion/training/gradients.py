"""What becomes of gradients before they move the weights: they are added up over parts of a batch, and shortened.

Clipping is by the length of the whole gradient: Pascanu et al., arXiv 1211.5063, algorithm 1.
"""

from __future__ import annotations

from typing import Any, List

from ..compat import mx

#: Keeps a gradient of length 0 from being divided by it.
_TINY = 1e-8


def add_up(net: Any) -> None:
    """Have each backward pass add to the gradients, which `begin_sum` sets to 0, in place of replacing them.

    The network must not have been run yet: a compiled one keeps what it was compiled with.
    """
    for parameter in net.collect_params().values():
        if parameter.grad_req == "write":
            parameter.grad_req = "add"


def begin_sum(trainer: Any) -> None:
    """Set the gradients of a trainer's parameters to 0 on each device."""
    for parameter in trainer._params:
        if parameter.grad_req == "add":
            parameter.zero_grad()


def update(trainer: Any, batch_size: int, limit: float = 0.0, ignore_stale_grad: bool = False) -> None:
    """Add up the gradients of all devices and workers, shorten them to a limit, and move the weights.

    Without a limit it is `trainer.step(batch_size)`. Between the two documented halves of that step the gradient is
    known, whichever the trainer's class is; no step waits for the devices.

    Parameters
    ----------
    trainer : gluon.Trainer
        That updates on its own devices (`update_on_kvstore=False`).
    batch_size : int
        Images of this worker's batch; the gradient is the mean over the images of all workers.
    limit : float
        The largest length of the gradient of all parameters together; 0 is none.
    ignore_stale_grad : bool
        As in `gluon.Trainer.step`.
    """
    trainer.allreduce_grads()
    if limit:
        clip_gradients(trainer._params, limit / (trainer._scale / batch_size))
    trainer.update(batch_size, ignore_stale_grad)


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
