"""ResNeXt for ImageNet whose shortcuts are fused by any block of `fusion.fuse`, and its grouped bottleneck.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 4; the bottleneck is that of Xie et al., "Aggregated
Residual Transformations for Deep Neural Networks", arXiv 1611.05431.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Optional

from ..compat import HybridBlock, mx, nn
from ..operators import GlobalAveragePool, repeat_over_pixels
from .layers import (
    Shortcut,
    convolution1x1,
    convolution3x3,
    convolution7x7,
    final_dropout,
    norm_relu,
    pooled_shortcut,
    sequence,
    stem_layers,
    strided_shortcut,
)
from .network import Network, fusion_by_stage, positive
from .resnet import EXPANSION, STAGE_WIDTHS, blocks_of

#: The width at which a group has `bottleneck_width` channels.
_REFERENCE_WIDTH = 64

#: The optional squeeze-and-excitation in a bottleneck of width c reduces its EXPANSION·c channels to c / 4.
_SE_WIDTH_DIVISOR = 4


class ResNeXtBlock(HybridBlock):
    """A grouped bottleneck fused with its shortcut: ReLU(attention(body(x), shortcut(x))).

    Parameters
    ----------
    width : int
        c, the width of the stage; the block has 4c output channels.
    stride, in_channels : int
        Stride and input channels of the block.
    cardinality, bottleneck_width : int
        The number of groups of the 3×3 convolution, and the channels per group if c is 64.
    attention : callable
        A function that makes the fusion block, for 4c channels.
    downsample : callable or None
        A function of (stride, in_channels, channels) that makes the shortcut of a stage's first block; None stands for
        the identity.
    last_gamma : bool
        Initialise gamma of the last batch norm as 0, so that the body's output is 0 at first.
    use_se : bool
        Apply squeeze-and-excitation to the body.
    """

    def __init__(
        self,
        width: int,
        stride: int,
        in_channels: int,
        cardinality: int,
        bottleneck_width: int,
        attention: Callable[[], Any],
        downsample: Optional[Shortcut],
        last_gamma: bool,
        use_se: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        channels = EXPANSION * width
        group_channels = width * bottleneck_width // _REFERENCE_WIDTH
        if group_channels < 1:
            raise ValueError(
                f"bottleneck_width={bottleneck_width} leaves no channel per group at width {width}: "
                f"use at least {-(-_REFERENCE_WIDTH // width)}, or a larger channel_times"
            )
        grouped = cardinality * group_channels
        with self.name_scope():
            self.body = sequence(
                lambda: [
                    convolution1x1(grouped, 1, in_channels),
                    *norm_relu(grouped),
                    convolution3x3(grouped, stride, grouped, groups=cardinality),
                    *norm_relu(grouped),
                    convolution1x1(channels, 1, grouped),
                    nn.BatchNorm(in_channels=channels, gamma_initializer="zeros" if last_gamma else "ones"),
                ]
            )
            self.se = _squeeze_excite(width) if use_se else None
            self.downsample = downsample(stride, in_channels, channels) if downsample else None
            self.attention = attention()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        body = self.body(x)
        if self.se is not None:
            pooled = F.contrib.AdaptiveAvgPooling2D(body, output_size=1)
            body = body * repeat_over_pixels(F, self.se(pooled), body)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.Activation(self.attention(body, shortcut), act_type="relu")


def _squeeze_excite(width: int) -> Any:
    """conv1×1 to c / 4 channels, ReLU, conv1×1 back to 4c, sigmoid; to be applied to the body after pooling."""
    channels, squeezed = EXPANSION * width, width // _SE_WIDTH_DIVISOR
    return sequence(
        lambda: [
            nn.Conv2D(squeezed, kernel_size=1, in_channels=channels),
            nn.Activation("relu"),
            nn.Conv2D(channels, kernel_size=1, in_channels=squeezed),
            nn.Activation("sigmoid"),
        ]
    )


def resnext_stage(
    index: int,
    blocks: int,
    width: int,
    in_channels: int,
    downsample: Shortcut,
    fuse: Callable[[int, int], Any],
    **block: Any,
) -> Any:
    """One stage of ResNeXt blocks. Its first block has stride 2, or 1 in stage 1, and a shortcut with weights.

    Parameters
    ----------
    index : int
        The number of the stage, from 1.
    blocks, width, in_channels : int
        The number of blocks, the width and the input channels of the stage, which has 4·width output channels.
    downsample : callable
        `pooled_shortcut` or `strided_shortcut`.
    fuse : callable
        A function of (stage, channels) that makes a fusion block.
    **block
        The arguments `cardinality`, `bottleneck_width`, `last_gamma` and `use_se` of `ResNeXtBlock`.
    """
    channels = EXPANSION * width
    stage = nn.HybridSequential(prefix=f"stage{index}_")
    with stage.name_scope():
        for position in range(blocks):
            first = position == 0
            stage.add(
                ResNeXtBlock(
                    width,
                    stride=2 if first and index > 1 else 1,
                    in_channels=in_channels if first else channels,
                    attention=partial(fuse, index, channels),
                    downsample=downsample if first else None,
                    **block,
                )
            )
    return stage


class ResNeXt(Network):
    """ResNeXt-50/101 for ImageNet.

    Parameters
    ----------
    layers : {50, 101, 152}
        Depth.
    fusion : str, default 'aff'
        The block that fuses each shortcut: a name that `fusion.get_fusion` knows.
    start_layer : int, default 3
        Stages before this one fuse by addition.
    classes : int, default 1000
        The number of logits.
    cardinality, bottleneck_width : int, default 32 and 4
        The number of groups, and the channels per group in stage 1.
    deep_stem : bool, default True
        Use three 3×3 convolutions (of 64, 64 and 128 channels) in the stem in place of one of 7×7.
    avg_down : bool, default True
        Shrink shortcuts by average pooling. The shortcut of stage 1 does not shrink, and has none.
    last_gamma : bool, default True
        Initialise gamma of each block's last batch norm as 0.
    use_se : bool, default False
        Add squeeze-and-excitation to each block.
    final_drop : float, default 0
        The rate of dropout before the classifier.
    r : int, default 16
        The channel reduction in the fusion blocks.
    norm : {'batch', 'group', 'none'}
        The normalisation in the global branches of the fusion blocks.

    Inputs
        - **x**: images (B, 3, H, W), normalised; 224×224 or 320×320 as published.
    Outputs
        - logits (B, classes).
    """

    def __init__(
        self,
        layers: int = 50,
        fusion: str = "aff",
        start_layer: int = 3,
        classes: int = 1000,
        cardinality: int = 32,
        bottleneck_width: int = 4,
        deep_stem: bool = True,
        avg_down: bool = True,
        last_gamma: bool = True,
        use_se: bool = False,
        final_drop: float = 0.0,
        r: int = 16,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        fuse = fusion_by_stage(fusion, start_layer, r, norm)
        counts = blocks_of(layers)
        stem = (64, 64, 128) if deep_stem else (64,)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            if deep_stem:
                self.features.add(*stem_layers(stem, stride=2))
            else:
                self.features.add(convolution7x7(stem[-1]))
            self.features.add(*norm_relu(stem[-1]))
            self.features.add(nn.MaxPool2D(pool_size=3, strides=2, padding=1))
            in_channels = stem[-1]
            for index, (blocks, width) in enumerate(zip(counts, STAGE_WIDTHS), start=1):
                self.features.add(
                    resnext_stage(
                        index,
                        blocks,
                        width,
                        in_channels,
                        pooled_shortcut if avg_down and index > 1 else strided_shortcut,
                        fuse,
                        cardinality=positive("cardinality", cardinality),
                        bottleneck_width=positive("bottleneck_width", bottleneck_width),
                        last_gamma=last_gamma,
                        use_se=use_se,
                    )
                )
                in_channels = EXPANSION * width
            self.features.add(GlobalAveragePool())
            self.drop = final_dropout(final_drop)
            self.output = nn.Dense(classes, in_units=in_channels)

    @staticmethod
    def default_initializer() -> Any:
        return mx.init.MSRAPrelu()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.features(x)
        if self.drop is not None:
            x = self.drop(x)
        return self.output(x)
