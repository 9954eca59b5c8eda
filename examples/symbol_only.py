#!/usr/bin/env python
"""The answer of an exported network by MXNet alone, without this package (Pillow reads the image).

    python -m fusion export --run DIR --with-preprocess --output exported
    python examples/symbol_only.py exported IMAGE

The folder holds model-symbol.json, model-0000.params and model.json.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# MXNet 1.9.1 reads `numpy.bool`, which NumPy 1.24 removed: provide it before the import.
# (On Python 3.12 and later, MXNet also needs the `distutils` of setuptools, which must be imported first.)
if sys.version_info >= (3, 12):
    import setuptools  # noqa: F401
if "bool" not in vars(np):
    np.bool = bool

# MXNet reads these two settings when it is imported. Without the first it uses half of the processors. Without the
# second, everything that it does after it has copied a large array is slow.
os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
os.environ.setdefault("MXNET_CPU_PARALLEL_SIZE", "1000000000")

import mxnet as mx

folder, photo = Path(sys.argv[1]), sys.argv[2]
description = json.loads((folder / "model.json").read_text())
net = mx.gluon.SymbolBlock.imports(
    str(folder / "model-symbol.json"), ["data"], str(folder / "model-0000.params"), ctx=mx.cpu()
)

if len(description["output"]["shape"]) == 4:
    sys.exit("this network answers each pixel, and this program names classes: examples/onnx_only.py does both")

# Scale the shorter side to the length that the network was trained with, then cut out the centre.
height, width = description["images"]["centre_crop"]
image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
scale = description["images"]["shorter_side"] / min(image.size)
image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
left, top = (image.width - width) // 2, (image.height - height) // 2
pixels = np.asarray(image.crop((left, top, left + width, top + height)))[None]

# An export made with --with-preprocess takes the bytes as they are; any other takes normalised planes.
if not description["normalisation"]["in_the_graph"]:
    mean, std = (np.array(description["normalisation"][key]) for key in ("mean", "std"))
    pixels = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)

logits = net(mx.nd.array(pixels, dtype=pixels.dtype))
chances = mx.nd.softmax(logits)[0].asnumpy()
for index in chances.argsort()[::-1][:3]:
    print(f"{description['classes'][index]:<20} {chances[index]:.4f}")
