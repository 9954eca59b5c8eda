"""Feature pyramid whose levels are joined by any block of `fusion.fuse`, with an answer per pixel.

Source: the pyramid of Lin et al., arXiv 1612.03144, as in the released code of "Asymmetric Contextual Modulation",
arXiv 2009.14530, which is the host of the long skip connections of "Attentional Feature Fusion", arXiv 2009.14082.
"""

from __future__ import annotations

from typing import Any

from .dense import DenseNetwork, Pyramid, resize_like


class FeaturePyramid(Pyramid):
    """Each level is the level above, resized, fused with the encoder's own: `fuse23`, `fuse12`.

    Parameters, inputs and outputs as `fusion.models.dense.Pyramid`.
    """

    def add_step(self, level: int) -> None:
        setattr(self, f"fuse{level}{level + 1}", self.join(level, reduce=not self._laterals))

    def step(self, F: Any, level: int, high: Any, low: Any) -> Any:
        return getattr(self, f"fuse{level}{level + 1}")(resize_like(F, high, low), low)


class FPN(DenseNetwork):
    """Feature pyramid network: the finest level, in which all levels above it are fused, gives the answer.

    Parameters, attributes, inputs and outputs as `fusion.models.dense.DenseNetwork`.
    """

    pyramid_type = FeaturePyramid
