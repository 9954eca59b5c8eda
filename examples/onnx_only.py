#!/usr/bin/env python
"""The answer of an exported network by ONNX Runtime and NumPy, without MXNet (Pillow reads the image).

    python -m fusion export --run DIR --format onnx --with-preprocess --output exported
    python -m pip install onnxruntime numpy Pillow          # on the other machine
    python examples/onnx_only.py exported IMAGE

The folder holds model.onnx and model.json. The model takes a batch of any number of images. A network that answers each
pixel takes images of any size, which are padded to a multiple of its stride; its answer is written to mask.png.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder, photo = Path(sys.argv[1]), sys.argv[2]
description = json.loads((folder / "model.json").read_text())
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
original, preparation = image.size, description["images"]
answers_pixels, whole = len(description["output"]["shape"]) == 4, "multiple_of" in preparation
if not whole:
    # Scale the shorter side to the length that the network was trained with, then cut out the centre.
    height, width = preparation["centre_crop"]
    scale = preparation["shorter_side"] / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    image = image.crop((left, top, left + width, top + height))
elif preparation["resize"]:
    image = image.resize(preparation["resize"], Image.BILINEAR)
pixels = np.asarray(image)[None]
mean, std = (np.array(description["normalisation"][key]) for key in ("mean", "std"))
if whole:
    below, right = (-side % preparation["multiple_of"] for side in pixels.shape[1:3])
    padded = np.pad(pixels, ((0, 0), (0, below), (0, right), (0, 0)), mode="reflect")
    if preparation["padding"] == "zeros":  # zeros after the normalisation, which are the mean colour
        padded = np.broadcast_to((255 * mean).round(), padded.shape).astype(np.uint8)
        padded[:, : image.height, : image.width] = pixels
    pixels = padded

# An export made with --with-preprocess takes the bytes as they are; any other takes normalised planes.
if not description["normalisation"]["in_the_graph"]:
    pixels = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)

(logits,) = session.run(["logits"], {"data": pixels})
logits = logits[:, :, : image.height, : image.width] if whole else logits
if answers_pixels:
    # With one class a pixel is its where the logit is above 0; with several it is of the class with the highest logit.
    is_class = logits[0] > 0 if len(logits[0]) == 1 else np.arange(len(logits[0]))[:, None, None] == logits[0].argmax(0)
    for name, own in zip(description["classes"], is_class):
        print(f"{name:<20} {own.mean():.4f} of the pixels")
    mask = 255 * is_class[0] if len(is_class) == 1 else is_class.argmax(axis=0)
    mask = Image.fromarray(mask.astype(np.uint8))
    (mask.resize(original, Image.NEAREST) if whole else mask).save("mask.png")
else:
    chances = np.exp(logits[0] - logits[0].max())
    chances /= chances.sum()
    for index in chances.argsort()[::-1][:3]:
        print(f"{description['classes'][index]:<20} {chances[index]:.4f}")
