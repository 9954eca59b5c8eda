"""How deep in a network each parameter is, counted in residual blocks, for learning rates that fall with depth."""

from __future__ import annotations

import re
from typing import Any, Dict

#: The name of a residual block at the beginning of a parameter's: a place in a stage of a classifier or an encoder.
_BLOCK = re.compile(r"(?:encoder\.)?(?:layer|features\.)\d+\.\d+\.")


def layers_above(net: Any) -> Dict[str, int]:
    """How many layers lie between each parameter and the network's end, by structural name.

    A layer is a residual block of a stage. What comes before the first of them, the stem, is one layer; all that comes
    after the last one, such as the classifier or the decoder of a network with an answer per pixel, is the end.

    Parameters
    ----------
    net : Network
        Of any family.

    Returns
    -------
    dict of str to int
        0 for the end, and the number of residual blocks plus one for the stem.
    """
    depth, inside, found = 0, "", {}
    for name in net._collect_params_with_prefix():
        block = _BLOCK.match(name)
        if block and block[0] != inside:
            depth, inside = depth + 1, block[0]
        found[name] = depth if block or not depth else None
    return {name: 0 if place is None else depth + 1 - place for name, place in found.items()}
