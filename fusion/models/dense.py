"""What the networks with an answer per pixel have in common: a pyramid of features and a head.

Source: the released code of "Asymmetric Contextual Modulation", arXiv 2009.14530; the head is GluonCV's `_FCNHead`, of
Long et al., "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

from ..compat import HybridBlock, mx, nn
from ..errors import CheckpointError, nearest
from ..features import resized
from ..long_skip import Inlined, LongSkip, get_long_skip
from .encoder import BasicEncoder, ClassifierEncoder
from .layers import convolution3x3, dropout, norm_relu, sequence
from .network import Network, describe_mismatches, mismatches, positive, set_parameters
from .parameter_file import read_parameters

#: The name of the released encoder.
BASIC = "basic"

#: What is for the basic encoder only, with the values that nobody has set.
_OF_BASIC = {"channel_times": 1, "tiny": False, "stages": 3}

#: The head's inner convolution has the channels of its input divided by this.
_HEAD_DIVISOR = 4


def _classifier_as_encoder(
    encoder: Union[str, Mapping[str, Any]], dilated: bool, of_basic: Mapping[str, Any]
) -> ClassifierEncoder:
    """A classifier by its name, or by its name and arguments, as an encoder.

    Raises
    ------
    ValueError
        If there is none, or an argument is for the basic encoder only.
    """
    from .zoo import FAMILIES, family_of, get_model  # which knows the networks of this module

    arguments: Dict[str, Any] = {"name": encoder} if isinstance(encoder, str) else dict(encoder)
    name: Any = arguments.pop("name", None)
    if dilated:
        arguments["dilated"] = True
    for key, value in of_basic.items():
        if value != _OF_BASIC[key]:
            raise ValueError(f"{key}={value!r} is for encoder={BASIC!r}; encoder={name!r} has no such argument here")
    try:
        family, _ = family_of(name)
        if FAMILIES[family].dense:
            raise ValueError(f"{name} is no classifier")
        return ClassifierEncoder(get_model(name, **arguments))
    except ValueError as error:
        raise ValueError(f"encoder={encoder!r}: {error}; or {BASIC!r}") from None


class Head(HybridBlock):
    """conv3×3 to a quarter of the channels, BN, ReLU, dropout, conv1×1 to the classes.

    Parameters
    ----------
    in_channels, classes : int
        Of the features and of the logits.
    drop : float
        Share that is set to 0 in training.

    Inputs
        - **x**: features (B, in_channels, H, W).
    Outputs
        - logits (B, classes, H, W).
    """

    def __init__(self, in_channels: int, classes: int, drop: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        width = max(1, in_channels // _HEAD_DIVISOR)
        with self.name_scope():
            self.block = sequence(
                lambda: [
                    convolution3x3(width, 1, in_channels),
                    *norm_relu(width),
                    dropout("head_drop", drop),
                    nn.Conv2D(classes, kernel_size=1, in_channels=width),
                ]
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.block(x)


def resize_like(F: Any, x: Any, like: Any) -> Any:
    """(B, C, h, w) brought to the height and width of another map by bilinear interpolation, corners aligned."""
    return resized(F, x, x, like, 2, "bilinear")


def crop_like(F: Any, x: Any, like: Any) -> Any:
    """The upper left part of (B, C, h, w) that has the height and width of another map."""
    return F.slice_like(x, like, axes=(2, 3))


class Pyramid(Inlined):
    """An encoder and a decoder: from an image to a map of features per level, each fused with the levels above it.

    A subclass adds the layers between two levels in `add_step`, and says in `step` how they are used; or those of a
    decoder of another form in `add_decoder` and `decode`.

    Parameters
    ----------
    encoder : BasicEncoder or ClassifierEncoder
        It makes the levels.
    fusion, r, norm
        What fuses two levels: see `fusion.get_long_skip`.
    blocks : int
        In each stage of a decoder that has stages.
    width : int, optional
        Channels of every map, to which a 1×1 convolution (`lateral1`, ...) brings each level first. Without it each map
        has the channels of its level, and a map of high level is brought to those of the level below by the join.

    Attributes
    ----------
    channels, strides : tuple of int
        Of each map, the finest first: how many channels it has and how many pixels of the image a pixel of it spans.

    Inputs
        - **x**: images (B, 3, H, W), of any size.
    Outputs
        - a tuple of maps (B, channels[i], H / strides[i], W / strides[i]), rounded up, the finest first.
    """

    def __init__(
        self,
        encoder: Union[BasicEncoder, ClassifierEncoder],
        fusion: str,
        blocks: int,
        r: int,
        norm: str,
        width: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inlined = ("encoder",) if isinstance(encoder, BasicEncoder) else ()
        self.channels, self.strides = encoder.channels, encoder.strides
        self._blocks, self._fusion, self._options = blocks, fusion, {"r": r, "norm": norm}
        self._laterals = width is not None
        with self.name_scope():
            self.encoder = encoder
            if width is not None:
                positive("decoder_width", width)
                for level, channels in enumerate(self.channels, start=1):
                    setattr(self, f"lateral{level}", nn.Conv2D(width, kernel_size=1, in_channels=channels))
                self.channels = (width,) * len(self.channels)
            self.add_decoder()

    def add_decoder(self) -> None:
        """Add the layers of the decoder."""
        for level in range(len(self.channels) - 1, 0, -1):
            self.add_step(level)

    def join(self, level: int, reduce: bool) -> LongSkip:
        """The join of a level, counted from 1, with the one above it."""
        low, high = self.channels[level - 1 : level + 1]
        return get_long_skip(self._fusion, low, high if reduce else low, reduce, **self._options)

    def add_step(self, level: int) -> None:
        """Add the layers that bring a level, counted from 1, together with the one above it."""
        raise NotImplementedError

    def step(self, F: Any, level: int, high: Any, low: Any) -> Any:
        """The decoder's map of a level, from its map of the level above and the encoder's of this one."""
        raise NotImplementedError

    def hybrid_forward(self, F: Any, x: Any) -> Tuple[Any, ...]:
        levels = self.encoder(x)
        if self._laterals:
            levels = [getattr(self, f"lateral{level}")(features) for level, features in enumerate(levels, start=1)]
        return self.decode(F, levels)

    def decode(self, F: Any, levels: Sequence[Any]) -> Tuple[Any, ...]:
        """The maps of the decoder, from those of the encoder; both the finest first."""
        maps = [levels[-1]]
        for level in range(len(levels) - 1, 0, -1):
            maps.insert(0, self.step(F, level, maps[0], levels[level - 1]))
        return tuple(maps)


class DenseNetwork(Inlined, Network):
    """A network that ends in logits for each pixel of its input.

    Parameters
    ----------
    fusion : str, default 'aff'
        What fuses two levels: a name that `fusion.get_fusion` knows.
    blocks : int, default 4
        In each stage of the basic encoder, and of the decoder where it has stages.
    channel_times : int, default 1
        Multiplies the basic encoder's widths 16, 32, 64 (and 128).
    tiny : bool, default False
        Whether the basic encoder's finest level has the size of the image, for targets of a few pixels; otherwise it
        has a quarter. Where the finest level is smaller than the image, the logits are resized.
    stages : {3, 4}
        How many levels the basic encoder has.
    classes : int, default 1
        Logits per pixel; one is for a target before a background.
    head_drop : float, default 0.1
        Dropout before the last layer.
    r : int, default 4
        Reduction of the fusion blocks at the joins.
    norm : {'batch', 'group', 'none'}
        Of the global branches of these blocks: see `fusion.attention.GlobalContext`.
    encoder : str or mapping, default 'basic'
        The released one; or a family or named model that classifies, such as 'aff_resnet50', whose stages are the
        levels. A mapping has its name as 'name' and arguments of it beside that: {'name': 'cifar_resnet', 'blocks': 3}.
    dilated : bool, default False
        Of an encoder of the family 'resnet': its stages 3 and 4 keep the size of stage 2.
    decoder_width : int, optional
        Channels of every map of the decoder, such as 256 for many classes; as many as the level has by default.
    join : {'pairs', 'all'}, default 'pairs'
        Fuse each level with the one above it, or, in `fpn` only, all levels at once.

    Attributes
    ----------
    pyramid : Pyramid
        The network without its head: from an image to a tuple of maps, such as a detector takes.

    Inputs
        - **x**: images (B, 3, H, W), normalised, of any size.
    Outputs
        - logits (B, classes, H, W).
    """

    dense = True
    input_size = 480
    classifier = "head.block.4"
    inlined = ("pyramid",)

    #: The family's pyramids by the values of `join`.
    pyramids: ClassVar[Mapping[str, Type[Pyramid]]] = {}

    def __init__(
        self,
        fusion: str = "aff",
        blocks: int = 4,
        channel_times: int = 1,
        tiny: bool = False,
        stages: int = 3,
        classes: int = 1,
        head_drop: float = 0.1,
        r: int = 4,
        norm: str = "batch",
        encoder: Union[str, Mapping[str, Any]] = BASIC,
        dilated: bool = False,
        decoder_width: Optional[int] = None,
        join: str = "pairs",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        if join not in self.pyramids:
            raise ValueError(f"join={join!r}: {nearest(join, self.pyramids)}")
        positive("blocks", blocks)
        with self.name_scope():
            if encoder == BASIC:
                if dilated:
                    raise ValueError("dilated=True is for an encoder of the family 'resnet'")
                levels: Any = BasicEncoder(blocks, channel_times, tiny, stages)
            else:
                of_basic = {"channel_times": channel_times, "tiny": tiny, "stages": stages}
                levels = _classifier_as_encoder(encoder, dilated, of_basic)
            self.pyramid = self.pyramids[join](levels, fusion, blocks, r, norm, decoder_width)
            self.head = Head(self.pyramid.channels[0], classes, head_drop)

    @staticmethod
    def default_initializer() -> Any:
        return mx.init.MSRAPrelu()

    def stage_features(self, x: Any) -> List[Any]:
        """The levels of the encoder, the finest first, as `Network.stage_features`."""
        return list(self.pyramid.encoder(x))

    def load_encoder(self, filename: str, ctx: Any = None) -> None:
        """Load the encoder's weights from a file of the classifier that it is; of a dense network for the basic one.

        Parameters
        ----------
        filename : str
            What `save_parameters` wrote. The weights of the file's classifier or decoder are left out.
        ctx : Context or list of Context, optional
            Where the parameters live; only needed before `initialize`.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, or of another encoder; the first few mismatches are listed.
        """
        encoder = self.pyramid.encoder
        stored = {name: array for name, array in read_parameters(filename).items() if encoder.owns(name)}
        problems = mismatches(encoder, stored)
        if problems:
            raise CheckpointError(describe_mismatches(filename, problems))
        set_parameters(encoder, stored, ctx, cast_dtype=True)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        logits = self.head(self.pyramid(x)[0])
        return logits if self.pyramid.strides[0] == 1 else resize_like(F, logits, x)
