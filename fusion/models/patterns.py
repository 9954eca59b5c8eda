"""Parts of a network by patterns of structural names, as `classifier`, `features.0` or `*.fuse.*`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, FrozenSet, Sequence

from ..errors import nearest

#: Stands for the layer that makes the logits, whatever the family calls it.
CLASSIFIER = "classifier"


def names_matching(net: Any, patterns: Sequence[str]) -> FrozenSet[str]:
    """The parameters of a network that some patterns name.

    Parameters
    ----------
    net : Network
        The network.
    patterns : sequence of str
        Each is the structural name of a parameter or of a block, with `*` for any letters and `?` for one; a block
        stands for all parameters inside. `classifier` is the layer that makes the logits.

    Returns
    -------
    frozenset of str
        Structural names.

    Raises
    ------
    ValueError
        If a pattern names nothing; the message has the closest blocks.
    """
    names = list(net._collect_params_with_prefix())
    found = set()
    for pattern in patterns:
        wanted = net.classifier if pattern == CLASSIFIER else pattern
        matching = {name for name in names if fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}.*")}
        if not matching:
            raise ValueError(f"{pattern!r} names no parameter and no block; {nearest(pattern, _blocks(names))}")
        found |= matching
    return frozenset(found)


def _blocks(names: Sequence[str]) -> Sequence[str]:
    """`classifier`, and the blocks of all levels, the outer ones first."""
    blocks = {name.rsplit(".", level)[0] for name in names for level in range(1, name.count(".") + 1)}
    return [CLASSIFIER, *sorted(blocks, key=lambda name: (name.count("."), name))]
