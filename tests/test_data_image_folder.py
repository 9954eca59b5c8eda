"""Image folders: layout, order, sizes and damaged files; and the real CIFAR-10 as a folder, where there is one."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image, ImageFile

from fusion.data import image_folder, load_dataset
from fusion.data.photos import photo
from fusion.errors import DataError
from fusion.training.config import read_config
from fusion.training.loading import load_split

REAL = "FUSION_CIFAR10_FOLDER"


def save(path, colour, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes of plain-coloured PNG files, whose red tells them apart."""
    for split in ("train", "test"):
        save(tmp_path / split / "cat" / "b.png", (20, 1, 2))
        save(tmp_path / split / "cat" / "a.png", (10, 1, 2))
        save(tmp_path / split / "dog" / "c.png", (30, 1, 2))
    return tmp_path


def load(root, split="train", size=8, **options):
    return image_folder.load(root, split, size, **options)


def test_images_labels_and_classes_in_sorted_order(root):
    loaded = load(root)
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels.tolist() == [0, 0, 1]
    assert loaded.images.shape == (3, 8, 8, 3)
    assert loaded.images[:, 0, 0].tolist() == [[10, 1, 2], [20, 1, 2], [30, 1, 2]]


def test_rows_come_before_columns(root):
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "train" / "cat" / "a.png")
    assert (load(root).images[0] == pixels).all()


def test_order_does_not_depend_on_the_threads(root):
    for k in range(300):
        save(root / "train" / "dog" / f"{k:03}.png", (k % 256, 0, 0))
    one, many = load(root, workers=1), load(root, workers=8)
    assert (one.images == many.images).all()
    assert one.images[2:302, 0, 0, 0].tolist() == [k % 256 for k in range(300)]


def test_progress_ends_at_the_whole(root, caplog):
    caplog.set_level("INFO", "fusion")
    load(root)
    assert caplog.records[-1].getMessage().endswith("100 % of 3 images")


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_names_of_the_test_part(root, name):
    (root / "test").rename(root / name)
    assert len(load(root, "test")) == 3


def test_load_by_name(root):
    loaded = load_dataset("image_folder", "test", root, size=8)
    assert loaded.title == f"image folder {root.name}"


@pytest.mark.parametrize("name", ["d.jpg", "d.jpeg", "d.JPG"])
def test_jpeg_names(root, name):
    save(root / "train" / "dog" / name, (200, 100, 50))
    loaded = load(root)
    assert len(loaded) == 4
    assert sorted(np.abs(loaded.images[:, 4, 4].astype(int) - (200, 100, 50)).max(axis=1))[0] <= 3


@pytest.mark.parametrize(("mode", "colour"), [("L", 77), ("P", 0), ("RGBA", (9, 9, 9, 0)), ("LA", (5, 255)), ("1", 1)])
def test_other_modes_become_rgb(root, mode, colour):
    save(root / "train" / "cat" / "a.png", colour, mode=mode)
    expected = np.asarray(Image.open(root / "train" / "cat" / "a.png").convert("RGB"))
    transparent = mode == "RGBA"  # its hidden colour is not shown
    assert (load(root).images[0] == (255 if transparent else expected)).all()


@pytest.mark.parametrize("fit", ["exact", "resize"])
def test_transparent_images_are_shown_on_white(root, fit):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., :3] = (200, 0, 0)
    pixels[:, 4:, 3] = 255
    Image.fromarray(pixels).save(root / "train" / "cat" / "a.png")
    shown = load(root, fit=fit).images[0]
    assert (shown[:, :4] == 255).all() and (shown[:, 4:] == (200, 0, 0)).all()


def test_sixteen_bit_pixels_keep_their_upper_eight(root):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(root / "train" / "cat" / "a.png")
    assert (load(root).images[0] == 40000 >> 8).all()


def test_hidden_and_other_files_are_left_out(root):
    (root / "train" / "cat" / "._a.png").write_bytes(b"resource fork")
    (root / "train" / "cat" / "notes.txt").write_text("text")
    (root / "train" / ".cache").mkdir()
    assert len(load(root)) == 3


def test_other_sizes_are_refused_by_name(root):
    for k in range(7):
        save(root / "train" / "dog" / f"{k}.png", (0, 0, 0), size=(9, 10 + k))
    expected = r"7 of 10 images have another size than 8x8: dog.0\.png \(9x10\), dog.1\.png \(9x11\), .*, \.\.\.; "
    expected += r"set data\.fit=resize"
    with pytest.raises(DataError, match=expected):
        load(root)


