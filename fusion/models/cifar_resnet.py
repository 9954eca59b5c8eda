"""Pre-activation ResNet for 32×32 images whose shortcuts are fused by any block of `fusion.fuse`.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 4 (short skip connections); the residual block is that
of He et al., "Identity Mappings in Deep Residual Networks", arXiv 1603.05027.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, List

from ..compat import HybridBlock, nn
from ..operators import GlobalAveragePool
from .layers import (
    InputNorm,
    average_pool,
    convolution1x1,
    convolution3x3,
    final_dropout,
    norm_relu,
    sequence,
    stem_layers,
)
from .network import Network, fusion_by_stage, positive

#: Channels of the stem and of the three stages if channel_times is 1.
WIDTHS = (16, 16, 32, 64)


class PreActivationBlock(HybridBlock):
    """BN, ReLU, conv3×3 (stride), BN, ReLU, conv3×3, fused with the block's raw input.

    Parameters
    ----------
    channels, stride, in_channels : int
        Output channels, stride and input channels of the block. If the two numbers of channels differ, the shortcut has
        a convolution.
    attention : callable
        A function that makes the fusion block. The block takes the output of the residual function and the shortcut,
        both (B, channels, H / stride, W / stride).
    avg_down : bool
        True shrinks the shortcut by average pooling before its convolution (second release of the original program);
        False by the stride of the convolution (first release).
    """

    def __init__(
        self, channels: int, stride: int, in_channels: int, attention: Callable[[], Any], avg_down: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.resfwd = sequence(
                lambda: [
                    *norm_relu(in_channels),
                    convolution3x3(channels, stride, in_channels),
                    *norm_relu(channels),
                    convolution3x3(channels, 1, channels),
                ]
            )
            self.downsample = sequence(lambda: _shortcut(channels, stride, in_channels, avg_down))
            self.attention = attention()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.attention(self.resfwd(x), self.downsample(x))


def _shortcut(channels: int, stride: int, in_channels: int, avg_down: bool) -> List[Any]:
    if in_channels == channels:
        return []
    if avg_down:
        return [average_pool(stride), convolution1x1(channels, 1, in_channels)]
    return [convolution1x1(channels, stride, in_channels)]


class CIFARResNet(Network):
    """Pre-activation ResNet of depth 6·blocks + 2 for 32×32 images.

    Parameters
    ----------
    fusion : str, default 'aff'
        The block that fuses each shortcut: a name that `fusion.get_fusion` knows.
    blocks : int, default 5
        Residual blocks in each of the three stages; 5 gives ResNet-32.
    channel_times : int, default 4
        The widths 16, 16, 32, 64 are multiplied by this number.
    start_layer : int, default 1
        Stages before this one fuse by addition.
    classes : int, default 100
        The number of logits.
    deep_stem : bool, default False
        Use three convolutions in the stem in place of one.
    avg_down : bool, default True
        Shrink shortcuts by average pooling (second release); False uses the strided convolution of the first release.
    final_drop : float, default 0
        The rate of dropout before the classifier.
    r : int, default 4
        The channel reduction in the fusion blocks.
    norm : {'batch', 'group', 'none'}
        The normalisation in the global branches of the fusion blocks: see `fusion.attention.GlobalContext`.

    Inputs
        - **x**: images (B, 3, 32, 32), normalised; height and width may be any multiples of 4.
    Outputs
        - logits (B, classes).
    """

    input_size = 32

    def __init__(
        self,
        fusion: str = "aff",
        blocks: int = 5,
        channel_times: int = 4,
        start_layer: int = 1,
        classes: int = 100,
        deep_stem: bool = False,
        avg_down: bool = True,
        final_drop: float = 0.0,
        r: int = 4,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        positive("blocks", blocks)
        stem, *stages = (width * positive("channel_times", channel_times) for width in WIDTHS)
        fuse = fusion_by_stage(fusion, start_layer, r, norm)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(InputNorm())
            stem_widths = (stem // 2, stem // 2, stem) if deep_stem else (stem,)
            self.features.add(*stem_layers(stem_widths, stride=1))
            width = stem
            for index, channels in enumerate(stages, start=1):
                stage = nn.HybridSequential(prefix=f"stage{index}_")
                with stage.name_scope():
                    for position in range(blocks):
                        stride = 2 if index > 1 and position == 0 else 1
                        attention = partial(fuse, index, channels)
                        stage.add(PreActivationBlock(channels, stride, width, attention, avg_down))
                        width = channels
                self.features.add(stage)
            self.features.add(*norm_relu(width), GlobalAveragePool(), nn.Flatten())
            self.drop = final_dropout(final_drop)
            self.output = nn.Dense(classes, in_units=width)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.features(x)
        if self.drop is not None:
            x = self.drop(x)
        return self.output(x)
