"""Optimizers by the names of the setting `optimizer.name`, with the arguments that MXNet gives them; AdamW is here."""

from __future__ import annotations

import math
from typing import Any, Dict, Tuple

from ..compat import mx
from .settings import WITH_BETAS, WITH_MOMENTUM, Settings


@mx.optimizer.register
class AdamW(mx.optimizer.Optimizer):
    """Adam with decoupled weight decay.

    For a gradient g, a learning rate η and a weight decay λ:

        m = β₁·m + (1 − β₁)·g,   v = β₂·v + (1 − β₂)·g²,
        w = (1 − η·λ)·w − η·m̂ / (√v̂ + ε),   where m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    The decay is not divided by √v̂, as it is in Adam, where it is a part of the gradient. Source: Loshchilov & Hutter,
    "Decoupled Weight Decay Regularization", arXiv 1711.05101, algorithm 2, with λ multiplied by η as in PyTorch.

    Parameters
    ----------
    learning_rate : float
        η.
    beta1, beta2 : float
        β₁ and β₂: how much of the running means of g and g² each step keeps.
    epsilon : float
        ε.
    **kwargs
        As `mx.optimizer.Optimizer`; `wd` is λ.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def create_state(self, index: int, weight: Any) -> Tuple[Any, Any]:
        """The running means m and v of a parameter, both 0."""
        return mx.nd.zeros_like(weight), mx.nd.zeros_like(weight)

    def update(self, index: int, weight: Any, grad: Any, state: Tuple[Any, Any]) -> None:
        """Move one parameter by its gradient."""
        self._update_count(index)
        steps, rate = self._index_update_count[index], self._get_lr(index)
        decay = rate * self._get_wd(index)
        if decay:
            weight *= 1 - decay
        # MXNet's operator has no corrections: they go into the rate, and so into ε, which it adds to √v, not to √v̂.
        correction = math.sqrt(1 - self.beta2**steps)
        mx.nd.adam_update(
            weight,
            grad,
            *state,
            out=weight,
            lr=rate * correction / (1 - self.beta1**steps),
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon * correction,
            rescale_grad=self.rescale_grad,
            lazy_update=False,
        )


def optimizer_arguments(settings: Settings) -> Dict[str, Any]:
    """The arguments of the optimizer that the settings name, for `mx.optimizer.create`."""
    chosen = settings.optimizer
    arguments: Dict[str, Any] = {
        "learning_rate": settings.schedule.lr,
        "wd": chosen.weight_decay,
        "multi_precision": True,  # keep float32 master weights of float16 parameters
    }
    if chosen.name in WITH_MOMENTUM:
        arguments["momentum"] = chosen.momentum
    if chosen.name in WITH_BETAS:
        arguments["beta1"], arguments["beta2"] = chosen.betas
        if chosen.epsilon is not None:
            arguments["epsilon"] = chosen.epsilon
    return arguments
