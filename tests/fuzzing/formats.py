"""Random changes behind the checksums and compression of a format, which a change of bytes alone seldom gets past."""

from __future__ import annotations

import binascii
import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from functools import lru_cache
from typing import List, Tuple

from .mutations import INTEGERS, VALUES, bend_bytes, bend_json

#: What a bomb unpacks to: above the limit of the memory that a file may take.
_BOMB = 1216 * 1024**2

#: How many of the changes are bombs, which take a second each.
_BOMBS = 0.002


_BLOCK_OF_ZEROS = 1024**2


def _deflated(data: bytes) -> bytes:
    """Compressed data to which other such data can be added."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def _zeros(count: int) -> bytes:
    """Many zeros, which are one compressed block again and again: to compress them all would take seconds."""
    return _deflated(bytes(_BLOCK_OF_ZEROS)) * (count // _BLOCK_OF_ZEROS)


# --- PNG -------------------------------------------------------------------------------------------------------------

_PNG_HEAD = 8
_KINDS = (b"tRNS", b"PLTE", b"iCCP", b"gAMA", b"eXIf", b"zTXt", b"tEXt", b"IDAT", b"IEND", b"IHDR", b"acTL", b"ABCD")
_SIDES = (0, 1, 2, 3, 16, 255, 20_000, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1)


def bend_png(draw: random.Random, data: bytes) -> bytes:
    """One change of the chunks of a PNG file, whose checksums are then right."""
    try:
        chunks = _chunks(data)
    except struct.error:
        return bend_bytes(draw, data)
    if not chunks:
        return bend_bytes(draw, data)
    if draw.random() < _BOMBS:
        return _png_bomb()
    place = draw.randrange(len(chunks))
    kind, content = chunks[place]
    change = draw.randrange(8)
    if change == 0:
        chunks[0] = (chunks[0][0], _other_png_head(draw, chunks[0][1]))
    elif change == 1:
        del chunks[place]
    elif change == 2:
        chunks.insert(draw.randrange(len(chunks) + 1), chunks[place])
    elif change == 3:
        new = bytes(draw.randrange(256) for _ in range(draw.choice((0, 1, 2, 3, 6, 40))))
        chunks.insert(draw.randrange(1, len(chunks) + 1), (draw.choice(_KINDS), new))
    elif change == 4:
        chunks[place] = (draw.choice(_KINDS), content)
    elif change == 5:
        chunks = [(k, _repack(draw, c) if k == b"IDAT" else c) for k, c in chunks]
    elif change == 6:
        return _png(chunks) + draw.choice((b"\0", b"x" * 100, bytes(3000), data))
    else:
        chunks[place] = (kind, bend_bytes(draw, content))
    return _png(chunks)


def _chunks(data: bytes) -> List[Tuple[bytes, bytes]]:
    found, place = [], _PNG_HEAD
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _png(chunks: List[Tuple[bytes, bytes]]) -> bytes:
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        whole += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", binascii.crc32(kind + content))
    return whole


def _other_png_head(draw: random.Random, head: bytes) -> bytes:
    width, height, *rest = struct.unpack(">IIBBBBB", head[:13].ljust(13, b"\0"))
    if draw.random() < 0.6:
        width, height = draw.choice((width, *_SIDES)), draw.choice((height, *_SIDES))
    else:
        rest[draw.randrange(5)] = draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return struct.pack(">IIBBBBB", width, height, *rest)


def _repack(draw: random.Random, content: bytes) -> bytes:
    try:
        return zlib.compress(bend_bytes(draw, zlib.decompress(content)))
    except zlib.error:
        return content


def _png_bomb() -> bytes:
    """20,000 by 20,000 pixels of RGB: 1.2 GB in a file of a megabyte."""
    side = 20_000
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    count = side * (3 * side + 1) // _BLOCK_OF_ZEROS * _BLOCK_OF_ZEROS
    whole = b"\x78\xda" + _zeros(count) + b"\x03\x00" + struct.pack(">I", 1 + ((count % 65521) << 16))
    return _png([(b"IHDR", head), (b"IDAT", whole), (b"IEND", b"")])


# --- JPEG ------------------------------------------------------------------------------------------------------------

_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xE0, 0xE1, 0xEE, 0xFE, 0xFF, 0x01)
_SCAN = 0xDA


def bend_jpeg(draw: random.Random, data: bytes) -> bytes:
    """One change of the segments of a JPEG file, or of its compressed pixels."""
    segments, rest = _segments(data)
    if not segments:
        return bend_bytes(draw, data)
    place = draw.randrange(len(segments))
    marker, content = segments[place]
    change = draw.randrange(9)
    if change <= 1:
        segments = [(m, _other_frame(draw, c) if 0xC0 <= m <= 0xC2 else c) for m, c in segments]
    elif change == 2:
        del segments[place]
    elif change == 3:
        segments.insert(draw.randrange(len(segments) + 1), segments[place])
    elif change == 4:
        segments[place] = (draw.choice(_FRAMES), content)
    elif change == 5:
        segments.insert(0, (0xE1, _orientation(draw)))
    elif change == 6:
        segments[place] = (marker, bend_bytes(draw, content))
    elif change == 7:
        rest = rest * draw.choice((2, 20))
    else:
        rest = bend_bytes(draw, rest)
    return b"\xff\xd8" + b"".join(_segment(*segment) for segment in segments) + rest


def _segments(data: bytes) -> Tuple[List[Tuple[int, bytes]], bytes]:
    """The segments before the first scan, and all from there on."""
    found, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        found.append((data[place + 1], data[place + 4 : place + 2 + length]))
        place += 2 + length
    return found, data[place:]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", (len(content) + 2) % 2**16) + content


def _other_frame(draw: random.Random, content: bytes) -> bytes:
    """Another height, width or number of components."""
    place, size = draw.choice(((1, 2), (3, 2), (0, 1), (5, 1), (7, 1)))
    number = draw.choice((0, 1, 2, 8, 255, 4096, 30_000, 65535)) % 2 ** (8 * size)
    return content[:place] + number.to_bytes(size, "big") + content[place + size :]


def _orientation(draw: random.Random) -> bytes:
    """An EXIF block that says which way up the photo is, or that is none."""
    entry = struct.pack(">HHIHH", 0x112, draw.choice((3, 3, 4, 9)), draw.choice((1, 1, 2**31)), draw.randrange(12), 0)
    block = b"MM\0*" + struct.pack(">IH", draw.choice((8, 8, 0, 2**31)), draw.choice((1, 65535))) + entry
    return b"Exif\0\0" + block + struct.pack(">I", draw.choice((0, 8)))


# --- Arrays of NumPy -------------------------------------------------------------------------------------------------

_NPY_HEAD = 10
_SHAPES = ("()", "(0,)", "(-1,)", "(1,)", "(2, 3)", "(1000000000,)", "(4611686018427387904, 4)", "(1,) * 40", "None")
_TYPES_OF_ARRAYS = ("'<f4'", "'<f8'", "'<c8'", "'|O'", "'|S9'", "'<U3'", "'<M8[s]'", "'>f4'", "'|b1'", "[('a', '<f4')]")


def bend_npz(draw: random.Random, data: bytes) -> bytes:
    """One change of the arrays in a `.npz`, whose checksums are then right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            members = [(info.filename, stored.read(info)) for info in stored.infolist()]
    except Exception:  # what was changed before is no zip file any more
        return bend_bytes(draw, data)
    if not members:
        return bend_bytes(draw, data)
    if draw.random() < _BOMBS:
        return _npz_bomb()
    place = draw.randrange(len(members))
    name, content = members[place]
    change = draw.randrange(9)
    if change <= 1:
        members = [(n, _other_state(draw, c) if n == "state.npy" else c) for n, c in members]
    elif change == 2:
        members[place] = (name, _other_npy_head(draw, content))
    elif change == 3:
        del members[place]
    elif change == 4:
        members.append((draw.choice((name, "x.npy", "../x.npy", "param/\x1b.npy", "", "state.npy")), content))
    elif change == 5:
        other = draw.choice(("updates.npy", "state.npy", name[:-4], name.replace("param", "average")))
        members[place] = (other, content)
    elif change == 6:
        members[place] = (name, members[draw.randrange(len(members))][1])
    else:
        members[place] = (name, bend_bytes(draw, content))
    return _zip(members, zipfile.ZIP_DEFLATED if draw.random() < 0.1 else zipfile.ZIP_STORED)


