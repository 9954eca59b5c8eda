"""Photos made for tests: smooth pictures as JPEG or PNG files, in class folders and in records."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from fusion.compat import mx
from fusion.data.augment import Normalisation
from fusion.data.photos.decoding import opencv

#: Leaves pixels as they are, from 0 to 255.
AS_THEY_ARE = Normalisation((0, 0, 0), (1 / 255,) * 3)

#: How Pillow stores a picture, so that a reader that goes by its orientation shows it again.
_STORING = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def smooth(height, width, seed=0):
    """A picture (H, W, 3) uint8 without detail that a scaling could lose: red rises to the right, green downwards."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    blue = 128 + 100 * np.sin(2 * np.pi * (x / width + y / height + draw.random()))
    return np.rint(np.stack([x * 255 / (width - 1), y * 255 / (height - 1), blue], axis=-1)).astype(np.uint8)


def encoded(picture, suffix=".png", quality=95):
    """The bytes of a file, from red, green, blue."""
    cv2 = opencv()
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def make_folders(root, counts=(4, 3, 5), splits=("train", "val"), suffix=".JPEG"):
    """Class folders a, b, c, ... of photos of several sizes."""
    seed = 0
    for split in splits:
        for label, count in enumerate(counts):
            folder = root / split / "abcdefghij"[label]
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                picture = smooth(40 + 7 * (seed % 5), 50 + 11 * (seed % 4), seed)
                (folder / f"{number:03}{suffix}").write_bytes(encoded(picture, suffix))
    return root


def write_records(path, files, labels):
    """A .rec and .idx file by MXNet's own writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for number, (data, label) in enumerate(zip(files, labels)):
        writer.write_idx(number, mx.recordio.pack(mx.recordio.IRHeader(0, label, number, 0), data))
    writer.close()
    return path


def with_orientation(picture, orientation, form="JPEG"):
    """A file of a picture that its EXIF data says to be stored in one of the eight ways."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(picture).transpose(_STORING[orientation]) if orientation > 1 else Image.fromarray(picture)
    file = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    stored.save(file, form, exif=exif.tobytes(), **options)
    return file.getvalue()


def png_header(height, width):
    """A PNG file of one colour without its pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def mutated(data, kind, draw):
    """A JPEG file with damage in what is behind its header."""
    start = data.index(b"\xff\xda") + 12
    place = int(draw.integers(start, (start + len(data)) // 2))
    length = int(draw.integers(200, (len(data) - place) // 2))
    if kind == "missing middle":
        return data[:place] + data[place + length :]
    if kind == "zeros":
        return data[:place] + bytes(length) + data[place + length :]
    found = bytearray(data)
    for place in draw.integers(start, len(data) - 2, 20):
        found[place] = int(draw.integers(256))
    return bytes(found)
