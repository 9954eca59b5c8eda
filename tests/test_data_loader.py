"""Batches: the same for any number of threads and from any start, each image once, and no thread left behind."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace

import numpy as np
import pytest

from fusion.data import loader
from fusion.data.augment import POLICIES, Augmentation, Normalisation
from fusion.data.imageset import ImageSet
from fusion.data.loader import Batch, TrainingBatches, evaluation_batches, generator
from fusion.training import step

PLAIN = Normalisation((0, 0, 0), (1, 1, 1))
WAIT = 30  # seconds after which something that never happens is a failure


def numbered(count, classes=3, side=4):
    """Images whose pixels all hold the image's number."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), (count, side, side, 3)).copy()
    return ImageSet(images, np.arange(count, dtype=np.int64) % classes, tuple("abcdefghij"[:classes]), "numbers")


def batches(count=23, size=4, seed=5, workers=1, augmentation=None):
    return TrainingBatches(numbered(count), augmentation or Augmentation(PLAIN, 3), size, seed, workers)


def everything():
    """An augmentation that uses all there is to draw."""
    return Augmentation(
        PLAIN,
        classes=3,
        crop_padding=1,
        flip=True,
        policy=POLICIES["cifar10"],
        mixup_alpha=1.0,
        mixup_epochs=2,
        smoothing=0.1,
    )


def numbers(batch):
    """Which images a plain batch holds."""
    return np.rint(batch.images[:, 0, 0, 0] * 255).astype(int).tolist()


def order(made, epoch):
    return [number for batch in made.epoch(epoch) for number in numbers(batch)]


def assert_same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.targets, right.targets)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


# --- What is in an epoch ---------------------------------------------------------------------------------------------


def test_batch_is_images_and_targets_of_the_same_rows():
    for batch in batches().epoch(0):
        assert batch.images.shape == (4, 3, 4, 4)
        assert batch.targets.shape == (4, 3)
        assert batch.images.dtype == batch.targets.dtype == np.float32
        assert (batch.images == batch.images[:, :1, :1, :1]).all()
        assert batch.targets.argmax(axis=1).tolist() == [number % 3 for number in numbers(batch)]


def test_epoch_is_a_permutation_without_the_last_batch_that_is_not_full():
    made = batches(23, 4)
    assert len(made) == 5
    found = order(made, 0)
    assert len(found) == len(set(found)) == 20
    assert set(found) < set(range(23))
    assert found != sorted(found)


def test_left_out_images_are_others_in_other_epochs():
    made = batches(23, 4)
    assert set().union(*(order(made, epoch) for epoch in range(8))) == set(range(23))


def test_full_last_batch_is_kept():
    made = batches(24, 4)
    assert len(made) == 6
    assert sorted(order(made, 0)) == list(range(24))


def test_order_follows_seed_and_epoch_and_nothing_else():
    first = order(batches(24, seed=5), 1)
    made = batches(24, seed=5)
    order(made, 0)
    np.random.seed(123)
    assert order(made, 1) == first
    assert order(made, 2) != first
    assert order(batches(24, seed=6), 1) != first


def test_order_does_not_depend_on_the_batch_size():
    assert order(batches(24, 4), 0) == order(batches(24, 6), 0)


def test_draws_of_the_batches_of_an_epoch_differ():
    made = TrainingBatches(numbered(8), Augmentation(PLAIN, 3, mixup_alpha=1.0, mixup_epochs=9), 2, 0)
    shares = [round(float(batch.targets.max()), 6) for epoch in range(3) for batch in made.epoch(epoch)]
    assert len(set(shares)) > len(shares) // 2


def test_set_of_exactly_one_batch_is_taken_and_of_less_refused():
    assert len(batches(8, 8)) == 1
    with pytest.raises(ValueError, match=r"a batch of 9 is more than the 8 training images: .*data\.batch_size"):
        batches(8, 9)