@pytest.mark.parametrize("upright", [False, True])
def test_resize_scales_the_shorter_side_and_keeps_the_centre(root, upright):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, :16, 0], pixels[:, 16:32, 1], pixels[:, 32:, 2] = 255, 255, 255  # red, green, blue thirds
    image = Image.fromarray(pixels.transpose(1, 0, 2) if upright else pixels)
    image.save(root / "train" / "cat" / "a.png")
    result = load(root, fit="resize").images[0]
    assert (result[1:-1, 1:-1] == (0, 255, 0)).all()  # the middle third, but for the interpolated edge


def test_resize_enlarges_and_leaves_matching_images_alone(root):
    save(root / "train" / "cat" / "a.png", (1, 2, 3), size=(3, 5))
    loaded = load(root, fit="resize")
    assert (loaded.images[0] == (1, 2, 3)).all()
    assert (loaded.images[1:] == load_exact_rest(root)).all()


def load_exact_rest(root):
    (root / "train" / "cat" / "a.png").unlink()
    return load(root).images


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1)])
def test_long_image_is_cut_before_it_is_scaled(root, monkeypatch, size):
    sizes = []
    real = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, to, *rest: sizes.append(to) or real(image, to, *rest))
    save(root / "train" / "cat" / "a.png", (1, 2, 3), size=size)
    assert (load(root, fit="resize").images[0] == (1, 2, 3)).all()
    assert max(sizes[0]) <= 18 * 8


@pytest.mark.parametrize("size", [(30, 20), (8, 128), (9, 300)])
def test_what_is_cut_off_a_long_image_is_not_missed(root, monkeypatch, size):
    pixels = np.indices(size).sum(axis=0).astype(np.uint8)[..., None] * np.array([1, 2, 3], np.uint8)
    Image.fromarray(pixels).save(root / "train" / "cat" / "a.png")
    found = load(root, fit="resize").images[0]
    monkeypatch.setattr(photo, "LONGEST", 10**9)
    whole = load(root, fit="resize").images[0]
    pixel = 3  # what blue rises by from one pixel to the next
    assert np.abs(found.astype(int) - whole).max() <= (pixel if max(size) > 16 * min(size) else 0)


@pytest.mark.parametrize("lenient", [False, True])  # GluonCV makes Pillow so
def test_unreadable_images_are_counted_and_named(root, monkeypatch, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    cat, dog = root / "train" / "cat", root / "train" / "dog"
    (cat / "a.png").write_bytes(b"no image")
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(dog / "c.jpg")
    (dog / "c.jpg").write_bytes((dog / "c.jpg").read_bytes()[:-60])
    save(dog / "d.png", (0, 0, 0), size=(9, 9))  # the wrong size is reported only when all can be read
    known = r"cat.a\.png \(no image of a known kind\), dog.c\.jpg \(JPEG without its end\)"
    expected = f"2 of 5 images cannot be read: {known}; mend"
    with pytest.raises(DataError, match=expected):
        load(root)


def test_unreadable_training_images_are_passed_over_up_to_a_limit(root, caplog):
    whole = load(root)
    cat = root / "train" / "cat"
    (cat / "broken.png").write_bytes(b"no image")
    (cat / "empty.jpg").write_bytes(b"")
    found = load(root, max_bad_images=2)
    assert (found.images == whole.images).all()
    assert (found.labels == whole.labels).all()
    assert found.files == whole.files
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"{cat / 'broken.png'}: no image of a known kind; it is passed over",
        f"{cat / 'empty.jpg'}: empty file; it is passed over",
    ]
    first = r"cat.broken\.png \(no image of a known kind\), cat.empty\.jpg \(empty file\)"
    limit = "2 of 5 images cannot be read, and data.max_bad_images allows 1"
    with pytest.raises(DataError, match=f"{limit}: {first}; mend or remove them, or raise it"):
        load(root, max_bad_images=1)


