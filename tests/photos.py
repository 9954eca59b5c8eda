"""Photos made for tests: smooth pictures as JPEG or PNG files, in class folders and in records."""

from __future__ import annotations

import numpy as np

from fusion.compat import mx
from fusion.data.augment import Normalisation
from fusion.data.photos.decoding import opencv

#: Leaves pixels as they are, from 0 to 255.
AS_THEY_ARE = Normalisation((0, 0, 0), (1 / 255,) * 3)


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