def test_no_two_draws_of_some_runs_share_their_numbers():
    """The order of an epoch, a batch and the network of several seeds."""
    uses = (loader._ORDER, loader._BATCH, step._NETWORK)
    keys = [(seed, uses[0], epoch) for seed in (0, 1, 2**31) for epoch in range(5)]
    keys += [(seed, use, *position) for seed in (0, 1) for use in uses[1:] for position in np.ndindex(5, 5)]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    assert generator(3, 1, 4).random() == generator(3, 1, 4).random()


# --- Threads and starts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 4, 9])
def test_batches_do_not_depend_on_the_number_of_threads(workers):
    one = batches(40, augmentation=everything())
    more = batches(40, augmentation=everything(), workers=workers)
    for epoch in (0, 2):
        assert_same(one.epoch(epoch), more.epoch(epoch))


def test_batches_come_in_order_even_if_a_later_one_is_ready_first():
    made = batches(24, workers=2)
    first = set(order(batches(24), 0)[:4])
    later_is_ready = threading.Event()
    plain = made.augmentation

    def late_first(images, labels, draw, epoch):
        if set(images[:, 0, 0, 0].tolist()) == first:
            assert later_is_ready.wait(WAIT)
        else:
            later_is_ready.set()
        return plain(images, labels, draw, epoch)

    made.augmentation = late_first
    assert order(made, 0) == order(batches(24), 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_epoch_from_a_start_is_the_rest_of_the_whole_epoch(workers):
    made = batches(23, augmentation=everything(), workers=workers)
    whole = list(made.epoch(1))
    for start in range(len(whole)):
        assert_same(made.epoch(1, start), whole[start:])
    assert list(made.epoch(1, len(whole))) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_only_a_few_batches_are_made_ahead(workers):
    made = batches(100, size=2, workers=workers)
    count, plain = [], made.augmentation

    def counting(*given):
        count.append(1)
        return plain(*given)

    made.augmentation = counting
    for consumed, _ in enumerate(made.epoch(0), start=1):
        assert len(count) <= consumed + workers + 2
    assert len(count) == 50


@pytest.mark.parametrize("leave", ["close", "forget", "break"])
def test_leaving_midway_stops_the_threads(leave):
    iterator = batches(100, size=2, workers=3).epoch(0)
    next(iterator)
    assert threads()
    if leave == "close":
        iterator.close()
    elif leave == "break":
        for _ in iterator:
            break
    del iterator
    gc.collect()
    assert not threads()


def test_whole_epoch_stops_its_threads():
    list(batches(workers=3).epoch(0))
    assert not threads()


@pytest.mark.parametrize("workers", [1, 3])
def test_failure_in_a_thread_reaches_the_reader_at_its_batch(workers):
    made = batches(24, workers=workers)
    bad = order(made, 0)[9]  # of the third batch
    plain = made.augmentation

    def failing(images, labels, draw, epoch):
        if bad in images[:, 0, 0, 0]:
            raise RuntimeError("no such picture")
        return plain(images, labels, draw, epoch)

    made.augmentation = failing
    seen = []
    with pytest.raises(RuntimeError, match="no such picture"):
        for batch in made.epoch(0):
            seen.append(batch)
    assert len(seen) == 2
    assert not threads()


def test_images_of_the_set_are_left_unchanged():
    made = batches(40, augmentation=everything())
    before = made.data.images.copy()
    list(made.epoch(0))
    np.testing.assert_array_equal(made.data.images, before)


# --- Shards ----------------------------------------------------------------------------------------------------------


def parts(size, count=50, batch=12, **changes):
    augmentation = changes.pop("augmentation", None) or Augmentation(PLAIN, 3)
    return [
        TrainingBatches(numbered(count), augmentation, batch, 5, shard=(rank, size), **changes) for rank in range(size)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 12])
