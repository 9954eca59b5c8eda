"""Random changes of files as bytes, as text and as JSON. Each takes a source of random numbers and what it changes."""

from __future__ import annotations

import json
import random
import re
import struct
from typing import Any, Callable, Dict, List, Sequence, Tuple, Union

#: Numbers at which readers go wrong: at the ends of types, and sizes that no file here has.
NUMBERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 10**6, 5 * 10**9, 10**12)
ENDS = (2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64 - 1)
INTEGERS = (*NUMBERS, *ENDS)

#: Words that mean something to one of the readers.
WORDS = (
    *("", " ", "0", "-1", "1", "2", "010", "1:30", "0x10", "0o17", "1e3", "1e400", "-1e400", "nan", ".nan", "inf"),
    *("true", "yes", "null", "None", "~", "[]", "{}", "[[", "'", '"', "!!bool maybe", "!!python/name:os.system", "&a"),
    *("*a", "<<", "---", "...", ": ", "- ", "#", "${x}", "../x", "/", "\\", "%s", "%n", "{0}", "\\x00", "great white"),
    *("0.5", "1.5", "(1, 1)", "(0, 0)", "(-1, 1)", "(1000000000, 1)", "True", "False", "float16", "int8", "Infinity"),
    *(str(number) for number in (2**31, 2**63, 10**12, 10**30)),
    *("9" * 5000, "a" * 3000, "\t", "\x1b[2J", "\x1b]0;title\x07", "\u202e", "\u2028", "\x85", "\x0b", "\ufeff", "\0"),
    *("é", "日本", "\U0001f600"),
)

#: Bytes that text may not have, or that change its meaning.
ODD_BYTES = (b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\xc3", b"\xed\xa0\x80", b"\x1b[31m")

#: Values that JSON may have where another is expected.
VALUES: Tuple[Any, ...] = (
    *(None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]], [None], {"a": 1}, {"": None}),
    *(*INTEGERS, 10**30, -(10**30)),
    *("", "0", "a", "best", "\x1b[2J", "\0", "é", "a" * 3000, "\ud800"),
)

#: No valid file here has so many bytes.
_LARGE = 500_000

#: The largest part of a file that one change takes away or says twice.
_LONGEST = 64

Change = Callable[[random.Random, bytes], bytes]
Place = Union[str, int]


# --- Bytes -----------------------------------------------------------------------------------------------------------


def bend_bytes(draw: random.Random, data: bytes) -> bytes:
    """One change that needs no knowledge of the format."""
    return draw.choice(_OF_BYTES)(draw, data)


def _span(draw: random.Random, data: bytes) -> Tuple[int, int]:
    """A part of some data, mostly a short one."""
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice((1, 1, 2, 4, 8, draw.randrange(1, _LONGEST), len(data) // 3 + 1)))


def _over(data: bytes, start: int, new: bytes) -> bytes:
    return data[:start] + new + data[start + len(new) :]


def _flip_a_bit(draw: random.Random, data: bytes) -> bytes:
    if not data:
        return b"\x01"
    place = draw.randrange(len(data))
    return _over(data, place, bytes([data[place] ^ (1 << draw.randrange(8))]))


def _set_a_byte(draw: random.Random, data: bytes) -> bytes:
    return _over(data, draw.randrange(len(data) + 1), bytes([draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))]))


def _set_an_integer(draw: random.Random, data: bytes) -> bytes:
    """An integer of 2, 4 or 8 bytes, mostly where one may stand."""
    size = draw.choice((2, 4, 4, 8, 8))
    number = draw.choice(INTEGERS) % 2 ** (8 * size)
    place = draw.randrange(len(data) + 1)
    return _over(data, place - place % 4 if draw.random() < 0.7 else place, number.to_bytes(size, draw.choice(_ORDERS)))


_ORDERS = ("little", "little", "big")


def _add_to_an_integer(draw: random.Random, data: bytes) -> bytes:
    """An integer of 4 bytes that is a little larger or smaller."""
    if len(data) < 4:
        return data + b"\x00"
    place = draw.randrange(len(data) - 3)
    (number,) = struct.unpack_from("<I", data, place)
    return _over(data, place, struct.pack("<I", (number + draw.choice((-16, -4, -1, 1, 4, 16, 256))) % 2**32))


