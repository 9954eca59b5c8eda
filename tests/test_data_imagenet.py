"""Photos of class folders and of records: what is found, that both are alike, and what is refused."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from photos import AS_THEY_ARE, encoded, make_folders, smooth, write_records

from fusion.data import imagenet, load_dataset
from fusion.data.loader import evaluation_batches
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.photo import PhotoAugmentation, centre_crop
from fusion.data.photos.prepare import prepare
from fusion.errors import DataError

REAL = "FUSION_IMAGENET_FOLDER"


@pytest.fixture
def folders(tmp_path):
    return make_folders(tmp_path / "folders")


@pytest.fixture
def records(folders, tmp_path):
    prepare(folders, tmp_path / "records")
    return tmp_path / "records"


def load(root, split="train", size=28, **options):
    return imagenet.load(root, split, size, **options)


def everything(data):
    return [data.photos.read(number) for number in range(len(data))]


def batches(data, seed=3):
    augment = PhotoAugmentation(24, policy=None)
    targets = Targets(len(data.classes), mixup_alpha=0.2, mixup_epochs=2, smoothing=0.1)
    made = PhotoBatches(data, augment, AS_THEY_ARE, targets, 5, seed, workers=2)
    return [batch for epoch in range(2) for batch in made.epoch(epoch)]


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for left, right in zip(one, other):
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(left.targets, right.targets)


# --- What is found ---------------------------------------------------------------------------------------------------


def test_folders_in_sorted_order_with_their_labels(folders):
    found = load(folders)
    assert found.classes == ("a", "b", "c")
    assert len(found) == 12
    expected = [
        (folders / "train" / name / f"{n:03}.JPEG").read_bytes() for name, k in zip("abc", (4, 3, 5)) for n in range(k)
    ]
    assert everything(found) == list(zip(expected, [0] * 4 + [1] * 3 + [2] * 5))
    assert found.photos.name(4) == str(folders / "train" / "b" / "000.JPEG")


def test_records_are_the_files_of_the_folders(folders, records):
    for split in ("train", "test"):
        one, other = load(folders, split), load(records, split)
        assert one.classes == other.classes
        assert everything(one) == everything(other)


def test_validation_may_be_named_test(folders, records):
    (folders / "val").rename(folders / "test")
    for suffix in (".rec", ".idx"):
        (records / f"val{suffix}").rename(records / f"test{suffix}")
    assert len(load(folders, "test")) == len(load(records, "test")) == 12


def test_load_by_name(folders):
    found = load_dataset("imagenet", "test", folders, size=28, source="folder", classes=3, crop_share=0.5, workers=2)
    assert found.view == (28, 0.5, 2)
    assert found.title == "photos of folders"


# --- Both sources are alike ------------------------------------------------------------------------------------------


def test_both_sources_give_the_same_training_batches(folders, records):
    assert_same(batches(load(folders)), batches(load(records)))


def test_both_sources_give_the_same_test_batches(folders, records):
    one, other = (list(evaluation_batches(load(root, "test"), AS_THEY_ARE, 5)) for root in (folders, records))
    assert_same(one, other)
    assert [len(batch.targets) for batch in one] == [5, 5, 2]


@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no folder of photos with one folder per class")
def test_both_sources_of_real_photos_give_the_same_batches(tmp_path):
    (tmp_path / "folders").mkdir()
    for part in ("train", "val"):
        (tmp_path / "folders" / part).symlink_to(os.environ[REAL])
    prepare(tmp_path / "folders", tmp_path / "records", workers=2)
    one, other = (load(tmp_path / source, "train") for source in ("folders", "records"))
    assert_same(batches(one), batches(other))
    one, other = (load(tmp_path / source, "test") for source in ("folders", "records"))
    assert_same(*(list(evaluation_batches(data, AS_THEY_ARE, 8)) for data in (one, other)))


# --- The test view ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_in_order_shows_every_photo_once(folders, workers, batch_size):
    data = load(folders, "test", workers=workers)
    images, labels = zip(*data.in_order(batch_size))
    assert all(len(part) == batch_size for part in images[:-1])
    expected = [(centre_crop(file, 28, 0.875), label) for file, label in everything(data)]
    assert (np.concatenate(images) == np.stack([image for image, _ in expected])).all()
    assert np.concatenate(labels).tolist() == [label for _, label in expected]


def test_processes_share_the_batches_in_turn(folders):
    data = load(folders, "test")
    alone = list(data.in_order(5))
    shared = [list(data.in_order(5, (rank, 2))) for rank in range(2)]
    assert [len(part) for part in shared] == [2, 1]
    for one, other in zip(alone, (shared[0][0], shared[1][0], shared[0][1])):
        assert (one[0] == other[0]).all() and (one[1] == other[1]).all()


def test_leaving_early_leaves_no_thread(folders):
    shown = load(folders, "test", workers=2).in_order(2)
    next(shown)
    shown.close()


def test_unreadable_test_photos_are_told_before_training(folders):
    damaged = folders / "val" / "b" / "001.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:300])
    (folders / "val" / "c" / "000.JPEG").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 12 test photos cannot be read: .*001.JPEG .*000.JPEG .empty file"):
        load(folders, "test")


def test_photo_that_goes_bad_later_ends_the_test(folders):
    data = load(folders, "test")
    (folders / "val" / "b" / "001.JPEG").unlink()
    with pytest.raises(DataError, match=r"001.JPEG: No such file"):
        list(data.in_order(5))


# --- What is refused -------------------------------------------------------------------------------------------------


def refusal(*arguments, **options):
    with pytest.raises(DataError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def test_folder_that_is_missing_or_holds_nothing(tmp_path):
    assert "no such folder; say with data.dir=PATH" in refusal(tmp_path / "gone")
    assert "neither train/ (with a folder for each class) nor train.rec" in refusal(tmp_path)


def test_class_folders_without_parts_are_told_how_to_have_them(folders):
    assert "ln -s P DIR/train" in refusal(folders / "train")


def test_both_sources_in_one_folder_need_a_choice(folders, records):
    for path in records.iterdir():
        shutil.copy(path, folders)
    assert "data.source=folder or record" in refusal(folders)
    assert everything(load(folders, source="folder")) == everything(load(folders, source="record"))


@pytest.mark.parametrize("source", ["folder", "record"])
def test_source_that_is_not_there(tmp_path, source):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "x.jpg").write_bytes(b"")
    (tmp_path / "train").rename(tmp_path / ("train" if source == "record" else "other"))
    assert str(tmp_path) in refusal(tmp_path, source=source)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("suffix", [".idx", ".rec"])
def test_record_without_its_index_and_index_without_its_record(records, split, suffix):
    (records / {"train": "train", "test": "val"}[split]).with_suffix(suffix).unlink()
    assert "of no use without it" in refusal(records, split)


def test_training_class_without_photos_is_refused(folders):
    (folders / "train" / "emu").mkdir()
    assert "1 of 4 classes have no images: 'emu' (in emu: nothing)" in refusal(folders)


@pytest.mark.parametrize("empty", [False, True])
def test_class_without_test_photos_is_a_warning_that_names_it(folders, caplog, empty):
    shutil.rmtree(folders / "val" / "b")
    if empty:
        (folders / "val" / "b").mkdir()
    assert [label for _, label in everything(load(folders, "test"))] == [0] * 4 + [2] * 5
    assert "has no images for 1 of 3 classes: 'b'" in caplog.text


def test_single_class_is_refused(folders, records):
    for name in "bc":
        shutil.rmtree(folders / "train" / name)
    (records / "classes.txt").write_text("a\n")
    for root in (folders, records):
        assert "has a single class, 'a'" in refusal(root)
    (records / "classes.txt").unlink()
    assert "has a single class, '0'" in refusal(records, classes=1)


def test_relative_folder_that_is_missing_says_what_it_is_relative_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in imagenet.SOURCES:
        told = refusal("photos", source=source)
        assert f"photos: no such folder in {tmp_path}" in told
        assert "a run's data.dir began at the folder that the run was started from" in told
        assert "absolute" in told and "data.dir=PATH" in told


def test_class_count_that_differs(folders, records):
    for root in (folders, records):
        assert "has 3 classes, and data.classes is 4" in refusal(root, classes=4)
        assert len(load(root, classes=3).classes) == 3


def test_records_of_others_need_their_class_count(records):
    (records / "classes.txt").unlink()
    assert "data.classes=1000" in refusal(records)
    assert load(records, classes=3).classes == ("0", "1", "2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_list_of_classes_of_any_editor_is_read(records, encoding):
    (records / "classes.txt").write_bytes("cat\r\ngreat white shark\r\nzebra\r\n\r\n".encode(encoding))
    assert load(records).classes == ("cat", "great white shark", "zebra")


def test_list_of_classes_that_is_no_text_is_refused(records):
    (records / "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="classes.txt: cannot be read as a text file of class names"):
        load(records)


def test_class_names_must_differ(records):
    (records / "classes.txt").write_text("a\nb\na\n")
    assert "a different name on each line" in refusal(records)


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_label_that_names_no_class(tmp_path, label):
    write_records(tmp_path / "train.rec", [encoded(smooth(20, 20))] * 2, [1, label])
    data = load(tmp_path, classes=2)
    assert data.photos.read(0)[1] == 1
    with pytest.raises(DataError, match=r"record 1: label .* names no class; expected a whole number from 0 to 1"):
        data.photos.read(1)