def _zip(members: List[Tuple[str, bytes]], compression: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as stored:
        for name, content in members:
            stored.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


@lru_cache(maxsize=None)
def _npz_bomb() -> bytes:
    """Arrays that take 1.2 GB, in a file of a megabyte: written by hand, since to compress them would take long."""
    size = _BOMB // 8
    head = _npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}", b"")
    packed = _deflated(head) + _zeros(size) + b"\x03\x00"
    check = zlib.crc32(bytes(size), zlib.crc32(head))
    facts = struct.pack("<HHHHHLLL", 20, 0, zipfile.ZIP_DEFLATED, 0, 0x21, check, len(packed), len(head) + size)
    whole = index = b""
    for number in range(8):
        name = f"param/{number}.npy".encode()
        place, length = len(whole), struct.pack("<H", len(name))
        whole += b"PK\x03\x04" + facts + length + bytes(2) + name + packed
        index += b"PK\x01\x02" + bytes((20, 0)) + facts + length + bytes(12) + struct.pack("<L", place) + name
    return whole + index + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 8, 8, len(index), len(whole), 0)


def _npy(head: str, numbers: bytes) -> bytes:
    padded = head + " " * (63 - (len(head) + _NPY_HEAD) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + numbers


def _other_npy_head(draw: random.Random, content: bytes) -> bytes:
    end = _NPY_HEAD + int.from_bytes(content[8:10], "little")
    head, numbers = content[_NPY_HEAD:end].decode("latin-1").strip(), content[end:]
    try:
        known = eval(head, {"__builtins__": {}})  # of a file that this package wrote
        shape, description = repr(known["shape"]), repr(known["descr"])
    except Exception:
        return bend_bytes(draw, content)
    if draw.random() < 0.5:
        shape = draw.choice(_SHAPES)
    else:
        description = draw.choice(_TYPES_OF_ARRAYS)
    order = draw.choice(("False", "False", "True", "1", "None"))
    return _npy(f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}, }}", numbers)


