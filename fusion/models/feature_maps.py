"""A network without its answer: the maps of its stages, for a detector or a pyramid of one's own."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

from ..compat import mx
from ..errors import CheckpointError
from ..long_skip import Inlined
from .network import Network, describe_mismatches, mismatches, set_parameters
from .parameter_file import read_parameters

#: An image of this side has pixels enough for every level of every family.
_SIDE = 256


def levels_of(network: Network) -> Tuple[Any, Tuple[int, ...], Tuple[int, ...]]:
    """The maps of a network's stages as symbols, and their channels and strides, which are inferred."""
    levels = network.stage_features(mx.sym.var("data"))
    shapes = mx.sym.Group(levels).infer_shape(data=(1, 3, _SIDE, _SIDE))[1]
    return levels, tuple(shape[1] for shape in shapes), tuple(_SIDE // shape[2] for shape in shapes)


class FeatureMaps(Inlined):
    """The maps of a network's stages, the finest first.

    The parameters are those of the network that the maps need, with the same names: what is learnt by one is learnt by
    the other, and files of either can be loaded.

    Parameters
    ----------
    network : Network
        A classifier, or a network that answers for each pixel, whose encoder this is then. It stays as it is.
    out_stages : sequence of int, optional
        The stages whose maps are given, from 1 and in ascending order; all by default.

    Attributes
    ----------
    stages : tuple of int
        The number of the stage of each map.
    channels, strides : tuple of int
        Of each map: how many channels it has, and how many pixels of the image a pixel of it spans.

    Inputs
        - **x**: images (B, 3, H, W), normalised as for the network.
    Outputs
        - a list of maps (B, channels[i], H / strides[i], W / strides[i]), rounded up. What the network applies between
          its last stage and its pooling is a part of the last map.
    """

    inlined = ("network",)

    def __init__(self, network: Network, out_stages: Optional[Sequence[int]] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        levels, channels, strides = levels_of(network)
        self.stages = _checked(out_stages, len(levels))
        self.channels = tuple(channels[stage - 1] for stage in self.stages)
        self.strides = tuple(strides[stage - 1] for stage in self.stages)
        self._needed = frozenset(mx.sym.Group([levels[stage - 1] for stage in self.stages]).list_inputs())
        self.network = network

    @property
    def dtype(self) -> str:
        """The type of the images that it takes."""
        return self.network.dtype

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialise the weights that are needed, as `Network.initialize` does."""
        super().initialize(init or self.network.default_initializer(), ctx, verbose, force_reinit)

    def collect_params(self, select: Optional[str] = None) -> Any:
        """The parameters that the maps need, as in Gluon; not those of later stages nor of the classifier."""
        found = super().collect_params(select)
        kept = mx.gluon.ParameterDict(found.prefix)
        kept.update({name: parameter for name, parameter in found.items() if name in self._needed})
        return kept

    def _collect_params_with_prefix(self, prefix: str = "") -> Any:
        named = super()._collect_params_with_prefix(prefix)
        return {name: parameter for name, parameter in named.items() if parameter.name in self._needed}

    def load_parameters(self, filename: str, ctx: Any = None, **_: Any) -> None:
        """Load a `.params` file of the whole network, whose other layers are left out, or of these maps.

        Parameters
        ----------
        filename : str
            What `save_parameters` of either has written.
        ctx : Context or list of Context, optional
            Where the parameters live; only needed before `initialize`.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged, or of another network; the first few mismatches are listed.
        """
        own, whole = self._collect_params_with_prefix(), self.network._collect_params_with_prefix()
        stored = {name: array for name, array in read_parameters(filename).items() if name in own or name not in whole}
        problems = mismatches(self, stored)
        if problems:
            raise CheckpointError(describe_mismatches(filename, problems))
        set_parameters(self, stored, ctx, cast_dtype=True)

    def hybrid_forward(self, F: Any, x: Any) -> List[Any]:
        levels = self.network.stage_features(x)
        return [levels[stage - 1] for stage in self.stages]


def _checked(out_stages: Optional[Sequence[int]], count: int) -> Tuple[int, ...]:
    """The numbers of stages, of which the network has so many.

    Raises
    ------
    ValueError
        If there is no such stage, or they do not ascend.
    """
    if out_stages is None:
        return tuple(range(1, count + 1))
    wanted = [out_stages] if isinstance(out_stages, (int, str)) else list(out_stages)
    known = all(isinstance(stage, int) and not isinstance(stage, bool) and 1 <= stage <= count for stage in wanted)
    if not wanted or not known or sorted(set(wanted)) != wanted:
        raise ValueError(f"out_stages={out_stages!r}: expected numbers of stages from 1 to {count}, in ascending order")
    return tuple(wanted)
