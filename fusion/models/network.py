"""What all networks of this package have in common: how they initialise weights and load parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..attention import GlobalAveragePool
from ..compat import HybridBlock, mx, nn
from ..errors import CheckpointError
from ..fuse import get_fusion
from ..long_skip import two_input_fusion
from .parameter_file import read_parameters

if TYPE_CHECKING:
    from .feature_maps import FeatureMaps

#: An error message lists at most this many mismatches, and then says "and N more".
_LISTED = 4


class Network(HybridBlock):
    """A network that ends in logits: of the image, or of each of its pixels.

    Attributes
    ----------
    input_size : int
        Height and width in pixels of the images that it was designed for.
    classes : int
        The number of logits.
    dtype : str
        The type of the images that it takes, and of its logits.
    classifier : str
        The structural name of the layer that makes the logits: its weight and its bias have one row per class.
    dense : bool
        Whether its answer is one per pixel: logits (B, classes, H, W) rather than (B, classes).
    made_of : (str, dict), optional
        The family and all its arguments, where `fusion.get_model` has made it.
    norm_layer : str
        What normalises its maps: see `fusion.models.normalisation.use_norm_layer`.
    frozen : frozenset of str
        Structural names of parameters that training holds fixed, though they were learnt.
    """

    input_size = 224
    dtype = "float32"
    norm_layer = "batch"
    frozen: FrozenSet[str] = frozenset()
    made_of: Optional[Tuple[str, Dict[str, Any]]] = None
    classifier: ClassVar[str] = "output"
    dense: ClassVar[bool] = False

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = positive("classes", classes)

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialise the weights, with the family's own initialiser unless another one is given.

        Parameters
        ----------
        init : Initializer, optional
            By default, that of the published recipe: Xavier for CIFAR, MSRAPrelu for ImageNet.
        ctx : Context or list of Context, optional
            The devices for the parameters.
        verbose, force_reinit : bool
            As in Gluon.
        """
        super().initialize(init or self.default_initializer(), ctx, verbose, force_reinit)

    def cast(self, dtype: str) -> None:
        """Change the type of parameters and inputs. As in Gluon, batch norms keep float32 parameters under float16."""
        super().cast(dtype)
        self.dtype = np.dtype(dtype).name

    @staticmethod
    def default_initializer() -> Any:
        """The initialiser of the published recipe."""
        return mx.init.Xavier()

    def stage_features(self, x: Any) -> List[Any]:
        """The features after each stage, the finest first, for a network that takes this one as its encoder.

        Parameters
        ----------
        x : NDArray or Symbol
            Images (B, 3, H, W).

        Returns
        -------
        list of NDArray or Symbol
            One per stage. What follows the last stage before the pooling is a part of it.
        """
        levels: List[Any] = []
        for layer in self.features:
            if isinstance(layer, GlobalAveragePool):
                break
            x = layer(x)
            if isinstance(layer, nn.HybridSequential):
                levels.append(x)
            elif levels:
                levels[-1] = x
        return levels

    def features_only(self, out_stages: Optional[Sequence[int]] = None) -> FeatureMaps:
        """The maps of this network's stages, with its parameters: see `fusion.models.feature_maps.FeatureMaps`.

        Parameters
        ----------
        out_stages : sequence of int, optional
            The stages whose maps are given, from 1 and in ascending order; all by default.

        Raises
        ------
        ValueError
            If there is no such stage.
        """
        from .feature_maps import FeatureMaps  # which is made of networks

        return FeatureMaps(self, out_stages)

    def load_parameters(
        self,
        filename: str,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Load a `.params` file by structural names, after checking that it belongs to this network.

        Parameters
        ----------
        filename : str
            A file that `save_parameters` wrote, here or in the original program.
        ctx : Context or list of Context, optional
            The devices for the parameters.
        allow_missing, ignore_extra, cast_dtype, dtype_source
            As in Gluon.

        Raises
        ------
        CheckpointError
            If the file is missing or damaged, or if its parameters have other names or shapes; the message lists the
            first few.
        """
        self.take_parameters(
            read_parameters(filename), filename, ctx, allow_missing, ignore_extra, cast_dtype, dtype_source
        )

    def take_parameters(
        self,
        stored: Mapping[str, Any],
        filename: str,
        ctx: Any = None,
        allow_missing: bool = False,
        ignore_extra: bool = False,
        cast_dtype: bool = False,
        dtype_source: str = "current",
    ) -> None:
        """Set the parameters to what `read_parameters` has read, as `load_parameters` does.

        Parameters
        ----------
        stored : mapping of str to numpy.ndarray
            The arrays by structural name.
        filename : str
            Where they come from.
        ctx, allow_missing, ignore_extra, cast_dtype, dtype_source
            As in Gluon.

        Raises
        ------
        CheckpointError
            If they have other names or shapes; the message lists the first few.
        """
        problems = mismatches(self, stored, allow_missing, ignore_extra)
        if not cast_dtype:
            problems += [
                f"{name} is {np.dtype(stored[name].dtype)}, the network's is {np.dtype(parameter.dtype)}"
                for name, parameter in self._collect_params_with_prefix().items()
                if name in stored and np.dtype(stored[name].dtype) != np.dtype(parameter.dtype)
            ]
        if problems:
            raise CheckpointError(describe_mismatches(filename, problems))
        set_parameters(self, stored, ctx, cast_dtype, dtype_source)


def set_parameters(
    block: Any, arrays: Mapping[str, Any], ctx: Any = None, cast_dtype: bool = False, dtype_source: str = "current"
) -> None:
    """Set those parameters of a block that are among some arrays, which fit (`mismatches`).

    Parameters
    ----------
    block : Block
        The network; it may be initialised or not.
    arrays : mapping of str to numpy.ndarray
        By structural name.
    ctx, cast_dtype, dtype_source
        As in Gluon's `load_parameters`.
    """
    for name, parameter in block._collect_params_with_prefix().items():
        if name in arrays:
            array = mx.nd.empty(arrays[name].shape, dtype=arrays[name].dtype)
            array._sync_copyfrom(arrays[name])  # three times as fast as `mx.nd.array`
            parameter._load_init(array, ctx, cast_dtype, dtype_source)


def count_classes(arrays: Mapping[str, Any], classifier: Optional[str] = None) -> int:
    """How many classes a network with these parameters has.

    Parameters
    ----------
    arrays : mapping of str to array
        The parameters by structural name, in the network's order.
    classifier : str, optional
        The layer that makes the logits: `Network.classifier`. If it is not given, as for GluonCV's networks, or the
        file has no such layer, the last parameter is assumed to be its bias. If that is wrong, the file is of another
        network, and is refused when it is loaded.
    """
    bias = arrays.get(f"{classifier}.bias")
    if bias is None:
        bias = list(arrays.values())[-1]
    return int(bias.shape[0])


def mismatches(
    block: Any, stored: Mapping[str, Any], allow_missing: bool = False, ignore_extra: bool = False
) -> List[str]:
    """The reasons why a set of arrays cannot be the parameters of this block, one line each; empty if it can.

    Parameters
    ----------
    block : Block
        The network.
    stored : mapping of str to array
        Arrays with a `shape`, by structural name.
    allow_missing, ignore_extra : bool
        Accept parameters that only the network has, or only the arrays.
    """
    expected = block._collect_params_with_prefix()
    lines = []
    for name, parameter in expected.items():
        if name not in stored:
            if not allow_missing:
                lines.append(f"{name} {tuple(parameter.shape)} is missing")
        elif not _fits(tuple(parameter.shape), tuple(stored[name].shape)):
            lines.append(f"{name} is {tuple(stored[name].shape)}, the network's is {tuple(parameter.shape)}")
    if not ignore_extra:
        lines += [
            f"{name} {tuple(stored[name].shape)} is not in the network" for name in stored if name not in expected
        ]
    return lines


def _fits(expected: Tuple[int, ...], found: Tuple[int, ...]) -> bool:
    """Whether two shapes agree, where 0 stands for a size that is not known yet."""
    return len(expected) == len(found) and all(e in (0, f) for e, f in zip(expected, found))


def describe_mismatches(filename: str, problems: List[str]) -> str:
    """The message for a file whose parameters belong to another network."""
    listed = "\n  ".join(problems[:_LISTED])
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return (
        f"{filename}: the parameters of another network ({len(problems)} do not fit):\n  {listed}{more}\n"
        "build the network with the model, fusion, widths and classes that the file was saved from"
    )


def count_parameters(block: Any) -> int:
    """How many numbers of a block are learnt, here or before they were frozen: all but running statistics and such."""
    own = block._collect_params_with_prefix()
    frozen = {id(own[name]) for name in getattr(block, "frozen", ())}
    return sum(int(np.prod(p.shape)) for p in block.collect_params().values() if learns(p) or id(p) in frozen)


def learns(parameter: Any) -> bool:
    """Whether training moves a parameter: it does not move running statistics, nor what is held fixed."""
    return bool(parameter.grad_req != "null" and parameter.lr_mult > 0)


def positive(name: str, value: Any) -> int:
    """Check that a keyword argument is a positive integer.

    Raises
    ------
    ValueError
        If it is not; the message names the argument and its value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}: expected a positive integer")
    return value


def fusion_by_stage(fusion: str, start_layer: int, r: int, norm: str) -> Callable[[int, int], Any]:
    """Make the function with which a network makes the fusion blocks of its stages.

    Parameters
    ----------
    fusion : str
        A name in the registry of fusion blocks.
    start_layer : int
        The first stage, counted from 1, that uses this block; earlier stages use addition.
    r, norm
        Arguments of `get_fusion`.

    Returns
    -------
    callable
        A function of (stage, channels) that makes a fusion block.
    """
    positive("start_layer", start_layer)
    two_input_fusion(fusion)

    def build(stage: int, channels: int) -> Any:
        return get_fusion(fusion if stage >= start_layer else "DirectAdd", channels, r=r, norm=norm)

    return build
