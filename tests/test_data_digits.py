"""The packaged digits, the checks of `ImageSet`, and loading by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion.data import ImageSet, digits, list_datasets, load_dataset
from fusion.errors import DataError

HEAVY = ("mxnet", "gluoncv", "matplotlib", "pandas", "cv2", "PIL", "tqdm")


def image_set(**changes):
    fields = {
        "images": np.zeros((3, 4, 4, 3), np.uint8),
        "labels": np.array([0, 1, 1]),
        "classes": ("cat", "dog"),
        "title": "pets",
    }
    return ImageSet(**{**fields, **changes})


def test_packaged_scans_are_those_of_the_source():
    scans, labels = digits._read_scans()
    assert scans.shape == (1797, 8, 8)
    assert int(scans.sum()) == 561718  # of scikit-learn's digits.csv.gz
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_packaged_file_is_small_and_described():
    assert digits.SCANS_FILE.stat().st_size < 200_000
    licence = digits.SCANS_FILE.with_name("DIGITS_LICENSE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in licence
    assert "10.24432/C50P49" in licence


def test_split_is_every_fifth_scan():
    train, test = digits.load("train"), digits.load("test")
    assert (len(train), len(test)) == (1437, 360)
    labels = digits._read_scans()[1]
    assert test.labels.tolist() == labels[::5].tolist()
    rest = [label for k, label in enumerate(labels.tolist()) if k % 5]
    assert train.labels.tolist() == rest
    assert set(test.labels.tolist()) == set(train.labels.tolist()) == set(range(10))


def test_images_are_grey_bytes_over_the_whole_range():
    images = digits.load("test").images
    assert images.shape == (360, 32, 32, 3)
    assert images.dtype == np.uint8
    assert (images[..., 0] == images[..., 1]).all()
    assert (images[..., 0] == images[..., 2]).all()
    assert (images.min(), images.max()) == (0, 255)


def test_upsampling_agrees_with_pillow():
    scans = digits._read_scans()[0][:20]
    ours = digits.upsample(scans, 32)[..., 0]
    for scan, image in zip(scans, ours):
        theirs = Image.fromarray(scan.astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs) * 255 / 16 - image).max() <= 0.51  # the rounding to bytes


def test_digits_know_only_their_two_splits():
    with pytest.raises(DataError, match="'valid'.*'train' or 'test'"):
        digits.load("valid")


def test_missing_packaged_file_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "SCANS_FILE", tmp_path / "digits.npz")
    with pytest.raises(DataError, match="install the package again"):
        digits.load("train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((3, 4, 4, 3), np.float32)}, "float32.*uint8"),
        ({"images": np.zeros((3, 3, 4, 4), np.uint8)}, r"\(3, 3, 4, 4\).*RGB last"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8), "labels": np.zeros(0, np.int64)}, "no images"),
        ({"labels": np.array([0, 1, 1], np.int32)}, "int32.*int64"),
        ({"labels": np.array([0, 1])}, r"\(2,\).*\(3,\)"),
        ({"labels": np.array([0, 2, 1])}, "label 2 of image 1.*0 to 1"),
        ({"labels": np.array([0, 1, -1])}, "label -1 of image 2"),
        ({"classes": ["cat", "dog"]}, "tuple of names"),
        ({"classes": ("cat", "cat")}, "more than once: cat"),
    ],
)
def test_image_set_refuses_what_is_inconsistent(changes, message):
    assert len(image_set()) == 3
    with pytest.raises(DataError, match=message):
        image_set(**changes)


def test_load_by_name():
    assert list_datasets() == [
        *("cifar10", "cifar100", "coco_masks", "digits", "image_folder", "imagenet"),
        *("mask_folder", "voc_masks"),
    ]
    loaded = load_dataset("digits", "test")
    assert (loaded.title, loaded.classes, len(loaded)) == ("UCI digits", tuple("0123456789"), 360)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("digit", "train"), {}, "'digit' is unknown; did you mean 'digits'"),
        (("digits", "val"), {}, "'val'; expected 'train' or 'test'"),
        (("cifar100", "train"), {}, r"data\.dir=PATH"),
        (("image_folder", "train"), {}, r"data\.dir=PATH"),
        (("digits", "train"), {"labels": "coarse"}, "labels='coarse' means nothing to digits; it is for cifar100"),
        (("cifar10", "train", "."), {"labels": "coarse"}, "labels='coarse' means nothing to cifar10"),
        (("image_folder", "train", "."), {"labels": "coarse"}, "means nothing to image_folder"),
        (("cifar10", "train", "."), {"size": 64}, "size=64 means nothing to cifar10; it is for image_folder"),
        (("digits", "train"), {"url": "http://x/y"}, "it is for cifar10, cifar100"),
        (("cifar100", "train", "."), {"labels": "corse"}, "did you mean 'coarse'"),
        (("image_folder", "train", "."), {"fit": "resise"}, "did you mean 'resize'"),
    ],
)
def test_load_by_name_refuses(arguments, options, message):
    with pytest.raises(DataError, match=message):
        load_dataset(*arguments, **options)


def test_importing_the_data_sets_imports_nothing_heavy():
    script = (
        "import sys; import fusion; before = set(sys.modules); import fusion.data;"
        f"print(*sorted((set(sys.modules) - before) & set({HEAVY!r})))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
