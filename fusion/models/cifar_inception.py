"""Pre-activation ResNet for 32×32 images in which each 3×3 convolution is two branches that are fused: the same layer.

Source: "Attentional Feature Fusion", arXiv 2009.14082, section 4 (same layer), and the network of that place in the
first release's history; the residual block is that of He et al., "Identity Mappings in Deep Residual Networks",
arXiv 1603.05027. Here x, the first input of the fusion block, is the branch of the larger field and y that of the
smaller one; shortcuts are always added.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, List

from ..attention import GlobalAveragePool
from ..compat import HybridBlock, nn
from ..fuse import find_fusion
from .cifar_resnet import WIDTHS
from .layers import InputNorm, convolution1x1, final_dropout, norm_relu, sequence
from .network import Network, fusion_by_stage, positive

#: From the number of channels to a fusion block.
Fuse = Callable[[int], Any]


def _branch(channels: int, stride: int, in_channels: int, dilation: int, normalised: bool) -> Any:
    """conv3×3 with bias, dilated or not, and BN where the two branches are normalised."""
    convolution = partial(nn.Conv2D, channels, 3, stride, dilation, dilation, in_channels=in_channels)
    return sequence(lambda: [convolution(), *([nn.BatchNorm(in_channels=channels)] if normalised else [])])


class InceptionUnit(HybridBlock):
    """Two convolutions of one input, of a 3×3 and of a 5×5 field, fused: what stands in the place of a 3×3 convolution.

    The 5×5 field is that of a 3×3 convolution of dilation 2. Each branch ends in a batch norm, except where they are
    added, as released.

    Parameters
    ----------
    channels, stride, in_channels : int
        Of both convolutions.
    fuse : callable
        Makes the fusion block of so many channels. It is called on (branch of the 5×5 field, branch of the 3×3 field),
        both (B, channels, H / stride, W / stride).

    Inputs
        - **x**: features (B, in_channels, H, W).
    Outputs
        - fused features (B, channels, H / stride, W / stride), rounded up.
    """

    #: What x and y of the fusion block are, in words for pictures.
    fused_inputs = ("5x5 branch", "3x3 branch")

    def __init__(self, channels: int, stride: int, in_channels: int, fuse: Fuse, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            fusion = fuse(channels)
            normalised = not isinstance(fusion, find_fusion("add"))
            self.feature_spatial_3 = _branch(channels, stride, in_channels, 1, normalised)
            self.feature_spatial_5 = _branch(channels, stride, in_channels, 2, normalised)
            self.fuse = fusion

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.fuse(self.feature_spatial_5(x), self.feature_spatial_3(x))


class InceptionBlock(HybridBlock):
    """BN, ReLU, unit (stride), BN, ReLU, unit, plus the block's raw input.

    Parameters
    ----------
    channels, stride, in_channels : int
        Of the block. The shortcut has a convolution of that stride where the width changes.
    inner : int
        Channels between the two units.
    fuse : callable
        As in `InceptionUnit`.
    """

    def __init__(self, channels: int, stride: int, in_channels: int, inner: int, fuse: Fuse, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.bn1 = nn.BatchNorm(in_channels=in_channels)
            self.bn2 = nn.BatchNorm(in_channels=inner)
            self.conv1 = InceptionUnit(inner, stride, in_channels, fuse)
            self.conv2 = InceptionUnit(channels, 1, inner, fuse)
            self.downsample = None if in_channels == channels else convolution1x1(channels, stride, in_channels)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(x))) + shortcut


class CIFARInception(Network):
    """Inception-ResNet of depth 6·blocks + 2 for 32×32 images, fused within each layer.

    Parameters
    ----------
    fusion : str, default 'aff'
        What fuses the two branches of each unit: a name that `fusion.get_fusion` knows.
    blocks : int, default 3
        Residual blocks in each of the three stages, of two units each; 3 is Inception-ResNet-20.
    channel_times : int, default 1
        Multiplies the widths 16, 16, 32, 64.
    start_layer : int, default 1
        Stages before this one fuse by addition. The stem is a unit of stage 1.
    classes : int, default 100
        Logits.
    as_released : bool, default False
        The first unit of every block ends in the width of the stage before, as in the release, whose blocks are thus
        narrower inside; by default in the block's own width, as is usual.
    final_drop : float, default 0
        Dropout before the classifier.
    r : int, default 4
        Reduction of the fusion blocks.
    norm : {'batch', 'group', 'none'}
        Of the fusion blocks' global branches: see `fusion.attention.GlobalContext`.

    Inputs
        - **x**: images (B, 3, 32, 32), normalised; any size works.
    Outputs
        - logits (B, classes).
    """

    input_size = 32

    def __init__(
        self,
        fusion: str = "aff",
        blocks: int = 3,
        channel_times: int = 1,
        start_layer: int = 1,
        classes: int = 100,
        as_released: bool = False,
        final_drop: float = 0.0,
        r: int = 4,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        positive("blocks", blocks)
        stem, *widths = (width * positive("channel_times", channel_times) for width in WIDTHS)
        by_stage = fusion_by_stage(fusion, start_layer, r, norm)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(InputNorm(), InceptionUnit(stem, 1, 3, partial(by_stage, 1)))
            before = stem
            for index, channels in enumerate(widths, start=1):
                inner = before if as_released else channels
                blocks_of_stage = partial(_blocks, blocks, channels, before, inner, index, partial(by_stage, index))
                self.features.add(sequence(blocks_of_stage, prefix=f"stage{index}_"))
                before = channels
            self.features.add(*norm_relu(before), GlobalAveragePool(), nn.Flatten())
            self.drop = final_dropout(final_drop)
            self.output = nn.Dense(classes, in_units=before)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.features(x)
        if self.drop is not None:
            x = self.drop(x)
        return self.output(x)


def _blocks(blocks: int, channels: int, before: int, inner: int, stage: int, fuse: Fuse) -> List[Any]:
    """The residual blocks of a stage, which shrinks unless it is the first."""
    first = InceptionBlock(channels, 1 if stage == 1 else 2, before, inner, fuse)
    return [first, *(InceptionBlock(channels, 1, channels, inner, fuse) for _ in range(blocks - 1))]
