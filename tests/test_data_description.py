"""Descriptions of data sets: one for each name, nothing decided by a name elsewhere, and what adding one takes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import fusion
from fusion import data
from fusion.data import Description, ImageSet, describe, list_datasets, load_dataset, settings_of_others
from fusion.errors import DataError


def test_each_name_has_its_own_description():
    assert [describe(name).name for name in list_datasets()] == list_datasets()


def test_unknown_name_is_told_the_nearest():
    with pytest.raises(DataError, match="'imagnet' is unknown; did you mean 'imagenet'"):
        describe("imagnet")


@pytest.mark.parametrize(
    ("name", "kind", "needs_folder", "fixed_classes", "size"),
    [
        ("digits", "images", False, True, 32),
        ("cifar10", "images", True, True, 32),
        ("cifar100", "images", True, True, 32),
        ("image_folder", "images", True, False, None),
        ("imagenet", "photos", True, False, None),
        ("mask_folder", "masks", True, False, None),
        ("voc_masks", "masks", True, False, None),
        ("coco_masks", "masks", True, False, None),
    ],
)
def test_what_is_known_of_each(name, kind, needs_folder, fixed_classes, size):
    known = describe(name)
    assert (known.kind, known.needs_folder, known.fixed_classes, known.size) == (
        kind,
        needs_folder,
        fixed_classes,
        size,
    )
    assert known.task == ("segmentation" if kind == "masks" else "classification")


def test_settings_of_other_data_sets():
    others = settings_of_others("imagenet")
    assert others["augment.scale"] == "mask_folder, voc_masks, coco_masks"
    assert others["data.ignore"] == "mask_folder, voc_masks"
    assert "augment.colour_jitter" not in others
    assert settings_of_others("digits")["augment.crop_area"] == "imagenet"
    assert settings_of_others("digits") == settings_of_others("cifar10")


def test_described_settings_exist():
    from fusion.training.settings import Settings

    for name in list_datasets():
        for key in describe(name).settings:
            section, leaf = key.split(".")
            assert hasattr(getattr(Settings(), section), leaf)


def test_another_data_set_is_one_description(monkeypatch):
    def load(split):
        return ImageSet(np.zeros((3, 4, 4, 3), np.uint8), np.array([0, 1, 0]), ("a", "b"), f"toy, {split}")

    toy = Description("toy", "Toy", load, kind="images", needs_folder=False, size=4)
    monkeypatch.setitem(data.DESCRIPTIONS, "toy", toy)
    assert "toy" in list_datasets()
    assert load_dataset("toy", "test").title == "toy, test"
    with pytest.raises(DataError, match="labels='coarse' means nothing to toy; it is for cifar100"):
        load_dataset("toy", "test", labels="coarse")


def test_no_module_asks_for_a_data_sets_name():
    """Where something depends on the data set, its description says so."""
    asking = re.compile(r"""(==|!=|\bin\b) *\(?["'](imagenet|cifar10|cifar100|digits)["']""")
    package = Path(fusion.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for room in ("data", "training", "inference", "explain", "deploy", "speed")
        for path in sorted((package / room).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if asking.search(line)
    ]
    assert found == []