def _other_state(draw: random.Random, content: bytes) -> bytes:
    """The position of a run, which is JSON in an array of bytes."""
    end = _NPY_HEAD + int.from_bytes(content[8:10], "little")
    text = bend_json(draw, content[end:])
    return _npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},), }}", text)


# --- Archives --------------------------------------------------------------------------------------------------------

_BLOCK = 512
_TYPES = b"01234567xgLKSDV\0Z"

#: Name, mode, size, time, type, link and device: where each begins, and how long it is.
_FIELDS = ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (156, 1), (157, 100), (329, 8))
_SIZE = 12

_SIZES = (
    b"77777777777\0",
    b"00000000000\0",
    b"-0000000001\0",
    b"\x80" + b"\xff" * 11,
    b"9" * 12,
    b"\xff" * 12,
    b"\xff" * 10 + b"\xfc\0",
)
_NAMES = (b"../../x", b"/etc/x", b"\xff\xfe", b"a\x1b[2J.tar", b"")


def bend_tar(draw: random.Random, data: bytes) -> bytes:
    """One change of the headers of a tar file, whose checksums are then right, or of what it holds."""
    heads = [place for place in range(0, len(data) - _BLOCK + 1, _BLOCK) if data[place + 257 : place + 262] == b"ustar"]
    if not heads or draw.random() < 0.25:
        return bend_bytes(draw, data)
    place = draw.choice(heads)
    head = bytearray(data[place : place + _BLOCK])
    start, size = draw.choice(_FIELDS)
    if size == 1:
        new = bytes([draw.choice(_TYPES)])
    elif size == _SIZE:
        new = draw.choice((*_SIZES, *(f"{draw.choice(INTEGERS) % 8**11:011o}\0".encode() for _ in _SIZES)))
    else:
        new = draw.choice((*_NAMES, bytes(head[start : start + size])))
    head[start : start + size] = new.ljust(size, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return data[:place] + bytes(head) + data[place + _BLOCK :]


def bend_tar_gz(draw: random.Random, data: bytes) -> bytes:
    """The same of a compressed one."""
    bomb = draw.random() < _BOMBS
    if not bomb and draw.random() < 0.2:
        return bend_bytes(draw, data)
    try:
        if bomb:
            return _gzip_bomb(gzip.decompress(data))
        return gzip.compress(bend_tar(draw, gzip.decompress(data)), 1, mtime=0)
    except (OSError, EOFError, zlib.error):
        return bend_bytes(draw, data)


def _gzip_bomb(tar: bytes) -> bytes:
    """A first member that takes a gigabyte, before those that there were."""
    entry = tarfile.TarInfo("x")
    entry.size = _BOMB
    parts = (entry.tobuf(), None, tar)
    whole, check = b"\x1f\x8b\x08" + bytes(6) + b"\xff", 0
    for part in parts:
        whole += _zeros(_BOMB) if part is None else _deflated(part)
        for block in [bytes(_BLOCK_OF_ZEROS)] * (_BOMB // _BLOCK_OF_ZEROS) if part is None else [part]:
            check = zlib.crc32(block, check)
    size = sum(_BOMB if part is None else len(part) for part in parts)
    return whole + b"\x03\x00" + struct.pack("<II", check, size % 2**32)


# --- Graphs ----------------------------------------------------------------------------------------------------------

_ATTRIBUTES = ("(1, 1)", "(0, 0)", "(-1, -1)", "()", "(1000000000, 1000000000)", "(3,)", "None", "1000000000", "uint8")
_OPERATORS = (
    *("Convolution", "Deconvolution", "Pooling", "reshape", "transpose", "slice_axis", "concat", "FullyConnected"),
    *("SliceChannel", "take", "Embedding", "Custom", "_zeros", "tile", "repeat", "broadcast_to", "pad", "one_hot"),
)


def bend_graph(draw: random.Random, data: bytes) -> bytes:
    """One change of a graph: of a value anywhere, or of an edge, an attribute or an operator."""
    try:
        stored = json.loads(data)
        nodes = [node for node in stored["nodes"] if node["op"] != "null"]
        node = draw.choice(nodes)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return bend_json(draw, data)
    change = draw.randrange(6)
    if change == 0 and isinstance(node.get("attrs"), dict) and node["attrs"]:
        key = draw.choice(sorted(node["attrs"]))
        node["attrs"][key] = draw.choice((*_ATTRIBUTES, *map(str, INTEGERS)))
    elif change == 1 and isinstance(node.get("inputs"), list) and node["inputs"]:
        edge = [draw.randrange(len(stored["nodes"])), draw.randrange(3), 0]
        node["inputs"][draw.randrange(len(node["inputs"]))] = edge
    elif change == 2:
        node["op"] = draw.choice(_OPERATORS)
    elif change == 3:
        stored["heads"] = [[draw.randrange(len(stored["nodes"])), draw.randrange(3), 0]]
    elif change == 4:
        other = draw.choice(nodes)
        node["op"], node["attrs"] = other["op"], other.get("attrs", {})
    else:
        return bend_json(draw, data, (*VALUES, *_ATTRIBUTES))
    return json.dumps(stored).encode()
