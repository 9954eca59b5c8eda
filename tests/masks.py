"""Images with masks, made for tests: small folders of them, and files of annotations in COCO's format."""

from __future__ import annotations

import json

import numpy as np
from photos import encoded, smooth
from PIL import Image

#: Height and width of the images of a made-up set, in turn.
SIZES = ((24, 32), (30, 20), (26, 26))


def write_mask(path, mask, mode=None):
    """A PNG file of the values of a mask (H, W), as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(mask, np.uint8))
    (image.convert(mode) if mode else image).save(path)


def squares(size, number, values):
    """A mask of the first value, with a square of each other one at a place that depends on the number."""
    mask = np.full(size, values[0], np.uint8)
    for place, value in enumerate(values[1:]):
        top, left = (3 + 5 * place + number) % (size[0] - 4), (2 + 3 * number) % (size[1] - 4)
        mask[top : top + 4, left : left + 4] = value
    return mask


def make_folder(root, train=5, test=3, values=(0, 255), classes=(), suffix=".png", sizes=SIZES):
    """A folder as `mask_folder` reads it; each image shows its mask: where that has the value v, blue is v."""
    number = 0
    for split, count in (("train", train), ("test", test)):
        names = []
        for _ in range(count):
            size, name = sizes[number % len(sizes)], f"scene_{number}"
            mask = squares(size, number, values)
            picture = smooth(*size, seed=number)
            picture[..., 2] = mask
            (root / "images").mkdir(parents=True, exist_ok=True)
            (root / "images" / f"{name}.png").write_bytes(encoded(picture))
            write_mask(root / "masks" / f"{name}{suffix}", mask)
            names.append(name)
            number += 1
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    if classes:
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return root


def box(left, top, right, bottom):
    """A rectangle as a polygon of COCO, in pixels; the right and bottom ends are not in it."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(category, segmentation, crowd=False):
    """An annotation without the numbers that `make_coco` gives it; its area is that of the box around polygons."""
    area = 10_000
    if isinstance(segmentation, list):
        x, y = np.array(segmentation[0]).reshape(-1, 2).T
        area = float((x.max() - x.min()) * (y.max() - y.min()))
    return {
        "category_id": category,
        "segmentation": segmentation,
        "area": area,
        "iscrowd": int(crowd),
    }


def make_coco(root, parts, categories, size=(60, 80)):
    """A folder of COCO's layout.

    `parts` has for each part, such as train2017, the annotations of its images: a list for each image. Images are
    numbered from 1 over all parts.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    number = 0
    for part, images in parts.items():
        (root / part).mkdir()
        listed, annotations = [], []
        for own in images:
            number += 1
            name = f"{number:012}.jpg"
            (root / part / name).write_bytes(encoded(smooth(*size, seed=number), ".jpg"))
            listed.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
            first = len(annotations) + 1
            annotations += [{"id": first + place, "image_id": number, **each} for place, each in enumerate(own)]
        content = {
            "images": listed,
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in categories.items()],
        }
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root
