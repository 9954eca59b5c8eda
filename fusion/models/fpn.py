"""Feature pyramid whose levels are joined by any block of `fusion.fuse`, with an answer per pixel.

Source: the pyramid of Lin et al., arXiv 1612.03144, as in the released code of "Asymmetric Contextual Modulation",
arXiv 2009.14530, which is the host of the long skip connections of "Attentional Feature Fusion", arXiv 2009.14082.
"""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from ..fuse import get_fusion
from ..long_skip import post_layers, two_input_fusion
from ..several import PAIRWISE, selects
from .dense import DenseNetwork, Pyramid, resize_like


class FeaturePyramid(Pyramid):
    """Each level is the level above, resized, fused with the encoder's own: `fuse23`, `fuse12`.

    Parameters, inputs and outputs as `fusion.models.dense.Pyramid`.
    """

    def add_step(self, level: int) -> None:
        setattr(self, f"fuse{level}{level + 1}", self.join(level, reduce=not self._laterals))

    def step(self, F: Any, level: int, high: Any, low: Any) -> Any:
        return getattr(self, f"fuse{level}{level + 1}")(resize_like(F, high, low), low)


class JointPyramid(Pyramid):
    """All levels, resized to the finest, are the inputs of one fusion block `fuse`, which the layers `post` follow.

    A block that selects, such as AFF, weighs all of them by one softmax; any other fuses the finest with the next one,
    their result with the one after that, and so on (`fusion.several`). Here x is the finer level.

    Parameters and inputs as `fusion.models.dense.Pyramid`. There is one output, the finest map.
    """

    def add_decoder(self) -> None:
        channels, count = self.channels[0], len(self.channels)
        together = None if selects(two_input_fusion(self._fusion)) else PAIRWISE
        options = {"in_channels": self.channels, "resize": "bilinear", "iterate": together, **self._options}
        self.fuse = get_fusion(self._fusion, channels, inputs=count, **options)
        self.post = post_layers(channels, channels)
        self.channels, self.strides = self.channels[:1], self.strides[:1]

    def decode(self, F: Any, levels: Sequence[Any]) -> Tuple[Any, ...]:
        return (self.post(self.fuse(*levels)),)


class FPN(DenseNetwork):
    """Feature pyramid network: the finest level, in which all levels above it are fused, gives the answer.

    Parameters, attributes, inputs and outputs as `fusion.models.dense.DenseNetwork`.
    """

    pyramids = {"pairs": FeaturePyramid, "all": JointPyramid}
