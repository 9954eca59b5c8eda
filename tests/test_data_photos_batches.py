"""Batches of photos: repeatable from any start, the same for any number of threads and workers, past bad photos."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, make_folders, smooth, write_records

from fusion.data.augment import Normalisation
from fusion.data.autoaugment import POLICIES
from fusion.data.imagenet import load
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.header import BadPhotoError
from fusion.data.photos.photo import PhotoAugmentation
from fusion.data.photos.photoset import PhotoSet, PhotoView
from fusion.errors import DataError

WHOLE = PhotoAugmentation(8, (1, 1), (1, 1), flip=False, jitter=0.0, lighting=0.0)


class Numbered:
    """Photos in memory: each is plain, as bright as its number; `bad` ones cannot be read."""

    def __init__(self, count, bad=()):
        self.files = [encoded(np.full((8, 8, 3), number, np.uint8)) for number in range(count)]
        self.bad = set(bad)

    def __len__(self):
        return len(self.files)

    def read(self, number):
        if number in self.bad:
            raise BadPhotoError("gone")
        return self.files[number], number % 3

    def name(self, number):
        return f"photo {number}"


def numbered(count=23, bad=()):
    return PhotoSet(Numbered(count, bad), ("a", "b", "c"), "numbers", PhotoView())


def plain(count=23, size=4, seed=5, workers=1, bad=(), **options):
    return PhotoBatches(numbered(count, bad), WHOLE, AS_THEY_ARE, Targets(3), size, seed, workers, **options)


def full(root, workers=1, **options):
    """With all there is to draw."""
    augment = PhotoAugmentation(16, policy=POLICIES["cifar10"])
    targets = Targets(3, mixup_alpha=1.0, mixup_epochs=2, smoothing=0.1, cutmix_alpha=1.0)
    return PhotoBatches(
        load(root, "train"), augment, Normalisation((0.5,) * 3, (0.2,) * 3), targets, 5, 7, workers, **options
    )


def numbers(batch):
    assert (batch.images == batch.images[:, :1, :1, :1]).all()
    return np.rint(batch.images[:, 0, 0, 0]).astype(int).tolist()


def order(made, epoch):
    return [number for batch in made.epoch(epoch) for number in numbers(batch)]


def assert_same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.targets, right.targets)


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path, (6, 7, 9), ("train",))


# --- What is in an epoch ---------------------------------------------------------------------------------------------


def test_batch_is_images_and_targets_of_the_same_photos():
    for batch in plain().epoch(0):
        assert batch.images.shape == (4, 3, 8, 8) and batch.targets.shape == (4, 3)
        assert batch.images.dtype == batch.targets.dtype == np.float32
        assert batch.images.flags.c_contiguous
        assert batch.targets.argmax(axis=1).tolist() == [number % 3 for number in numbers(batch)]


def test_epoch_has_each_photo_at_most_once_in_another_order():
    made = plain()
    assert len(made) == 5
    first, second = order(made, 0), order(made, 1)
    assert len(set(first)) == len(first) == 20
    assert first != second


def test_order_is_that_of_images_in_memory():
    from test_data_loader import batches
    from test_data_loader import order as order_in_memory

    assert order(plain(), 0) == order_in_memory(batches(23, 4, 5), 0)


def test_normalisation_is_that_of_images_in_memory():
    made = PhotoBatches(numbered(), WHOLE, Normalisation((0.5,) * 3, (0.25,) * 3), Targets(3), 4, 5)
    for one, other in zip(made.epoch(0), plain().epoch(0)):
        np.testing.assert_allclose(one.images, (other.images / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize("start", [1, 3])
def test_epoch_goes_on_from_any_batch(folders, start):
    made = full(folders)
    assert_same(list(made.epoch(1))[start:], made.epoch(1, start))


@pytest.mark.parametrize("workers", [2, 5])
def test_batches_do_not_depend_on_the_threads(folders, workers):
    assert_same(full(folders).epoch(0), full(folders, workers).epoch(0))


def test_batches_of_many_chunks_do_not_depend_on_the_threads():
    assert_same(plain(90, 45, workers=1).epoch(0), plain(90, 45, workers=4).epoch(0))


def test_draws_differ_between_places_epochs_and_seeds(folders):
    augment = PhotoAugmentation(16, jitter=0.0, lighting=0.0)
    data = load(folders, "train")
    data.photos.read = lambda number: (encoded(smooth(40, 50)), 0)
    found = []
    for seed in (1, 2):
        made = PhotoBatches(data, augment, AS_THEY_ARE, Targets(3), 11, seed)
        found += [image.tobytes() for epoch in (0, 1) for batch in made.epoch(epoch) for image in batch.images]
    assert len(set(found)) == len(found) == 88


def test_mixup_smoothing_and_their_end(folders):
    targets = [batch.targets for epoch in (1, 2) for batch in full(folders).epoch(epoch)]
    np.testing.assert_allclose([target.sum(axis=1) for target in targets], 1, rtol=1e-5)
    unmixed = targets[len(targets) // 2 :]
    assert {round(float(value), 4) for target in unmixed for value in target.flat} == {0.0333, 0.9333}
    assert any(target.max(axis=1).min() < 0.9 for target in targets[: len(targets) // 2])


@pytest.mark.parametrize("size", [2, 4])
def test_parts_of_several_processes_are_a_whole_batch(size):
    alone = [sorted(numbers(batch)) for batch in plain(30, 8).epoch(0)]
    parts = [list(plain(30, 8, shard=(rank, size)).epoch(0)) for rank in range(size)]
    assert all(len(batch.images) == 8 // size for part in parts for batch in part)
    assert [sorted(number for part in batch for number in numbers(part)) for batch in zip(*parts)] == alone


@pytest.mark.parametrize("shard", [(0, 3), (2, 2), (-1, 2)])
def test_part_that_there_is_not_is_refused(shard):
    with pytest.raises(ValueError, match="expected a part from 0 to"):
        plain(30, 8, shard=shard)


def test_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="a batch of 24 is more than the 23 training images"):
        plain(23, 24)


def test_leaving_early_leaves_no_thread():
    made = plain(60, 4, workers=3).epoch(0)
    next(made)
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_error_of_a_thread_reaches_the_loop():
    made = plain()

    def fail(number):
        raise MemoryError(f"photo {number}")

    made.data.photos.read = fail
    with pytest.raises(MemoryError):
        list(made.epoch(0))


# --- Bad photos ------------------------------------------------------------------------------------------------------


def test_bad_photos_are_replaced_the_same_way_each_time(caplog):
    caplog.set_level("WARNING", "fusion.data")
    made = plain(24, 4, bad=(3, 9), workers=3, max_bad=2)
    found = order(made, 0)
    assert len(found) == 24 and not {3, 9} & set(found)
    assert found == order(plain(24, 4, bad=(3, 9), max_bad=2), 0)
    for place, number in enumerate(order(plain(24, 4), 0)):
        assert number in (3, 9) or found[place] == number
    assert made.bad.reasons == {3: "gone", 9: "gone"}
    assert len([record for record in caplog.records if record.message.startswith("photo ")]) == 4  # 2 of each set


def test_bad_photo_is_counted_once():
    made = plain(24, 4, bad=(3,), max_bad=1)
    for epoch in range(3):
        assert 3 not in order(made, epoch)


def test_replacements_differ_between_epochs():
    made = plain(24, 24, bad=(3,), max_bad=1)
    plain_orders = [order(plain(24, 24), epoch) for epoch in range(6)]
    found = [order(made, epoch)[before.index(3)] for epoch, before in enumerate(plain_orders)]
    assert len(set(found)) > 2


def test_more_bad_photos_than_allowed_are_listed():
    made = plain(24, 24, bad=range(3, 24), max_bad=7)
    with pytest.raises(
        DataError, match=r"numbers: 8 training photos cannot be read, and data.max_bad_images allows 7: "
    ) as told:
        list(made.epoch(0))
    assert str(told.value).count("(gone)") == 5


def test_damaged_and_missing_files_are_bad_photos(folders):
    whole = order_of_labels(full(folders, max_bad=0))
    damaged = folders / "train" / "a" / "000.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    made = full(folders, max_bad=2)
    (folders / "train" / "b" / "001.JPEG").unlink()
    assert len(order_of_labels(made)) == len(whole)
    assert made.bad.reasons == {0: "JPEG without its end", 7: "No such file or directory"}


def test_damaged_record_is_a_bad_photo(tmp_path):
    path = write_records(tmp_path / "train.rec", [encoded(smooth(20, 20))] * 6, [0] * 6)
    data = bytearray(path.read_bytes())
    data[int(path.with_suffix(".idx").read_text().splitlines()[4].split("\t")[1])] ^= 1
    path.write_bytes(data)
    made = PhotoBatches(load(tmp_path, "train", classes=2), WHOLE, AS_THEY_ARE, Targets(2), 6, 0, max_bad=1)
    assert len(list(made.epoch(0))) == 1
    assert list(made.bad.reasons) == [4]


def test_set_of_bad_photos_alone_ends():
    with pytest.raises(DataError, match="photos in a row cannot be read"):
        list(plain(4, 4, bad=range(4), max_bad=4).epoch(0))


def order_of_labels(made):
    return [batch.targets.tolist() for epoch in range(3) for batch in made.epoch(epoch)]
