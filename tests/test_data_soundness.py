"""What is silently wrong with a data set: copies between the splits, two labels, one class, all images alike."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from masked import write_bands, write_targets
from photos import encoded, make_folders, smooth, write_records
from PIL import Image

from fusion.data import load_dataset
from fusion.data.duplicates import find_copies, pictures
from fusion.data.imageset import ImageSet
from fusion.data.soundness import look_over
from fusion.errors import DataError


def split(count, seed=0, classes=("cat", "dog"), side=8):
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(count) % len(classes), classes, "pets")


def masks_of(folder, part, ignore=3):
    return load_dataset("mask_folder", part, folder, ignore=ignore)


# --- Images in memory -------------------------------------------------------------------------------------------------


def test_sound_images_are_passed_over_in_silence():
    assert look_over(split(20), split(10, seed=1)) == []


@pytest.mark.parametrize("side", [1, 2, 8])
def test_training_images_in_the_test_set_are_counted_and_named(side):
    train, test = split(20, side=side), split(8, seed=1, side=side)
    test.images[2], test.images[5] = train.images[4], train.images[7]
    (found,) = look_over(train, test)
    assert "2 of 8 test images (25 %) are among the training images too" in found
    assert "image 2 (cat) = image 4 (cat), image 5 (dog) = image 7 (dog)" in found


def test_images_that_differ_in_one_value_only_are_not_copies():
    train, test = split(4), split(2, seed=1)
    for place in range(train.images[0].size):
        test.images[0] = train.images[0]
        test.images[0].reshape(-1)[place] ^= 1
        assert find_copies(pictures(train), pictures(test)).shared == []


def test_image_under_two_labels_is_counted_and_one_under_the_same_label_is_not():
    train = split(20)
    train.images[6] = train.images[4]  # both cats
    assert look_over(train, split(4, seed=1)) == []
    train.images[9] = train.images[4]  # a dog
    (found,) = look_over(train, split(4, seed=1))
    assert "1 training image has a copy that says something else, so that one image has two labels" in found
    assert "image 9 (dog) = image 4 (cat)" in found


def test_all_training_images_alike_are_refused():
    train = split(20)
    train.images[:] = train.images[3]
    with pytest.raises(DataError, match="pets: all 20 training images are the same one, .* nothing to learn"):
        look_over(train, split(4, seed=1))


def test_training_images_that_are_mostly_copies_are_told():
    train = split(20)
    train.images[2:] = train.images[np.arange(18) % 2]
    (found,) = look_over(train, split(4, seed=1))
    assert "the 20 training images are 2 different ones and copies of them" in found


def test_one_class_is_refused_in_training_and_told_in_the_test_set():
    train, test = split(20), split(4, seed=1)
    test.labels[:] = 1
    (found,) = look_over(train, test)
    assert "all 4 test images are of the class 'dog'" in found
    train.labels[:] = 1
    with pytest.raises(DataError, match="the training set has a single class, 'dog'"):
        look_over(train, test)


# --- Files ------------------------------------------------------------------------------------------------------------


def photos_of(folder):
    return [load_dataset("imagenet", part, folder, size=16) for part in ("train", "test")]


def test_photos_in_both_splits_and_under_two_labels_are_found_in_folders(tmp_path):
    make_folders(tmp_path)
    assert look_over(*photos_of(tmp_path)) == []
    shutil.copy(tmp_path / "train" / "a" / "001.JPEG", tmp_path / "val" / "b" / "again.JPEG")
    shutil.copy(tmp_path / "train" / "a" / "000.JPEG", tmp_path / "train" / "c" / "again.JPEG")
    shared, contradicting = look_over(*photos_of(tmp_path))
    assert "1 of 13 test images (7.69 %) is among the training images too" in shared
    assert f"{tmp_path / 'val/b/again.JPEG'} = {tmp_path / 'train/a/001.JPEG'}" in shared
    assert f"{tmp_path / 'train/c/again.JPEG'} = {tmp_path / 'train/a/000.JPEG'}" in contradicting


def test_photos_that_differ_before_their_ends_only_are_not_copies(tmp_path):
    make_folders(tmp_path)
    data = bytearray((tmp_path / "train" / "a" / "000.JPEG").read_bytes())
    data[20] ^= 1
    (tmp_path / "val" / "a" / "other.JPEG").write_bytes(bytes(data))
    assert look_over(*photos_of(tmp_path)) == []


def test_photos_in_both_splits_are_found_in_records_though_each_has_a_number_of_its_own(tmp_path):
    files = [encoded(smooth(40, 50, seed)) for seed in range(6)]
    write_records(tmp_path / "train.rec", files[:4], [0, 1, 0, 1])
    write_records(tmp_path / "val.rec", [files[4], files[5], files[1]], [0, 1, 1])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (found,) = look_over(*photos_of(tmp_path))
    assert "1 of 3 test images" in found
    assert "val.rec, record 2 = " in found


def test_all_photos_alike_are_refused_and_too_many_are_left_to_the_doctor(tmp_path):
    make_folders(tmp_path)
    (found,) = look_over(*photos_of(tmp_path), most_files=5)
    assert "python -m fusion doctor --images" in found
    files = sorted((tmp_path / "train").rglob("*.JPEG"))
    for path in files[1:]:
        shutil.copy(files[0], path)
    with pytest.raises(DataError, match="all 12 training images are the same one"):
        look_over(*photos_of(tmp_path), most_files=5)


# --- Masks ------------------------------------------------------------------------------------------------------------


def test_images_with_masks_in_both_splits_and_with_two_masks_are_counted(tmp_path):
    write_bands(tmp_path)
    assert look_over(masks_of(tmp_path, "train"), masks_of(tmp_path, "test")) == []
    shutil.copy(tmp_path / "images" / "train0.png", tmp_path / "images" / "test1.png")
    shutil.copy(tmp_path / "images" / "train2.png", tmp_path / "images" / "train3.png")
    shutil.copy(tmp_path / "masks" / "train0.png", tmp_path / "masks" / "train2.png")
    shutil.copy(tmp_path / "masks" / "train1.png", tmp_path / "masks" / "train3.png")
    other = np.asarray(Image.open(tmp_path / "masks" / "train3.png")).copy()
    other[0, 0] = (other[0, 0] + 1) % 3
    Image.fromarray(other).save(tmp_path / "masks" / "train3.png")
    shared, contradicting = look_over(masks_of(tmp_path, "train"), masks_of(tmp_path, "test"))
    assert "1 of 4 test images (25 %) is among the training images too" in shared
    assert "one image has two masks" in contradicting


def test_masks_that_are_all_the_same_are_told(tmp_path):
    write_bands(tmp_path)
    for path in (tmp_path / "masks").glob("*.png"):
        if path.name != "train0.png":
            shutil.copy(tmp_path / "masks" / "train0.png", path)
    (found,) = look_over(masks_of(tmp_path, "train"), masks_of(tmp_path, "test"))
    assert "all 10 training masks are the same one" in found


def test_masks_of_background_only_are_refused(tmp_path):
    write_targets(tmp_path)
    for path in (tmp_path / "masks").glob("*.png"):
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    with pytest.raises(DataError, match="there is nothing to tell apart"):
        masks_of(tmp_path, "train", ignore=None)
