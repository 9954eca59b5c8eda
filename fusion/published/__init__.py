"""The published figures and curves as data, and the comparison of a run of this package with them.

Source: the tables, checkpoint names, commands and training logs of the original release of "Attentional Feature
Fusion", arXiv 2009.14082 (YimianDai/open-aff); `curves/SOURCE.md` says what is in the files.
"""

from __future__ import annotations

from .curves import Curve, read_curve
from .rows import ROWS, Row, find_row

__all__ = ["ROWS", "Curve", "Row", "find_row", "read_curve"]
