"""ResNet-v1b for ImageNet whose shortcuts are fused by any block of `fusion.fuse`.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 4. The network is GluonCV's ResNet-v1b, which has the
stride in the 3×3 convolution, with the deep stem and average-pooled shortcuts of ResNet-D (He et al., arXiv
1812.01187).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..compat import HybridBlock, mx, nn
from ..operators import GlobalAveragePool
from .layers import (
    Shortcut,
    convolution1x1,
    convolution3x3,
    convolution7x7,
    final_dropout,
    pooled_shortcut,
    sequence,
    stem_layers,
    strided_shortcut,
)
from .network import Network, fusion_by_stage

#: Bottlenecks per stage, by depth. For 152 the original program has (3, 4, 36, 3), which gives only 140 layers.
BLOCKS: Dict[int, Tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

#: Planes of each stage; its output has 4 times this number of channels.
STAGE_WIDTHS = (64, 128, 256, 512)
EXPANSION = 4

_STEM_CHANNELS = 64
_DEEP_STEM = (32, 32, _STEM_CHANNELS)


def blocks_of(layers: int) -> Tuple[int, ...]:
    """Blocks per stage of a network of this depth.

    Raises
    ------
    ValueError
        If there is no such depth.
    """
    if layers not in list(BLOCKS):
        raise ValueError(f"layers={layers!r}: expected one of {', '.join(map(str, BLOCKS))}")
    return BLOCKS[layers]


class Bottleneck(HybridBlock):
    """conv1×1, conv3×3 (stride, dilation), conv1×1, fused with the shortcut, then ReLU.

    Parameters
    ----------
    planes : int
        p, the channels of the inner convolutions; the block has 4p output channels.
    stride, dilation, in_channels : int
        Of the block: stride and dilation of its 3×3 convolution, and its input channels.
    attention : callable
        A function that makes the fusion block, for 4p channels.
    downsample : callable or None
        A function of (stride, in_channels, channels) that makes the shortcut of a stage's first block; None stands for
        the identity.
    last_gamma : bool
        Initialise gamma of the last batch norm as 0.
    """

    def __init__(
        self,
        planes: int,
        stride: int,
        dilation: int,
        in_channels: int,
        attention: Callable[[], Any],
        downsample: Optional[Shortcut],
        last_gamma: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        channels = EXPANSION * planes
        with self.name_scope():
            self.conv1 = convolution1x1(planes, 1, in_channels)
            self.bn1 = nn.BatchNorm(in_channels=planes)
            self.conv2 = convolution3x3(planes, stride, planes, dilation)
            self.bn2 = nn.BatchNorm(in_channels=planes)
            self.conv3 = convolution1x1(channels, 1, planes)
            self.bn3 = nn.BatchNorm(in_channels=channels, gamma_initializer="zeros" if last_gamma else "ones")
            self.downsample = downsample(stride, in_channels, channels) if downsample else None
            self.attention = attention()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        out = F.Activation(self.bn1(self.conv1(x)), act_type="relu")
        out = F.Activation(self.bn2(self.conv2(out)), act_type="relu")
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.Activation(self.attention(out, shortcut), act_type="relu")


class ResNet(Network):
    """ResNet-50/101/152 for ImageNet.

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
    deep_stem : bool, default True
        Use three 3×3 convolutions (of 32, 32 and 64 channels) in the stem in place of one of 7×7.
    avg_down : bool, default True
        Shrink shortcuts by average pooling; False uses a strided convolution.
    dilated : bool, default False
        For dense prediction: stages 3 and 4 have stride 1 and dilations of 2 and 4.
    last_gamma : bool, default True
        Initialise gamma of each block's last batch norm as 0.
    final_drop : float, default 0
        The rate of dropout before the classifier.
    r : int, default 16
        The channel reduction in the fusion blocks.
    norm : {'batch', 'group', 'none'}
        The normalisation in the global branches of the fusion blocks.

    Inputs
        - **x**: images (B, 3, H, W), normalised; 224×224 as published.
    Outputs
        - logits (B, classes).
    """

    classifier = "fc"

    def __init__(
        self,
        layers: int = 50,
        fusion: str = "aff",
        start_layer: int = 3,
        classes: int = 1000,
        deep_stem: bool = True,
        avg_down: bool = True,
        dilated: bool = False,
        last_gamma: bool = True,
        final_drop: float = 0.0,
        r: int = 16,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        counts = blocks_of(layers)
        fuse = fusion_by_stage(fusion, start_layer, r, norm)
        strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
        shortcut = pooled_shortcut if avg_down else strided_shortcut
        in_channels = _STEM_CHANNELS
        with self.name_scope():
            if deep_stem:
                self.conv1 = sequence(partial(stem_layers, _DEEP_STEM, 2), prefix="conv1_")
            else:
                self.conv1 = convolution7x7(_STEM_CHANNELS)
            self.bn1 = nn.BatchNorm(in_channels=_STEM_CHANNELS)
            self.relu = nn.Activation("relu")
            self.maxpool = nn.MaxPool2D(pool_size=3, strides=2, padding=1)
            for index, (blocks, planes, stride, dilation) in enumerate(
                zip(counts, STAGE_WIDTHS, strides, dilations), start=1
            ):
                channels = EXPANSION * planes
                stage = nn.HybridSequential(prefix=f"layer{index}_")
                with stage.name_scope():
                    for position in range(blocks):
                        first = position == 0
                        stage.add(
                            Bottleneck(
                                planes,
                                stride=stride if first else 1,
                                dilation=max(1, dilation // 2) if first else dilation,
                                in_channels=in_channels,
                                attention=partial(fuse, index, channels),
                                downsample=shortcut if first else None,
                                last_gamma=last_gamma,
                            )
                        )
                        in_channels = channels
                setattr(self, f"layer{index}", stage)
            self.avgpool = GlobalAveragePool()
            self.flat = nn.Flatten()
            self.drop = final_dropout(final_drop)
            self.fc = nn.Dense(classes, in_units=in_channels)

    @staticmethod
    def default_initializer() -> Any:
        return mx.init.MSRAPrelu()

    def stage_features(self, x: Any) -> List[Any]:
        levels = [self.maxpool(self.relu(self.bn1(self.conv1(x))))]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            levels.append(stage(levels[-1]))
        return levels[1:]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.flat(self.avgpool(self.stage_features(x)[-1]))
        if self.drop is not None:
            x = self.drop(x)
        return self.fc(x)
