"""Text, lists and JSON that people and other programs wrote, read within limits.

Editors of other systems begin a text file with a byte order mark, end its lines with a carriage return, or write it in
UTF-16; all of that is read. What goes beyond a limit is refused with one reason, before it takes memory or time.
"""

from __future__ import annotations

import codecs
import json
import re
from itertools import chain
from pathlib import Path
from typing import Any, List

from .errors import FusionError

#: A list of ImageNet's training images has 60 MB.
LARGEST_LIST = 256 * 1024**2

#: The longest whole number of a JSON file, in characters. Python refuses to read some thousands of digits, and older
#: versions take minutes.
_LONGEST_NUMBER = 60

#: How many lists and objects of a JSON file may lie in one another. COCO's annotations have five, for polygons.
_DEEPEST = 50

_TOO_DEEP = f"lists and objects are nested more than {_DEEPEST} deep"

#: The marks that a text file may begin with. That of UTF-32 begins as that of UTF-16 does, and so stands before it.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Line ends of Unix, Windows and old Macs. `str.splitlines` also splits at characters that a name may have.
_LINE_END = re.compile(r"\r\n|\n|\r")


class ReadingError(FusionError):
    """A file that cannot be read; the message is the end of a sentence about it, without its name."""


def read_text(path: Path, largest: int = LARGEST_LIST) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says.

    Parameters
    ----------
    path : Path
        The file.
    largest : int
        In bytes; a larger file is refused.

    Raises
    ------
    ReadingError
        If it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise ReadingError(error.strerror or str(error)) from None
    except ValueError as error:  # a NUL character in the name
        raise ReadingError(str(error)) from None
    if len(content) > largest:
        raise ReadingError(f"it has more than {largest:,} bytes: another file?")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadingError(f"no text in {encoding.replace('-sig', '').upper()}: {error.reason}") from None
    if "\0" in text:
        raise ReadingError("it has NUL characters: no text, or text in UTF-16 without its mark; save it as UTF-8")
    return text


def read_lines(path: Path, largest: int = LARGEST_LIST) -> List[str]:
    """The lines of a text file without their ends; empty lines at the end of the file do not count.

    Parameters
    ----------
    path, largest
        As in `read_text`.

    Raises
    ------
    ReadingError
        As `read_text` does.
    """
    lines = _LINE_END.split(read_text(path, largest))
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_json(path: Path, largest: int) -> Any:
    """The value in a JSON file.

    Parameters
    ----------
    path, largest
        As in `read_text`.

    Raises
    ------
    ReadingError
        As `read_text` does; and if it is not JSON, is nested too deeply, or has a number without an end.
    """
    text = read_text(path, largest)
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ReadingError(_TOO_DEEP) from None
    except ValueError as error:
        raise ReadingError(f"not JSON: {error}") from None
    if _is_deeper(value, _DEEPEST):
        raise ReadingError(_TOO_DEEP)
    return value


def _is_deeper(value: Any, most: int) -> bool:
    """Whether more than so many lists and objects lie in one another; not by recursion, which has its own limit."""
    containers = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        values = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in containers)
        containers = [each for each in values if isinstance(each, (dict, list))]
    return bool(containers)


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)