def test_parts_of_a_batch_are_the_batch_in_order(size):
    whole = TrainingBatches(numbered(50), Augmentation(PLAIN, 3), 12, 5)
    made = parts(size)
    assert {len(part) for part in made} == {len(whole)} == {4}
    assert {part.part_size for part in made} == {12 // size}
    for batch, *shards in zip(whole.epoch(3), *(part.epoch(3) for part in made)):
        assert [number for shard in shards for number in numbers(shard)] == numbers(batch)
        np.testing.assert_array_equal(np.concatenate([shard.targets for shard in shards]), batch.targets)


def test_single_part_is_keyed_by_the_batch_alone():
    """Every earlier run's batches: the key is the seed, the purpose, the epoch and the number."""
    made = TrainingBatches(numbered(50), everything(), 12, 5)
    rows = generator(5, 0, 1).permutation(50)
    for number, batch in enumerate(made.epoch(1)):
        own = rows[number * 12 : (number + 1) * 12]
        images, targets = everything()(
            made.data.images[own], made.data.labels[own], generator(5, 1, 1, number), epoch=1
        )
        np.testing.assert_array_equal(batch.images, images)
        np.testing.assert_array_equal(batch.targets, targets)


def test_parts_draw_different_numbers(monkeypatch):
    keys = []
    monkeypatch.setattr(loader, "generator", lambda *key: keys.append(key) or generator(*key))
    for part in parts(3, augmentation=everything()):
        list(part.epoch(1))
    draws = [key for key in keys if key[1] == 1]
    assert len(draws) == len(set(draws)) == 3 * 4
    assert sum(key == (5, 0, 1) for key in keys) == 3  # and share the epoch's order


def test_part_starts_anywhere():
    part = parts(2, augmentation=everything())[1]
    assert_same(list(part.epoch(1))[2:], part.epoch(1, 2))


@pytest.mark.parametrize(("batch", "shard"), [(12, (2, 2)), (12, (-1, 2)), (12, (0, 0)), (12, (0, 5)), (10, (1, 4))])
def test_part_that_is_none_is_refused(batch, shard):
    with pytest.raises(ValueError, match=f"part {shard[0]} of {shard[1]} of a batch of {batch}; expected"):
        TrainingBatches(numbered(50), Augmentation(PLAIN, 3), batch, 5, shard=shard)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [10, 12])
def test_evaluation_parts_have_each_image_once(size, count):
    found = [list(evaluation_batches(numbered(count), PLAIN, 4, (rank, size))) for rank in range(size)]
    own = [number for part in found for batch in part for number in numbers(batch)[: len(batch.targets)]]
    assert sorted(own) == list(range(count))
    assert max(map(len, found)) - min(map(len, found)) <= 1


# --- Evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 5, 10, 64])
def test_evaluation_has_each_image_once_in_order_in_batches_of_one_size(size):
    data = numbered(10)
    found = list(evaluation_batches(data, PLAIN, size))
    assert all(isinstance(batch, Batch) and batch.images.shape == (size, 3, 4, 4) for batch in found)
    assert [number for batch in found for number in numbers(batch)[: len(batch.targets)]] == list(range(10))
    assert np.concatenate([batch.targets for batch in found]).tolist() == data.labels.tolist()
    assert [len(batch.targets) for batch in found[:-1]] == [size] * (len(found) - 1)


def test_last_evaluation_batch_is_filled_with_its_own_first_image():
    *_, last = evaluation_batches(numbered(10), PLAIN, 4)
    assert numbers(last) == [8, 9, 8, 8]
    assert last.targets.tolist() == [2, 0]


def test_evaluation_images_are_normalised_with_channels_first_and_not_augmented():
    draw = np.random.default_rng(0)
    data = replace(numbered(6), images=draw.integers(0, 256, size=(6, 5, 7, 3), dtype=np.uint8))
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = ((data.images / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    found = np.concatenate([batch.images for batch in evaluation_batches(data, Normalisation(mean, std), 3)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
