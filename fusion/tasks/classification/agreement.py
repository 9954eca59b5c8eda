"""How often a teacher is right about the first images that a student learns from."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

#: So many images say enough.
ENOUGH = 1000

#: So many standard deviations of the number of right answers are luck.
_LUCK = 3.0


class Agreement:
    """Keeps a teacher's answers to the first images beside their targets, on the devices where they are."""

    def __init__(self) -> None:
        self._kept: List[Tuple[Any, Any]] = []
        self._images = 0

    def add(self, answers: Any, targets: Any) -> None:
        """Keep the logits and the targets, both (B, classes), of a part of a batch, until there are enough."""
        if self._images < ENOUGH:
            self._kept.append((answers, targets))
            self._images += len(targets)

    def doubt(self) -> Optional[str]:
        """What to say if the teacher is no better than always answering the most frequent class."""
        kept, self._kept, self._images = self._kept, [], ENOUGH
        if not kept:
            return None
        answers = np.concatenate([answer.asnumpy() for answer, _ in kept]).argmax(axis=1)
        labels = np.concatenate([target.asnumpy() for _, target in kept]).argmax(axis=1)
        right = float(np.mean(answers == labels))
        chance = float(np.bincount(labels).max() / len(labels))
        if right > chance + _LUCK * np.sqrt(chance * (1 - chance) / len(labels)):
            return None
        return (
            f"the teacher is right about {100 * right:.1f} % of the first {len(labels):,} training images, and always "
            f"answering the most frequent class would be right about {100 * chance:.1f} %: it teaches nothing true. "
            "Its classes may be in another order, its weights may not be trained, or it may expect another "
            "augment.mean and augment.std"
        )