def _remove(draw: random.Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    return data[:start] + data[end:]


def _repeat(draw: random.Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    return data[:end] + data[start:end] * draw.choice((1, 1, 2, 50)) + data[end:]


def _move(draw: random.Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    place = draw.randrange(len(data) + 1)
    return _over(data, place, data[start:end])


def _insert(draw: random.Random, data: bytes) -> bytes:
    place = draw.randrange(len(data) + 1)
    new = bytes(draw.randrange(256) for _ in range(draw.choice((1, 2, 4, 16))))
    return data[:place] + new + data[place:]


def _zero(draw: random.Random, data: bytes) -> bytes:
    start, end = _span(draw, data)
    return _over(data, start, bytes(end - start))


def _cut(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _cut_a_little(draw: random.Random, data: bytes) -> bytes:
    return data[: max(0, len(data) - draw.randrange(1, 20))]


def _append(draw: random.Random, data: bytes) -> bytes:
    return data + draw.choice((b"\x00", b"\n", b"x" * 100, bytes(4096), data))


_OF_BYTES: Sequence[Change] = (
    *(_flip_a_bit, _flip_a_bit, _set_a_byte, _set_an_integer, _set_an_integer, _add_to_an_integer, _remove, _repeat),
    *(_move, _insert, _zero, _cut, _cut_a_little, _append),
)


# --- Text ------------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(rb"[\w.+-]+|[^\w\s]")


def bend_text(draw: random.Random, data: bytes) -> bytes:
    """One change of a text: of its words, its lines or its signs."""
    return draw.choice(_OF_TEXT)(draw, data)


def _encoded(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")


def _other_word(draw: random.Random, data: bytes) -> bytes:
    tokens = list(_TOKEN.finditer(data))
    if not tokens:
        return data + _encoded(draw.choice(WORDS))
    token = draw.choice(tokens)
    other = draw.choice(tokens).group() if draw.random() < 0.3 else _encoded(draw.choice(WORDS))
    return data[: token.start()] + other + data[token.end() :]


def _odd_bytes(draw: random.Random, data: bytes) -> bytes:
    place = draw.choice((0, 0, draw.randrange(len(data) + 1)))
    return data[:place] + draw.choice(ODD_BYTES) + data[place:]


def _other_lines(draw: random.Random, data: bytes) -> bytes:
    """A line is taken out, said twice, put in another place, cut, or repeated without end."""
    lines = data.split(b"\n")
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    new = [lines[place]]
    change = draw.randrange(6)
    if change == 0:
        new = []
    elif change == 1:
        new = [lines[place], lines[place]]
    elif change == 2:
        new = [lines[other]]
    elif change == 3:
        new = [lines[place][: draw.randrange(len(lines[place]) + 1)]]
    elif change == 4:
        new = [lines[place], b" " * draw.choice((1, 2, 4, 300)) + lines[other]]
    else:
        new = [lines[place]] * draw.choice((3, 3000))
    return b"\n".join([*lines[:place], *new, *lines[place + 1 :]])


def _nest(draw: random.Random, data: bytes) -> bytes:
    """Brackets within brackets in place of a word."""
    tokens = list(_TOKEN.finditer(data))
    token = draw.choice(tokens) if tokens else None
    depth, (opening, closing) = draw.choice((3, 50, 500, 30_000)), draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    new = opening * depth + draw.choice((b"1", b"")) + closing * (depth if draw.random() < 0.7 else 0)
    return data[: token.start()] + new + data[token.end() :] if token else new


def _other_line_ends(draw: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"")))


def _other_encoding(draw: random.Random, data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32", "utf-8-sig")))


def _other_separator(draw: random.Random, data: bytes) -> bytes:
    separators = (b",", b":", b"=", b" ", b"\t", b";", b"-", b'"')
    return data.replace(draw.choice(separators), draw.choice((*separators, b"")), draw.choice((1, -1)))


_OF_TEXT: Sequence[Change] = (
    *(_other_word, _other_word, _other_word, _other_lines, _other_lines, _odd_bytes, _nest, _other_line_ends),
    *(_other_encoding, _other_separator, bend_bytes),
)


# --- JSON ------------------------------------------------------------------------------------------------------------


def bend_json(draw: random.Random, data: bytes, values: Sequence[Any] = VALUES) -> bytes:
    """One change of a value in a JSON text, which stays JSON; of a text that is none, one of the text."""
    try:
        stored = json.loads(data)
    except (ValueError, RecursionError):
        return bend_text(draw, data)
    places = list(_places(stored))
    if not places:
        return json.dumps(draw.choice(values)).encode()
    place = draw.choice(places)
    parent = _at(stored, place[:-1])
    _CHANGES[draw.randrange(len(_CHANGES))](draw, parent, place[-1], _at(stored, draw.choice(places)), values)
    try:
        return json.dumps(stored).encode()
    except (ValueError, RecursionError):  # a part that was put into itself
        return data


def _places(value: Any, above: Tuple[Place, ...] = ()) -> Any:
    """Where a value has parts, however deep."""
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*above, key)
        yield from _places(part, (*above, key))


def _at(value: Any, place: Sequence[Place]) -> Any:
    for key in place:
        value = value[key]
    return value


def _replace(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    parent[key] = draw.choice(values)


def _drop(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    del parent[key]


def _by_other(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    parent[key] = other


def _add(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    """One part more: in a list a second time, in an object by another name."""
    if isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), parent[key])
    else:
        parent[draw.choice(WORDS)] = parent[key]


def _wrap(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    for _ in range(draw.choice((1, 1, 400))):
        parent[key] = [parent[key]] if draw.random() < 0.5 else {"a": parent[key]}


def _near(draw: random.Random, parent: Any, key: Any, other: Any, values: Sequence[Any]) -> None:
    """A number that is a little wrong, or of another type, or a word of which a part is missing."""
    value = parent[key]
    if isinstance(value, (int, float)):
        parent[key] = draw.choice((value + 1, value - 1, -value, float(value), str(value), value * 1000))
    elif isinstance(value, str):
        place = draw.randrange(len(value) + 1)
        parent[key] = value[:place] + draw.choice(("", *WORDS)) + value[place + draw.randrange(3) :]
    else:
        parent[key] = draw.choice(values)


_CHANGES: List[Callable[[random.Random, Any, Any, Any, Sequence[Any]], None]] = [
    *(_replace, _replace, _replace, _near, _near, _drop, _by_other, _add, _wrap)
]


# --- Files -----------------------------------------------------------------------------------------------------------


def one_of(*changes: Change) -> Change:
    """A change that is one of several, each as likely as the others."""
    return lambda draw, data: draw.choice(changes)(draw, data)


def bend_twice(draw: random.Random, data: bytes, change: Change) -> bytes:
    """Mostly one change, now and then two or three."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if len(data) < _LARGE:  # else it is a bomb, which whoever changes it would unpack
            data = change(draw, data)
    return data


Files = Dict[str, bytes]
