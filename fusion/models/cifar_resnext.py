"""ResNeXt for 32×32 images whose shortcuts are fused by any block of `fusion.fuse`.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 4; the block is `fusion.models.resnext.ResNeXtBlock`.
"""

from __future__ import annotations

from typing import Any

from ..compat import nn
from ..operators import GlobalAveragePool
from .layers import final_dropout, norm_relu, pooled_shortcut, stem_layers
from .network import Network, fusion_by_stage, positive
from .resnet import EXPANSION
from .resnext import resnext_stage

#: Width of the first stage if channel_times is 1; each later stage has twice the width of the one before it.
FIRST_WIDTH = 16
STAGES = 3


class CIFARResNeXt(Network):
    """ResNeXt of depth 9·blocks + 2 for 32×32 images.

    Parameters
    ----------
    fusion : str, default 'aff'
        The block that fuses each shortcut: a name that `fusion.get_fusion` knows.
    blocks : int, default 4
        Residual blocks in each of the three stages; 4 gives ResNeXt-38, 5 gives ResNeXt-47.
    channel_times : int, default 4
        The first stage's width of 16 is multiplied by this number.
    start_layer : int, default 1
        Stages before this one fuse by addition.
    classes : int, default 100
        The number of logits.
    cardinality, bottleneck_width : int, default 32 and 4
        The number of groups, and the channels per group at width 64.
    deep_stem : bool, default False
        Use three convolutions in the stem in place of one.
    last_gamma : bool, default True
        Initialise gamma of each block's last batch norm as 0. The original program did so if its flag of this name was
        off, because it read the flag the wrong way round.
    use_se : bool, default False
        Add squeeze-and-excitation to each block.
    final_drop : float, default 0
        The rate of dropout before the classifier.
    r : int, default 16
        The channel reduction in the fusion blocks.
    norm : {'batch', 'group', 'none'}
        The normalisation in the global branches of the fusion blocks.

    Inputs
        - **x**: images (B, 3, 32, 32), normalised; height and width may be any multiples of 4.
    Outputs
        - logits (B, classes).
    """

    input_size = 32

    def __init__(
        self,
        fusion: str = "aff",
        blocks: int = 4,
        channel_times: int = 4,
        start_layer: int = 1,
        classes: int = 100,
        cardinality: int = 32,
        bottleneck_width: int = 4,
        deep_stem: bool = False,
        last_gamma: bool = True,
        use_se: bool = False,
        final_drop: float = 0.0,
        r: int = 16,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        fuse = fusion_by_stage(fusion, start_layer, r, norm)
        width = FIRST_WIDTH * positive("channel_times", channel_times)
        in_channels = width
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            stem = (width // 2, width // 2, width) if deep_stem else (width,)
            self.features.add(*stem_layers(stem, stride=1), *norm_relu(width))
            for index in range(1, STAGES + 1):
                self.features.add(
                    resnext_stage(
                        index,
                        positive("blocks", blocks),
                        width,
                        in_channels,
                        pooled_shortcut,
                        fuse,
                        cardinality=positive("cardinality", cardinality),
                        bottleneck_width=positive("bottleneck_width", bottleneck_width),
                        last_gamma=last_gamma,
                        use_se=use_se,
                    )
                )
                in_channels, width = EXPANSION * width, 2 * width
            self.features.add(GlobalAveragePool())
            self.drop = final_dropout(final_drop)
            self.output = nn.Dense(classes, in_units=in_channels)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.features(x)
        if self.drop is not None:
            x = self.drop(x)
        return self.output(x)
