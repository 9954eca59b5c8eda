"""What the authors' published U-Net for SIRST says of each test image, by which a network that loads it is checked.

Source: the checkpoint that was released with "Asymmetric Contextual Modulation for Infrared Small Target Detection",
arXiv 2009.14530, run with the authors' own program on all 86 test images.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

_FILE = Path(__file__).parent / "sirst_acm_unet.json"


@dataclass(frozen=True)
class SegmentedImages:
    """Pixels of each image of a test set.

    Attributes
    ----------
    images : dict of str to (int, int)
        By the name of the image: in how many pixels both the answer and the mask have the target, and in how many
        either has it.
    """

    images: Dict[str, Tuple[int, int]]

    @property
    def iou(self) -> float:
        """Total intersection as a share of the total union."""
        both, either = (sum(counts) for counts in zip(*self.images.values()))
        return both / either

    @property
    def niou(self) -> float:
        """The mean over images of each image's share, which is 0 where nothing is marked and nothing is there."""
        shares = [both / either if either else 0.0 for both, either in self.images.values()]
        return sum(shares) / len(shares)


def read_acm_unet() -> SegmentedImages:
    """The published network's intersections and unions."""
    found = json.loads(_FILE.read_text(encoding="utf-8"))["images"]
    return SegmentedImages({name: (both, either) for name, (both, either) in found.items()})
