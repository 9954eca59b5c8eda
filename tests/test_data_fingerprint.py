"""Fingerprints of data sets: the same wherever the files are and in whichever order they are listed, else others."""

from __future__ import annotations

import os
import shutil

import masks
import numpy as np
import pytest
from photos import encoded, make_folders, smooth, write_records
from PIL import Image

from fusion.data import fingerprint, load_dataset
from fusion.data.fingerprint import fingerprint_of_files


def folder(root):
    for split in ("train", "test"):
        for label, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = np.full((8, 8, 3), 40 * label + 10 * number, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def photos(root):
    return make_folders(root, counts=(2, 2))


def records(root):
    for split in ("train", "val"):
        write_records(root / f"{split}.rec", [encoded(smooth(40, 40, seed)) for seed in range(4)], [0, 1, 0, 1])
    return root


KINDS = {
    "image_folder": (folder, {"size": 8}),
    "imagenet": (photos, {"size": 8}),
    "records": (records, {"size": 8, "classes": 2}),
    "mask_folder": (masks.make_folder, {}),
}


def load(kind, root, split="train"):
    return load_dataset("imagenet" if kind == "records" else kind, split, root, **KINDS[kind][1])


@pytest.fixture(params=KINDS)
def made(request, tmp_path):
    """A kind of data set, and its folder."""
    return request.param, KINDS[request.param][0](tmp_path / "data")


def test_moved_folder_has_the_same_fingerprint(made, tmp_path):
    kind, root = made
    before = load(kind, root).fingerprint(), load(kind, root, "test").fingerprint()
    shutil.move(str(root), str(tmp_path / "elsewhere"))
    moved = tmp_path / "elsewhere"
    assert (load(kind, moved).fingerprint(), load(kind, moved, "test").fingerprint()) == before


def test_order_in_which_the_system_lists_files_says_nothing(made, monkeypatch):
    kind, root = made
    before = load(kind, root).fingerprint()
    scandir, listdir = os.scandir, os.listdir

    class Reversed(list):
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *error: None  # noqa: E731
        close = __exit__

        def __next__(self):
            if not self:
                raise StopIteration
            return self.pop(0)

    monkeypatch.setattr(os, "scandir", lambda path=".": Reversed(reversed(list(scandir(path)))))
    monkeypatch.setattr(os, "listdir", lambda path=".": list(reversed(listdir(path))))
    assert load(kind, root).fingerprint() == before


def test_file_of_another_size_changes_it(made):
    kind, root = made
    before = load(kind, root).fingerprint()
    if kind == "records":
        write_records(root / "train.rec", [encoded(smooth(44, 44, seed)) for seed in range(4)], [0, 1, 0, 1])
    else:
        file = sorted(root.glob("images/scene_0.*" if kind == "mask_folder" else "train/*/*"))[0]
        with Image.open(file) as image:
            image.load()
        size = file.stat().st_size
        image.save(file, format="PNG", compress_level=0)
        assert file.stat().st_size != size
    assert load(kind, root).fingerprint() != before


def test_name_of_a_file_changes_it(tmp_path):
    root = folder(tmp_path / "data")
    before = load("image_folder", root).fingerprint()
    (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / "00.png")
    assert load("image_folder", root).fingerprint() != before


def test_set_without_files_has_one_of_its_labels():
    train, test = load_dataset("digits", "train"), load_dataset("digits", "test")
    assert train.fingerprint() == load_dataset("digits", "train").fingerprint() != test.fingerprint()


def test_a_million_files_take_few_sizes(monkeypatch):
    asked = []
    monkeypatch.setattr(fingerprint, "_size", lambda path: asked.append(path) or 1)
    names = [f"n{number // 1000:04}/{number:08}.JPEG" for number in range(50_000)]
    fingerprint_of_files(names, names.__getitem__)
    assert len(asked) <= fingerprint.SIZES
    assert np.ptp(np.diff([names.index(name) for name in asked[:50]])) == 0  # evenly spaced


def test_photos_with_names_that_are_no_text_have_one(tmp_path):
    assert len(fingerprint_of_files(["a\udcff.png"], lambda number: tmp_path / "none")) == 20
