#!/usr/bin/env python
"""The answer of an exported network by ONNX Runtime and NumPy, without MXNet (Pillow reads the image).

    python -m fusion export --run DIR --format onnx --with-preprocess --output exported
    python -m pip install onnxruntime numpy Pillow          # on the other machine
    python examples/onnx_only.py exported IMAGE

The folder holds model.onnx and model.json. The model takes a batch of any number of images.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, photo = Path(sys.argv[1]), sys.argv[2]
description = json.loads((folder / "model.json").read_text())
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

# Scale the shorter side to the length that the network was trained with, then cut out the centre.
height, width = description["images"]["centre_crop"]
image = Image.open(photo).convert("RGB")
scale = description["images"]["shorter_side"] / min(image.size)
image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
left, top = (image.width - width) // 2, (image.height - height) // 2
pixels = np.asarray(image.crop((left, top, left + width, top + height)))[None]

# An export made with --with-preprocess takes the bytes as they are; any other takes normalised planes.
if not description["normalisation"]["in_the_graph"]:
    mean, std = (np.array(description["normalisation"][key]) for key in ("mean", "std"))
    pixels = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)

(logits,) = session.run(["logits"], {"data": pixels})
chances = np.exp(logits[0] - logits[0].max())
chances /= chances.sum()
for index in chances.argsort()[::-1][:3]:
    print(f"{description['classes'][index]:<20} {chances[index]:.4f}")
