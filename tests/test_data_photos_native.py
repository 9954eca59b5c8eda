"""MXNet's ImageRecordIter in place of the Python pipeline: the same distributions, repeatable, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, make_folders, smooth, write_records
from scipy.stats import ks_2samp

from fusion.data import imagenet
from fusion.data.autoaugment import POLICIES
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.photo import PhotoAugmentation
from fusion.errors import DataError

COUNT, SIZE, HEIGHT, WIDTH = 1536, 32, 120, 160
NO_COLOUR = {"jitter": 0.0, "lighting": 0.0}

#: Samples of this size from one distribution differ by more than this once in some ten thousand draws. Both pipelines
#: always draw the same here, so that this is about the pipelines and not about luck.
SAME = 2.2 * np.sqrt(2 / COUNT)


def records(folder, files, labels=None):
    write_records(folder / "train.rec", files, labels or [number % 4 for number in range(len(files))])
    return imagenet.load(folder, "train", classes=4)


def drawn(kind, data, seed=0, epoch=0, batch_size=64, **changes):
    """All images of an epoch (N, 3, S, S) from 0 to 255."""
    augment = PhotoAugmentation(SIZE, **changes)
    made = kind(data, augment, AS_THEY_ARE, Targets(4), batch_size, seed)
    return np.concatenate([batch.images for batch in made.epoch(epoch)])


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Photos whose red says where a pixel was from left to right, and whose green from top to bottom."""
    return records(tmp_path_factory.mktemp("maps"), [encoded(smooth(HEIGHT, WIDTH))] * COUNT)


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Photos of two plain colours, whose changes can be read from two pixels."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = (150, 110, 60)
    picture[:, WIDTH // 2 :] = (70, 90, 130)
    return records(tmp_path_factory.mktemp("flags"), [encoded(picture)] * COUNT)


def crops(images):
    """Flip, area, aspect and centre of the crops of maps."""
    across, down = images[:, 0].mean(axis=1) / 255, images[:, 1].mean(axis=2) / 255
    wide, high = (SIZE / (SIZE - 1) * np.abs(line[:, -1] - line[:, 0]) for line in (across, down))
    return {
        "flip": (across[:, -1] < across[:, 0]).astype(float),
        "area": wide * high,
        "aspect": wide * WIDTH / (high * HEIGHT),
        "from left to right": across.mean(axis=1),
        "from top to bottom": down.mean(axis=1),
    }


def colours(images):
    """Two corners of each image, left and right in their unmirrored order, and its mean grey."""
    left, right = images[:, :, 8, 2], images[:, :, 8, -3]
    grey = images.mean(axis=(2, 3)) @ [0.299, 0.587, 0.114]
    warm = np.where((left[:, :1] - left[:, 2:] > right[:, :1] - right[:, 2:]), left, right)
    cold = left + right - warm
    found = {
        f"{name} {channel}": part[:, k]
        for name, part in (("warm", warm), ("cold", cold))
        for k, channel in enumerate("rgb")
    }
    spread = np.linalg.norm(warm - cold, axis=1)
    saturation = warm.max(axis=1) - warm.min(axis=1)
    return {**found, "grey": grey, "spread": spread, "saturation": saturation}


# --- The same distributions ------------------------------------------------------------------------------------------


def test_crops_and_flips_have_the_same_distributions(maps):
    mine, native = (crops(drawn(kind, maps, **NO_COLOUR)) for kind in (PhotoBatches, NativeBatches))
    assert abs(mine["flip"].mean() - 0.5) < 0.05 and abs(native["flip"].mean() - 0.5) < 0.05
    for what in ("area", "aspect", "from left to right", "from top to bottom"):
        assert ks_2samp(mine[what], native[what]).statistic < SAME, what


@pytest.mark.parametrize("change", [{"area": (0.2, 1.0)}, {"aspect": (0.65, 4 / 3)}])
def test_other_crops_would_show(maps, change):
    mine, native = (
        crops(drawn(kind, maps, **NO_COLOUR, **changes))
        for kind, changes in ((PhotoBatches, change), (NativeBatches, {}))
    )
    assert max(ks_2samp(mine[what], native[what]).statistic for what in ("area", "aspect")) > SAME


@pytest.mark.parametrize("setting", [{"jitter": 0.4, "lighting": 0.0}, {"jitter": 0.0, "lighting": 0.1}])
def test_colours_have_the_same_distributions(flags, setting):
    whole = {"area": (1.0, 1.0), "aspect": (WIDTH / HEIGHT, WIDTH / HEIGHT)}
    mine, native = (colours(drawn(kind, flags, **whole, **setting)) for kind in (PhotoBatches, NativeBatches))
    for what, values in mine.items():
        assert ks_2samp(values, native[what]).statistic < SAME, what


@pytest.mark.parametrize("setting", [{"jitter": 0.3, "lighting": 0.0}, {"jitter": 0.0, "lighting": 0.15}])
def test_other_colours_would_show(flags, setting):
    whole = {"area": (1.0, 1.0), "aspect": (WIDTH / HEIGHT, WIDTH / HEIGHT)}
    other = {"jitter": 0.4 if setting["jitter"] else 0.0, "lighting": 0.1 if setting["lighting"] else 0.0}
    mine, native = (
        colours(drawn(kind, flags, **whole, **changes))
        for kind, changes in ((PhotoBatches, setting), (NativeBatches, other))
    )
    assert max(ks_2samp(values, native[what]).statistic for what, values in mine.items()) > SAME


def test_crops_are_not_those_of_the_batch_before(maps):
    """As they are where `seed_aug` is set."""
    areas = crops(drawn(NativeBatches, maps, **NO_COLOUR))["area"]
    assert len(set(np.round(areas, 4))) > COUNT / 2


# --- What an epoch is ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    files = [path.read_bytes() for path in sorted(make_folders(tmp_path / "folders").rglob("train/*/*"))]
    return records(tmp_path / "records", files)


def full(data, seed=1):
    targets = Targets(4, mixup_alpha=0.2, mixup_epochs=9, smoothing=0.1)
    return NativeBatches(data, PhotoAugmentation(16), AS_THEY_ARE, targets, 5, seed)


def assert_same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.targets, right.targets)


