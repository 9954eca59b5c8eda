"""The weights of a network's fusion blocks while it trains: a hook that works for compiled networks too.

Inside a compiled network a block computes with symbols, so that a hook on the block itself sees no numbers. Here every
so often a few images of the batch are shown to the network again, block by block.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

from ..compat import mx
from ..errors import ConfigError
from ..weights import mean_weights, weighted_places

#: From the number of the call and the means by the name of the block and its weight.
WeightLog = Callable[[int, Dict[str, float]], None]


def watch_weights(net: Any, log: WeightLog, every: int = 100, images: int = 8) -> Any:
    """Log the mean weight of each fusion block on every `every`-th batch that a network computes in training.

    Parameters
    ----------
    net : Block
        A network that fuses by `fusion.fuse`, compiled or not. Its running statistics and gradients are left alone.
    log : callable
        Called with the number of the batch, from 0, and the mean of each weight by the structural name of its block,
        with the weight's title where the block has several (`features.3.0.attention, pass 2`).
    every : int
        Batches from one call to the next. Only batches within `autograd.record()` count.
    images : int
        Of the batch, from its first one, that are shown to the network again, in inference mode.

    Returns
    -------
    handle
        Its `detach()` ends the logging.

    Raises
    ------
    ConfigError
        If no fusion block of the network has a weight, or a number is not positive.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> net = fusion.get_model("aff_resnet8_digits", pretrained=True)
    >>> handle = watch_weights(net, lambda batch, means: print(batch, list(means)), every=500)
    >>> with mx.autograd.record():
    ...     logits = net(mx.nd.zeros((2, 3, 32, 32)))
    0 ['features.2.0.attention', 'features.3.0.attention', 'features.4.0.attention']
    >>> handle.detach()
    """
    for name, value in (("every", every), ("images", images)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name}={value!r}: expected a positive integer")
    places = weighted_places(net)
    seen = 0

    def hook(_: Any, inputs: Any, __: Any) -> None:
        nonlocal seen
        if not mx.autograd.is_recording() or not isinstance(inputs[0], mx.nd.NDArray):
            return
        number, seen = seen, seen + 1
        if number % every == 0:
            few = [one[:images] for one in inputs]
            log(number, mean_weights(net, places, lambda: net.forward(*few)))  # a call would come back here

    return net.register_forward_hook(hook)