def test_no_unreadable_test_image_is_passed_over(root):
    (root / "test" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images cannot be read: cat.broken\.png .*; mend or remove them$"):
        load(root, "test", max_bad_images=10)


def test_class_of_which_no_image_can_be_read_is_refused(root):
    for path in (root / "train" / "dog").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 2 classes have no images: 'dog'"):
        load(root, max_bad_images=10)


@pytest.mark.parametrize(("words", "limit"), [([], 10), (["data.max_bad_images=3"], 3)])
def test_setting_is_the_limit(root, words, limit):
    (root / "test" / "dog").mkdir(exist_ok=True)
    settings = read_config(
        None, ["data.name=image_folder", f"data.dir={root}", "data.size=8", "augment.crop_padding=0", *words]
    )
    for number in range(limit):
        (root / "train" / "cat" / f"broken{number}.png").write_bytes(b"no image")
    assert len(load_split(settings, "train")) == 3
    (root / "train" / "dog" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=f"data.max_bad_images allows {limit}"):
        load_split(settings, "train")


def test_file_of_another_kind_under_an_image_name(root):
    Image.new("RGB", (8, 8)).save(root / "train" / "cat" / "a.png", format="PPM")
    with pytest.raises(DataError, match="no image of a known kind"):
        load(root)


def test_empty_class(root):
    (root / "train" / "emu").mkdir()
    with pytest.raises(DataError, match=r"1 of 3 classes have no images: 'emu' \(in emu: nothing\); expected \*\.jpg"):
        load(root)
    (root / "train" / "emu" / "a.avif").write_bytes(b"")
    with pytest.raises(DataError, match=r"'emu' \(in emu: a\.avif\)"):
        load(root)


def test_test_class_without_training_images(root):
    (root / "test" / "dog").rename(root / "test" / "dogs")
    with pytest.raises(DataError, match="no training class is named 'dogs'.*did you mean 'dog'"):
        load(root, "test")


@pytest.mark.parametrize("rest", ["no folder", "an empty folder", "a folder of other files"])
def test_training_class_without_test_images_keeps_the_labels(root, caplog, rest):
    for path in (root / "test" / "cat").iterdir():
        path.unlink()
    if rest == "no folder":
        (root / "test" / "cat").rmdir()
    elif rest == "a folder of other files":
        (root / "test" / "cat" / "notes.txt").write_text("text")
    loaded = load(root, "test")
    assert (loaded.labels.tolist(), loaded.classes) == ([1], ("cat", "dog"))
    assert "has no images for 1 of 2 classes: 'cat'" in caplog.text


def test_missing_parts(root, tmp_path):
    (root / "test").rename(root / "holdout")
    with pytest.raises(DataError, match=r"no test part; expected test/<class>.*found: holdout, train"):
        load(root, "test")
    with pytest.raises(DataError, match=r"nowhere: no such folder; say with data\.dir=PATH"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a file"):
        load(root / "train" / "cat" / "a.png")
    (root / "void" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="has no folders; expected one for each class"):
        load(root / "void")


def test_without_any_test_image(root):
    for path in (root / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="2 of 2 classes have no images: 'cat', 'dog'"):
        load(root, "test")


def test_single_class_is_refused(root):
    (root / "train" / "dog" / "c.png").unlink()
    (root / "train" / "dog").rmdir()
    with pytest.raises(DataError, match="train has a single class, 'cat': .* learns nothing; expected at least two"):
        load(root)


def test_relative_folder_from_elsewhere_says_what_it_is_relative_to(root, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert len(load(root.name)) == 3
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataError, match="no such folder in .*elsewhere.*relative.*absolute.*data.dir=PATH"):
        load(root.name)


def test_unknown_options(root):
    with pytest.raises(DataError, match="'valid'.*train, test"):
        load(root, "valid")
    with pytest.raises(DataError, match="fit 'crop'"):
        load(root, fit="crop")
    with pytest.raises(DataError, match="size 0"):
        load(root, size=0)


@pytest.mark.skipif(REAL not in os.environ, reason=f"set {REAL} to a folder with CIFAR-10 as images to run this")
def test_real_cifar10_folder():
    train, test = (load_dataset("image_folder", split, os.environ[REAL]) for split in ("train", "test"))
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert train.classes == test.classes == names
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    # The well-known channel means of CIFAR-10's training images, 0.4914, 0.4822, 0.4465.
    assert np.abs(train.images.mean(axis=(0, 1, 2)) / 255 - (0.4914, 0.4822, 0.4465)).max() < 1e-3
