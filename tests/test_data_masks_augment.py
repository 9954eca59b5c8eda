"""Crops of images and masks: both undergo the same, and a batch is a function of seed, epoch and number alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from masks import make_folder
from photos import AS_THEY_ARE

from fusion.data import load_dataset
from fusion.data.augment import Normalisation
from fusion.data.loader import generator
from fusion.data.masks.augment import MaskAugmentation, choose_pixel, rescaled
from fusion.data.masks.batches import MaskBatches
from fusion.data.masks.labels import IGNORE, binary_labels, class_labels
from fusion.errors import ConfigError
from fusion.tasks.segmentation.batches import crop_augmentation, training_batches
from fusion.training.config import read_config
from fusion.training.loading import build_normalisation, load_split

SIZE = (30, 40)


def scene(size=SIZE, seed=0):
    """An image whose three colours are its mask: large areas of the values 0, 1, 2 and some of `IGNORE`."""
    draw = np.random.default_rng(seed)
    coarse = draw.choice([0, 1, 2, IGNORE], size=(size[0] // 5, size[1] // 5)).astype(np.uint8)
    mask = coarse.repeat(5, axis=0).repeat(5, axis=1)
    return np.repeat(mask[..., None], 3, axis=-1), mask


def plain(height=20, width=24, **options):
    return MaskAugmentation(height, width, **{"flip": False, "fill": (7, 8, 9), **options})


def crops(augmentation, count=200, size=SIZE, first=0):
    image, mask = scene(size)
    for number in range(first, first + count):
        yield augmentation(image, mask, generator(1, number))


# --- Crops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZE, (10, 40), (30, 10), (10, 10)])
@pytest.mark.parametrize("flip", [False, True])
def test_image_and_mask_stay_together_and_the_rest_is_filled(size, flip):
    found = []
    for picture, mask in crops(plain(flip=flip), 50, size):
        assert (picture.shape, mask.shape) == ((20, 24, 3), (20, 24))
        assert (picture.dtype, mask.dtype) == (np.uint8, np.uint8)
        filled = (picture == (7, 8, 9)).all(axis=-1)
        np.testing.assert_array_equal(picture[~filled][:, 0], mask[~filled])
        assert (mask[filled] == IGNORE).all()
        assert (~filled).sum() == min(20, size[0]) * min(24, size[1])
        found.append(mask)
    assert len({mask.tobytes() for mask in found}) > 5


def test_every_place_is_drawn():
    image, mask = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[: SIZE[0], : SIZE[1]]
    corners = {tuple(plain()(image, mask, generator(2, number))[0][0, 0, :2].tolist()) for number in range(3000)}
    assert corners == {(top, left) for top in range(11) for left in range(17)}


def test_smaller_image_lies_anywhere_in_the_crop():
    image, mask = np.zeros((15, 20, 3), np.uint8), np.zeros((15, 20), np.uint8)
    found = [plain()(image, mask, generator(2, number))[1] for number in range(400)]
    places = {tuple(np.argwhere(cut == 0)[0].tolist()) for cut in found}
    assert places == {(top, left) for top in range(6) for left in range(5)}


def test_half_are_mirrored():
    image, mask = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    mask[:, 0] = image[:, 0] = 1
    whole = MaskAugmentation(4, 6)
    found = [whole(image, mask, generator(3, number)) for number in range(400)]
    mirrored = [mask[0, -1] for _, mask in found]
    assert 0.42 < np.mean(mirrored) < 0.58
    for picture, cut in found:
        np.testing.assert_array_equal(picture[..., 0], cut)


def test_background_padding_is_black_background():
    picture, mask = next(crops(plain(40, 50, fill=(0, 0, 0), fill_class=0), 1))
    assert (mask == 0).sum() >= 40 * 50 - 30 * 40
    assert (picture[mask == 0] == 0).all()


# --- Scales ----------------------------------------------------------------------------------------------------------


def test_longer_side_is_drawn_from_its_range():
    image, mask = np.full((30, 40, 3), 50, np.uint8), np.zeros((30, 40), np.uint8)
    augmentation = plain(100, 100, long_side=(60, 90))
    sizes = []
    for number in range(300):
        _, cut = augmentation(image, mask, generator(4, number))
        inside = cut == 0
        sizes.append((int(inside.any(axis=1).sum()), int(inside.any(axis=0).sum())))
    assert {width for _, width in sizes} == set(range(60, 91))
    assert all(abs(height - width * 3 / 4) <= 0.5 for height, width in sizes)


def test_factor_is_drawn_from_its_range():
    image, mask = np.full((30, 40, 3), 50, np.uint8), np.zeros((30, 40), np.uint8)
    augmentation = plain(100, 100, scale=(0.5, 2.0))
    widths = [(augmentation(image, mask, generator(5, number))[1] == 0).any(axis=0).sum() for number in range(400)]
    assert min(widths) <= 22 and max(widths) >= 78
    assert 47 < np.mean(widths) < 53


@pytest.mark.parametrize("size", [(60, 80), (15, 20), (45, 13), (7, 90)])
def test_no_value_of_a_mask_is_mixed_from_two(size):
    image, mask = scene()
    scaled, classes = rescaled(image, mask, size)
    assert scaled.shape == (*size, 3) and classes.shape == size
    assert set(np.unique(classes)) <= {0, 1, 2, IGNORE}


def test_image_and_mask_are_scaled_about_the_same_points():
    """The edge between two halves stays at the same place in both, whichever way the image is scaled."""
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 1
    image = np.repeat(255 * mask[..., None], 3, axis=-1)
    for size in ((80, 120), (20, 30), (30, 45), (53, 79)):
        scaled, classes = rescaled(image, mask, size)
        assert np.abs((scaled[..., 0] > 127).sum(axis=1) - classes.sum(axis=1)).max() <= 1


# --- Targets ---------------------------------------------------------------------------------------------------------


def spot(size=(200, 300), place=(180, 40)):
    mask = np.zeros(size, np.uint8)
    mask[place] = 1
    return np.zeros((*size, 3), np.uint8), mask


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_crop_has_a_target_as_often_as_asked(probability):
    image, mask = spot()
    augmentation = plain(target_probability=probability)
    found = [augmentation(image, mask, generator(6, number))[1].any() for number in range(400)]
    by_chance = 20 * 24 / (181 * 277)
    assert np.mean(found) == pytest.approx(probability + (1 - probability) * by_chance, abs=0.06)
    if probability == 1:
        assert all(found)


def test_target_is_anywhere_in_its_crop():
    image, mask = spot()
    augmentation = plain(target_probability=1.0)
    places = {tuple(np.argwhere(augmentation(image, mask, generator(7, n))[1])[0]) for n in range(4000)}
    assert {column for _, column in places} == set(range(24))
    # The spot is 19 pixels above the lower border, so that no crop has it in its first row.
    assert {row for row, _ in places} == set(range(20))


def test_target_at_the_border_stays_in_the_crop():
    image, mask = spot(place=(199, 0))
    augmentation = plain(target_probability=1.0)
    assert all(augmentation(image, mask, generator(8, number))[1].any() for number in range(50))


def test_each_class_is_as_likely_a_target():
    mask = np.zeros((50, 50), np.uint8)
    mask[:, 10:] = 1
    mask[0, 0] = 2
    mask[1:5, 0] = IGNORE
    draw = np.random.default_rng(0)
    for has_background, expected in ((True, {1: 0.5, 2: 0.5}), (False, {0: 1 / 3, 1: 1 / 3, 2: 1 / 3})):
        found = [int(mask[choose_pixel(mask, has_background, draw)]) for _ in range(1500)]
        assert set(found) == set(expected)
        for number, share in expected.items():
            assert np.mean(np.array(found) == number) == pytest.approx(share, abs=0.05)
    assert choose_pixel(np.full((3, 3), IGNORE, np.uint8), False, draw) is None
    assert choose_pixel(np.zeros((3, 3), np.uint8), True, draw) is None


# --- Colours and blur ------------------------------------------------------------------------------------------------


def test_blur_changes_images_and_not_masks():
    sharp = [cut for _, cut in crops(plain(), 40)]
    found = list(crops(plain(blur_probability=1.0), 40))
    changed = [(picture[..., 0] != cut).any() for picture, cut in found]
    assert np.mean(changed) > 0.5  # a deviation of a few tenths of a pixel changes nothing
    for (_, cut), expected in zip(found, sharp):
        np.testing.assert_array_equal(cut, expected)
    assert not any((picture[..., 0] != cut).any() for picture, cut in crops(plain(), 40))


def test_jitter_leaves_the_mask_and_the_filled_part():
    augmentation = plain(40, 50, jitter=0.5)
    for picture, mask in crops(augmentation, 10):
        assert ((picture == (7, 8, 9)).all(axis=-1)).sum() >= 40 * 50 - 30 * 40
        assert set(np.unique(mask)) <= {0, 1, 2, IGNORE}
    greys = [picture[mask == IGNORE].max() for picture, mask in crops(plain(30, 40, jitter=0.5), 10)]
    assert len(set(greys)) > 5


# --- Batches ---------------------------------------------------------------------------------------------------------

FULL = MaskAugmentation(
    16,
    20,
    scale=(0.5, 2.0),
    fill=(124, 116, 104),
    target_probability=0.5,
    blur_probability=0.5,
    jitter=0.4,
)
NORMALISE = Normalisation((0.5,) * 3, (0.2,) * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_dataset("mask_folder", "train", make_folder(tmp_path_factory.mktemp("set"), train=14))


def batches(data, size=4, seed=5, workers=1, augmentation=FULL, normalise=NORMALISE, **options):
    return MaskBatches(data, augmentation, normalise, size, seed, workers, **options)


def assert_same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.targets, right.targets)


def test_batches_have_images_and_masks(data):
    found = list(batches(data).epoch(0))
    assert len(found) == len(batches(data)) == 3
    for batch in found:
        assert (batch.images.shape, batch.images.dtype) == ((4, 3, 16, 20), np.float32)
        assert (batch.targets.shape, batch.targets.dtype) == ((4, 16, 20), np.uint8)
        assert batch.images.flags.c_contiguous
        assert set(np.unique(batch.targets)) <= {0, 1, IGNORE}


def test_whole_images_come_normalised_and_each_once(tmp_path):
    data = load_dataset("mask_folder", "train", make_folder(tmp_path, train=6, sizes=((16, 20),)))
    whole = MaskAugmentation(16, 20, flip=False)
    found = list(batches(data, 3, augmentation=whole).epoch(2))
    pixels = np.concatenate([batch.images for batch in found]) * 0.2 + 0.5
    masks = np.concatenate([batch.targets for batch in found])
    np.testing.assert_allclose(pixels[:, 2], masks, atol=1e-6)  # blue is 255 where the mask is 1
    assert {mask.tobytes() for mask in masks} == {sample.mask.tobytes() for sample in data.samples()}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_nothing(data, workers):
    assert_same(batches(data).epoch(1), batches(data, workers=workers).epoch(1))


def test_epoch_can_begin_anywhere(data):
    made = batches(data, workers=2)
    whole = list(made.epoch(1))
    assert_same(made.epoch(1, start=1), whole[1:])


def test_seed_and_epoch_change_batches(data):
    first = next(iter(batches(data).epoch(0)))
    for other in (batches(data).epoch(1), batches(data, seed=6).epoch(0)):
        assert not np.array_equal(first.images, next(iter(other)).images)


@pytest.mark.parametrize("size", [2, 4])
def test_parts_of_workers_are_those_of_the_whole_batch(data, size):
    parts = [list(batches(data, shard=(rank, size), workers=1 + rank).epoch(1)) for rank in range(size)]
    for number, whole in enumerate(batches(data).epoch(1)):
        np.testing.assert_array_equal(whole.images, np.concatenate([part[number].images for part in parts]))
        np.testing.assert_array_equal(whole.targets, np.concatenate([part[number].targets for part in parts]))


def test_batch_larger_than_the_set_is_refused(data):
    with pytest.raises(ValueError, match="a batch of 15 is more than the 14 training images"):
        batches(data, 15)


# --- Settings --------------------------------------------------------------------------------------------------------


def settings(root, *words):
    common = [
        "model.name=fpn",
        "data.name=mask_folder",
        f"data.dir={root}",
        "augment.crop_padding=0",
        "data.size=16",
        "data.batch_size=4",
    ]
    return read_config(None, [*common, *words])


def test_settings_reach_the_crops(data):
    found = crop_augmentation(
        settings(
            "x",
            "augment.crop_size=[16, 20]",
            "augment.scale=[0.5, 2]",
            "augment.mean=[0.485, 0.456, 0.406]",
            "augment.target_probability=0.5",
            "augment.blur_probability=0.5",
            "augment.colour_jitter=0.4",
        ),
        binary_labels(),
    )
    assert found == FULL
    released = crop_augmentation(
        settings("x", "augment.long_side=[256, 1024]", "augment.padding=background", "augment.flip=false"),
        binary_labels(),
    )
    assert released == MaskAugmentation(16, 16, flip=False, long_side=(256, 1024), fill=(0, 0, 0), fill_class=0)
    several = crop_augmentation(settings("x"), class_labels(("sky", "road")))
    assert not several.has_background
    assert dataclasses.replace(several, has_background=True, fill=(0, 0, 0)) == MaskAugmentation(16, 16)


def test_background_padding_needs_a_background():
    words = settings("x", "augment.padding=background")
    assert crop_augmentation(words, class_labels(("Background", "road"))).fill_class == 0
    with pytest.raises(ConfigError, match="none of the classes is the background .the first is 'sky'"):
        crop_augmentation(words, class_labels(("sky", "road")))


def test_batches_of_a_run(tmp_path):
    root = make_folder(tmp_path, values=(0, 1, 2), classes=("sky", "road", "unlabelled"))
    found = settings(root, "data.ignore=2", "data.train_split=train", "data.workers=2")
    data = load_split(found, "train")
    made = training_batches(found, data, build_normalisation(found), 4, (0, 1))
    batch = next(made.epoch(0))
    assert batch.images.shape == (4, 3, 16, 16)
    assert set(np.unique(batch.targets)) <= {0, 1, IGNORE}
    assert len(load_split(found, "test")) == 3


def test_task_needs_masks():
    words = read_config(None, [])
    with pytest.raises(ConfigError, match="digits has no masks, and the task is segmentation"):
        training_batches(words, load_split(words, "test"), AS_THEY_ARE, 4, (0, 1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment.crop_padding=4"], "augment.crop_padding is 4; expected 0"),
        (["data.fit=resize"], "data.fit is 'resize'; it is for image_folder"),
        (["augment.auto_augment=cifar10"], "augment.auto_augment is 'cifar10'; it does not change masks"),
        (["augment.mixup_alpha=1"], "augment.mixup_alpha is 1.0; it is for classification"),
        (["augment.cutmix_alpha=1"], "augment.cutmix_alpha is 1.0; it is for classification"),
        (["augment.crop_size=[16]"], "augment.crop_size is .16.; expected height and width"),
        (["augment.crop_size=[0, 16]"], "augment.crop_size is .0, 16.; expected height and width"),
        (["augment.long_side=[9, 8]"], "augment.long_side is .9, 8.; expected two rising numbers"),
        (["augment.scale=[0, 1]"], "augment.scale is .0.0, 1.0.; expected two rising numbers"),
        (["augment.scale=[0.5, 2]", "augment.long_side=[8, 9]"], "augment.long_side says how images are scaled"),
        (["augment.lighting=0.1"], "augment.lighting is 0.1; it is for imagenet"),
    ],
)
def test_impossible_settings_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        settings("x", *words)


@pytest.mark.parametrize("word", ["augment.scale=[0.5, 2]", "data.ignore=3", "data.train_split=val"])
def test_settings_about_masks_are_refused_for_others(word):
    with pytest.raises(ConfigError, match="it is for mask_folder, voc_masks.*, and data.name is digits"):
        read_config(None, [word])
