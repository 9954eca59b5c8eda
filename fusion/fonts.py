"""Which fonts the text of a picture needs: the font that matplotlib brings has no Chinese or Japanese, for example."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import FrozenSet, Iterator, List, Tuple

logger = logging.getLogger(__name__)

#: Files whose names have one of these words are tried first: their fonts have many characters in one style.
_PREFERRED = ("notosanscjk", "sourcehansans", "wqy", "droidsansfallback", "notosans", "unifont")

#: Fonts that draw no text: a box for every character, or pictures in colour, which matplotlib cannot draw.
_UNSUITABLE = ("lastresort", "emoji")

#: The scripts of China, Japan and Korea lie between these characters: radicals to ideographs, Hangul, wide forms.
_EAST_ASIAN = (("\u2e80", "\u9fff"), ("\uac00", "\ud7af"), ("\uf900", "\ufaff"), ("\uff00", "\uffef"))


def families_for(text: str) -> List[str]:
    """The names of the fonts that draw a text, in the order in which matplotlib should try them.

    Where no installed font has a character, the log says once which package to install.

    Parameters
    ----------
    text : str
        All the text of a picture.

    Returns
    -------
    list of str
        Empty if matplotlib's own font has every character, or no installed font has any of those that it lacks.
    """
    missing = _missing(text)
    if not missing:
        return []
    found, left = _search(missing)
    if left:
        _advise(_script(left))
    return [*_usual(), *found] if found else []


@contextmanager
def quiet_fonts() -> Iterator[None]:
    """Keep matplotlib's own remarks on fonts off the terminal: one per missing character, one per weight of a font."""
    own = logging.getLogger("matplotlib.font_manager")
    level = own.level
    own.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph \d+")
            yield
    finally:
        own.setLevel(level)


def _usual() -> List[str]:
    from matplotlib import rcParams

    return list(rcParams["font.family"])


def _missing(text: str) -> FrozenSet[str]:
    """The characters that the font of matplotlib's settings does not have."""
    rare = frozenset(c for c in text if not c.isascii() and c.isprintable() and not c.isspace())
    if not rare:
        return rare
    from matplotlib.font_manager import FontProperties, findfont

    return rare - _known(findfont(FontProperties()), rare)


def _known(file: str, characters: FrozenSet[str]) -> FrozenSet[str]:
    """The characters that a font file has; none if matplotlib cannot draw with it."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        known = font.get_charmap() if font.scalable else {}
    except (OSError, RuntimeError, ValueError):  # damaged, or of a kind that FreeType does not know
        known = {}
    return frozenset(character for character in characters if ord(character) in known)


@lru_cache(maxsize=None)
def _search(missing: FrozenSet[str]) -> Tuple[Tuple[str, ...], FrozenSet[str]]:
    """Names of installed fonts that together have these characters, and the characters that none of them has."""
    from matplotlib import font_manager

    # Not matplotlib's list of fonts, which does not know those that were installed after it was made.
    found: List[str] = []
    for file in sorted(font_manager.findSystemFonts(), key=_preference):
        if not missing:
            break
        known = frozenset() if any(word in _file_name(file) for word in _UNSUITABLE) else _known(file, missing)
        if known:
            font_manager.fontManager.addfont(file)
            found.append(font_manager.FontProperties(fname=file).get_name())
            missing -= known
    return tuple(found), missing


def _file_name(file: str) -> str:
    return Path(file).name.lower().replace("-", "").replace("_", "")


def _preference(file: str) -> Tuple[int, bool, str]:
    """A key that sorts preferred fonts first, and the regular weight before others."""
    name = _file_name(file)
    place = next((number for number, word in enumerate(_PREFERRED) if word in name), len(_PREFERRED))
    return place, "regular" not in name, file


def _script(characters: FrozenSet[str]) -> Tuple[str, str]:
    """Fonts to install for characters, and the package of Debian and Ubuntu that has them."""
    if any(low <= character <= high for character in characters for low, high in _EAST_ASIAN):
        return "Noto Sans CJK", "fonts-noto-cjk"
    return "the Noto fonts", "fonts-noto-core"


@lru_cache(maxsize=None)  # once for each script, however many pictures there are
def _advise(script: Tuple[str, str]) -> None:
    logger.warning(
        "no installed font has some of the characters in the names: pictures show boxes for them. Install a font that "
        "has them, such as %s (on Debian and Ubuntu: apt-get install %s)",
        *script,
    )
