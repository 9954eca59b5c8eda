"""What training minimises: cross-entropy with soft targets, and distillation from a teacher.

Label smoothing, mixup and CutMix are in the targets already. Distillation: Hinton et al., "Distilling the Knowledge in
a Neural Network", arXiv 1503.02531.
"""

from __future__ import annotations

from typing import Any, Optional

from ...compat import HybridBlock, mx
from .agreement import Agreement


class CrossEntropy(HybridBlock):
    """Softmax cross-entropy with soft targets, in float32 whatever the logits are, unless it is told otherwise.

    Parameters
    ----------
    dtype : str
        That it computes in.

    Inputs
        - **logits**, **targets**: (B, classes); rows of targets sum to 1.
    Outputs
        - (B,), in nats.
    """

    def __init__(self, dtype: str = "float32", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._dtype = dtype
        self.cross_entropy = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)

    def hybrid_forward(self, F: Any, logits: Any, targets: Any) -> Any:
        return self.cross_entropy(F.cast(logits, dtype=self._dtype), F.cast(targets, dtype=self._dtype))


class DistillationLoss(HybridBlock):
    """(1 - w) cross-entropy with the targets + w T² KL(teacher at T || student at T).

    T² keeps the teacher's part of the gradient at one size whatever T is (section 2 of the paper).

    Parameters
    ----------
    weight : float
        w, from 0 to 1.
    temperature : float
        T, above 0: both outputs are divided by it.

    Inputs
        - **logits**, **targets**, **teacher_logits**: (B, classes).
    Outputs
        - (B,), in nats.
    """

    def __init__(self, weight: float, temperature: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._weight = weight
        self._temperature = temperature
        self.cross_entropy = CrossEntropy()

    def hybrid_forward(self, F: Any, logits: Any, targets: Any, teacher_logits: Any) -> Any:
        own = F.log_softmax(F.cast(logits, dtype="float32") / self._temperature)
        wanted = F.log_softmax(teacher_logits / self._temperature)
        divergence = F.sum(F.exp(wanted) * (wanted - own), axis=-1)
        return (1 - self._weight) * self.cross_entropy(logits, targets) + (
            self._weight * self._temperature**2
        ) * divergence


class Distillation:
    """A distillation loss with the teacher that it learns from. It needs the images, which it shows to the teacher.

    Parameters
    ----------
    teacher : callable
        From images to logits, on all the devices of the network.
    loss : DistillationLoss
        Of the student's and the teacher's logits.
    """

    needs_images = True

    def __init__(self, teacher: Any, loss: DistillationLoss) -> None:
        self._teacher = teacher
        self._loss = loss
        self._agreement = Agreement()

    def __call__(self, logits: Any, targets: Any, images: Any) -> Any:
        """The loss (B,) of one device's part; the teacher sees the images (B, 3, H, W) of the student."""
        answers = self._teacher(images)
        self._agreement.add(answers, targets)
        return self._loss(logits, targets, answers)

    def doubt(self) -> Optional[str]:
        """What to say about the teacher after the first images: see `Agreement`."""
        return self._agreement.doubt()