def test_epoch_is_repeatable_and_goes_on_from_any_batch(folder):
    made = full(folder)
    assert len(made) == 2
    assert_same(made.epoch(1), full(folder).epoch(1))
    assert_same(list(made.epoch(1))[1:], made.epoch(1, 1))


def test_order_follows_the_seed_and_the_epoch(folder):
    def labels(seed, epoch):
        made = NativeBatches(folder, PhotoAugmentation(16), AS_THEY_ARE, Targets(4), 12, seed)
        return next(made.epoch(epoch)).targets.argmax(axis=1).tolist()

    assert sorted(labels(1, 0)) == sorted([0, 1, 2, 3] * 3)
    assert len({tuple(labels(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_pixels_are_those_of_the_python_pipeline(tmp_path):
    """Where nothing is left to chance: scaling, channels, normalisation."""
    for height, width in ((60, 90), (20, 24), (20, 90)):
        data = records(tmp_path / f"{height}x{width}", [encoded(smooth(height, width), ".jpg")] * 4)
        fixed = {"area": (1.0, 1.0), "aspect": (width / height, width / height), "flip": False, **NO_COLOUR}
        mine, native = (drawn(kind, data, batch_size=4, **fixed) for kind in (PhotoBatches, NativeBatches))
        assert np.abs(mine - native).max() <= 3  # other releases of OpenCV and libjpeg round differently


def test_bad_photo_is_an_error(tmp_path):
    files = [encoded(smooth(40, 50), ".jpg")] * 7 + [b"no photo"]
    data = records(tmp_path, files)
    with pytest.raises(DataError, match=r"ImageRecordIter stopped, .*data.max_bad_images"):
        for epoch in range(4):  # the bad one is now in the first batch and now in the second
            drawn(NativeBatches, data, epoch=epoch, batch_size=4)


def test_label_that_names_no_class_is_an_error(tmp_path):
    data = records(tmp_path, [encoded(smooth(40, 50), ".jpg")] * 4, [0, 1, 2, 4])
    with pytest.raises(DataError, match="label 4 names no class; expected 0 to 3"):
        drawn(NativeBatches, data, batch_size=4)


# --- What it refuses -------------------------------------------------------------------------------------------------


def refused(data, message, batch_size=4, policy=None, **options):
    with pytest.raises(ValueError, match=message):
        NativeBatches(data, PhotoAugmentation(16, policy=policy), AS_THEY_ARE, Targets(4), batch_size, 0, **options)


def test_what_it_cannot_do_is_refused(folder, tmp_path):
    refused(imagenet.load(tmp_path / "folders", "train"), "reads records only")
    refused(folder, "has no AutoAugment", policy=POLICIES["cifar10"])
    refused(folder, "cannot share an epoch", shard=(0, 2))
    refused(folder, "a batch of 13 is more than the 12", batch_size=13)
