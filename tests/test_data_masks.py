"""Images with masks: what the values of masks mean, which files a list has, and how sets are read and checked."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from masks import SIZES, make_folder, squares, write_mask
from photos import encoded, smooth
from PIL import Image

from fusion.data import load_dataset
from fusion.data.masks.decoding import read_image, read_mask
from fusion.data.masks.files import read_list
from fusion.data.masks.folder import VOC_CLASSES
from fusion.data.masks.labels import IGNORE, binary_labels, class_labels, read_labels
from fusion.data.masks.maskset import MaskSet, resized_mask
from fusion.data.masks.palette import class_colours, colour_table, label_colours, paint
from fusion.data.photos.header import BadPhotoError
from fusion.errors import DataError

NAMES = ("sky", "road", "car")


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "set")


def load(root, split="train", name="mask_folder", **options):
    return load_dataset(name, split, root, **options)


def refusal(root, split="train", **options):
    with pytest.raises(DataError) as found:
        load(root, split, **options)
    return str(found.value)


# --- Values ----------------------------------------------------------------------------------------------------------


def values(*numbers):
    return np.array([numbers], np.uint8)


@pytest.mark.parametrize(
    ("ignore", "stored", "expected"),
    [
        (None, (0, 255, 255), (0, 1, 1)),
        (None, (0, 1, 1), (0, 1, 1)),
        (255, (0, 1, 255), (0, 1, IGNORE)),
        (128, (0, 255, 128), (0, 1, IGNORE)),
        (1, (0, 1, 255), (0, IGNORE, 1)),
    ],
)
def test_binary_values(ignore, stored, expected):
    labels = binary_labels("sign", ignore)
    assert labels.binary and labels.classes == ("sign",) and labels.has_background
    found = labels.find(values(*stored))
    assert (found.dtype, found.tolist()) == (np.uint8, [list(expected)])
    np.testing.assert_array_equal(labels.find(labels.stored(found)), found)


def test_binary_values_that_could_be_two_things_are_refused():
    with pytest.raises(BadPhotoError, match=r"values 1 and 255, either of .* set data.ignore=255"):
        binary_labels().find(values(0, 1, 255))
    with pytest.raises(DataError, match="would ignore the background"):
        binary_labels(ignore=0)


def test_class_values_and_the_ignored_one():
    labels = class_labels((*NAMES, "unlabelled"), ignore=3)
    assert labels.classes == NAMES and not labels.binary and not labels.has_background
    assert labels.find(values(0, 1, 2, 3)).tolist() == [[0, 1, 2, IGNORE]]
    assert labels.stored(values(2, IGNORE)).tolist() == [[2, 3]]
    assert labels.name(2) == "car"


def test_ignored_value_before_the_others_moves_them_up():
    labels = class_labels(("void", *NAMES), ignore=0)
    assert labels.classes == NAMES
    assert labels.find(values(0, 1, 3)).tolist() == [[IGNORE, 0, 2]]
    assert labels.stored(values(IGNORE, 0, 2)).tolist() == [[0, 1, 3]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (binary_labels("sign"), "value 7; expected 0 for the background and 1 or 255 for sign .no value is ignored"),
        (class_labels(NAMES), "value 7; expected 0 to 2, the 3 classes .no value is ignored.; set data.ignore"),
        (class_labels(NAMES, 9), "value 7; expected 0 to 2, the 3 classes .9 is ignored"),
    ],
)
def test_unknown_value_is_refused(labels, message):
    with pytest.raises(BadPhotoError, match=message):
        labels.find(values(0, 1, 7))
    with pytest.raises(BadPhotoError, match="value 300"):
        labels.find(np.array([[300]], np.uint16))


def test_classes_are_read_from_a_file(tmp_path, caplog):
    assert read_labels(tmp_path, None).classes == ("target",)
    path = tmp_path / "classes.txt"
    path.write_text("sign\n\n")
    assert read_labels(tmp_path, None).classes == ("sign",)
    path.write_text("sky\nroad\nUnlabelled\n")
    assert read_labels(tmp_path, 2).classes == ("sky", "road")
    assert "taken for a class" not in caplog.text
    assert read_labels(tmp_path, None).classes == ("sky", "road", "Unlabelled")
    assert "'Unlabelled' is taken for a class; set data.ignore=2 if not" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_any_editor_are_read(tmp_path, encoding):
    (tmp_path / "classes.txt").write_bytes("sky\r\ntraffic sign\r\n\r\n".encode(encoding))
    assert read_labels(tmp_path, None).classes == ("sky", "traffic sign")
    (tmp_path / "train.txt").write_bytes("my image 1\r\n\r\nb\u2028c\r\n".encode(encoding))
    assert read_list(tmp_path / "train.txt") == ["my image 1", "b\u2028c"]


@pytest.mark.parametrize(
    ("text", "ignore", "message"),
    [
        ("", None, "expected a different name on each line"),
        ("a\n\nb\n", None, "expected a different name on each line"),
        ("a\nb\na\n", None, "expected a different name on each line"),
        ("a\nb\n", 1, "only 'a' is left"),
        ("\n".join(map(str, range(256))), None, "has 256 names; expected at most 255"),
    ],
)
def test_impossible_classes_are_refused(tmp_path, text, ignore, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path, ignore)


# --- Files to pixels -------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """The bytes of an image that Pillow writes."""

    def write(image, **options):
        path = tmp_path / "file.png"
        image.save(path, format="PNG", **options)
        return path.read_bytes()

    return write


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_masks_with_few_bits_keep_their_values(stored, bits):
    cells = np.arange(2**bits if bits < 8 else 200, dtype=np.uint8).reshape(-1, 2)
    palette = Image.fromarray(cells)
    palette.putpalette(class_colours(256).tobytes())
    np.testing.assert_array_equal(read_mask(stored(palette, bits=bits)), cells)
    if bits == 1:
        np.testing.assert_array_equal(read_mask(stored(Image.fromarray(cells.astype(bool)))), cells)


def test_grey_masks_with_few_bits_keep_their_values():
    """Pillow does not write such files, but shows their values spread over 0 to 255."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    for bits, row, expected in ((4, bytes([0x01, 0xF3]), [0, 1, 15, 3]), (2, bytes([0b00011011]), [0, 1, 2, 3])):
        header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
        data = zlib.compress(b"\0" + row)
        file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        assert read_mask(file).tolist() == [expected]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_masks_of_any_mode_of_one_channel(stored, mode):
    mask = squares((9, 12), 1, (0, 255))
    image = Image.fromarray(mask.astype(np.uint16)) if mode == "I;16" else Image.fromarray(mask).convert(mode)
    assert image.mode == mode
    np.testing.assert_array_equal(read_mask(stored(image)), mask)


def test_masks_of_colours_and_damaged_ones_are_refused(stored):
    with pytest.raises(BadPhotoError, match="a mask of colours .mode RGB"):
        read_mask(stored(Image.fromarray(smooth(8, 9))))
    with pytest.raises(BadPhotoError, match="a JPEG file, which does not keep the values"):
        read_mask(encoded(smooth(8, 9), ".jpg"))
    data = bytearray(stored(Image.fromarray(smooth(30, 30)[..., 0])))
    data[60] ^= 0xFF
    with pytest.raises(BadPhotoError, match="cannot be decoded"):
        read_mask(bytes(data))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"])
def test_images_of_any_mode_become_rgb(stored, mode):
    grey = smooth(12, 15)[..., 0]
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256 + 77)
    else:
        image = Image.fromarray(smooth(12, 15)).convert(mode)
    found = read_image(stored(image))
    if mode == "I;16":
        expected = np.repeat(grey[..., None], 3, axis=-1)
    else:
        expected = np.asarray(image.convert("RGB"))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_transparent_pixels_of_images_are_white(stored):
    picture = np.dstack([smooth(6, 7), np.full((6, 7), 255, np.uint8)])
    picture[:2, :, 3] = 0
    found = read_image(stored(Image.fromarray(picture)))
    assert (found[:2] == 255).all()
    np.testing.assert_array_equal(found[2:], picture[2:, :, :3])


def test_colour_profile_is_not_complained_of(stored, capfd):
    """libpng writes to the terminal of profiles that it knows to be wrong."""
    from PIL import ImageCms

    picture = smooth(6, 7)
    data = stored(
        Image.fromarray(picture), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    )
    assert b"iCCP" in data
    np.testing.assert_array_equal(read_image(data), picture)
    assert capfd.readouterr().err == ""


# --- Folders ---------------------------------------------------------------------------------------------------------


def test_folder_is_read_in_the_order_of_its_list(folder):
    data = load(folder)
    assert (len(data), data.classes, data.binary, data.title) == (5, ("target",), True, "set (train)")
    for number, sample in enumerate(data.samples()):
        size = SIZES[number % 3]
        expected = squares(size, number, (0, 1))
        assert sample.name == data.name(number) == f"scene_{number}"
        assert (sample.image.shape, sample.image.dtype, sample.mask.dtype) == ((*size, 3), np.uint8, np.uint8)
        np.testing.assert_array_equal(sample.mask, expected)
        np.testing.assert_array_equal(sample.image[..., 2], 255 * expected)
    assert len(load(folder, "test")) == 3


def test_several_classes_and_unlabelled_pixels(tmp_path):
    root = make_folder(tmp_path, values=(0, 1, 2, 3), classes=(*NAMES, "Unlabelled"))
    data = load(root, ignore=3)
    assert data.classes == NAMES and not data.binary
    np.testing.assert_array_equal(data.read(1).mask, squares(SIZES[1], 1, (0, 1, 2, IGNORE)))


def test_every_image_comes_once_whatever_the_shards(tmp_path):
    root = make_folder(tmp_path, train=11, sizes=(SIZES[0], SIZES[0], SIZES[1]))
    data = load(root, workers=3)
    names = [sample.name for sample in data.samples()]
    assert names == [f"scene_{number}" for number in range(11)]
    assert [sample.name for sample in data.samples((1, 3))] == names[1::3]
    whole = list(data.in_order(4))
    assert [len(images) for images, _ in whole] == [2, 1, 1, 1, 1, 2, 1, 2]
    blues = [picture[..., 2] for images, _ in whole for picture in images]
    masks = [mask for _, part in whole for mask in part]
    assert len(masks) == 11
    for number, (blue, mask) in enumerate(zip(blues, masks)):
        np.testing.assert_array_equal(mask, data.read(number).mask)
        np.testing.assert_array_equal(blue, 255 * mask)
    parts = [[len(images) for images, _ in data.in_order(4, (rank, 2))] for rank in (0, 1)]
    assert parts == [[2, 1, 1, 1, 2], [1, 1, 2]]


def test_small_sets_are_decoded_once(folder):
    data = load(folder)
    first_one, least = 4 * 24 * 32, 4 * 30 * 20  # bytes of an image with its mask: the first, and the smallest
    for room, expected in ((least - 1, []), (first_one, [0]), (10 * first_one, [0, 1, 2, 3, 4])):
        small = MaskSet(data.source, data.labels, "small", kept_bytes=room)
        first = list(small.samples())
        again = list(small.samples())
        assert [number for number in range(5) if again[number] is first[number]] == expected
        for one_time, other_time in zip(first, again):
            np.testing.assert_array_equal(one_time.mask, other_time.mask)
    with pytest.raises(ValueError, match="read-only"):
        data.read(0).mask[0, 0] = 7


def test_reading_can_be_stopped_early(folder):
    stream = load(folder, workers=2).samples()
    assert next(stream).name == "scene_0"
    stream.close()


@pytest.mark.parametrize("suffix", ["_pixels0.png", "_pixels0"])
def test_suffix_of_masks(tmp_path, suffix):
    root = make_folder(tmp_path, suffix="_pixels0.png")
    assert load(root, mask_suffix=suffix).read(2).mask.max() == 1
    message = refusal(root)
    assert "5 names have no mask *.png" in message and "set data.mask_suffix=_pixels0.png" in message


def test_names_with_suffixes_and_in_folders(folder):
    for kind in ("images", "masks"):
        (folder / kind / "town").mkdir()
        (folder / kind / "scene_1.png").rename(folder / kind / "town" / "scene_1.png")
    (folder / "images" / "scene_2.png").rename(folder / "images" / "scene_2.PNG")
    (folder / "train.txt").write_text("scene_0.png\r\n\ntown/scene_1\nscene_2.PNG\nscene_3\n")
    assert [sample.name for sample in load(folder).samples()] == ["scene_0", "town/scene_1", "scene_2", "scene_3"]


def test_image_with_two_suffixes_has_to_be_named_in_full(folder):
    (folder / "images" / "scene_1.jpg").write_bytes(encoded(smooth(*SIZES[1]), ".jpg"))
    assert "'scene_1' is the name of 2 images" in refusal(folder)
    (folder / "train.txt").write_text("scene_0\nscene_1.png\n")
    assert load(folder).read(1).image[..., 2].max() == 255


def test_lists_are_chosen_and_val_stands_for_test(folder):
    (folder / "trainval.txt").write_text("scene_0\nscene_1\nscene_2\n")
    assert len(load(folder, train_split="trainval")) == 3
    assert len(load(folder, train_split="trainval.txt")) == 3
    (folder / "test.txt").rename(folder / "val.txt")
    assert load(folder, "test").title == "set (val)"
    message = refusal(folder, train_split="trian")
    assert "has no trian.txt" in message and "found: train.txt, trainval.txt, val.txt" in message
    assert "data.train_split" in message


def test_faults_of_lists_are_refused(folder):
    (folder / "train.txt").write_text("\n\n")
    assert "train.txt has no names" in refusal(folder)
    (folder / "train.txt").write_text("scene_0\nscene_1\nscene_0\n")
    assert "'scene_0' is on line 1 and again on line 3" in refusal(folder)
    (folder / "train.txt").write_text("scene_0\nscene_99\n../masks/scene_1\n")
    assert "2 names have no image in" in refusal(folder)
    (folder / "train.txt").write_bytes(b"\xff\xfea")
    assert "cannot be read as a text file" in refusal(folder)


def test_name_in_both_lists_is_refused(folder, caplog):
    (folder / "test.txt").write_text("scene_5\nscene_1.png\n")
    for split in ("train", "test"):
        message = refusal(folder, split)
        assert "1 names are in" in message and "scene_1" in message
    assert len(load(folder, "test", train_split="train", test_split="train")) == 5
    assert "say nothing of others" in caplog.text


def test_missing_mask_folder_is_refused(folder):
    (folder / "masks").rename(folder / "labels")
    assert "masks: no such folder" in refusal(folder)
    assert "no such folder" in refusal(folder / "nowhere")


def test_mask_of_another_size_names_both_files(folder, caplog):
    write_mask(folder / "masks" / "scene_1.png", squares((60, 40), 0, (0, 255)))
    message = refusal(folder)
    assert f"{folder}/images/scene_1.png is 20x30 and {folder}/masks/scene_1.png is 40x60" in message
    assert "data.mask_mismatch=resize" in message
    data = load(folder, mask_mismatch="resize")
    assert "1 of 5 masks have another size" in caplog.text
    assert data.stored(1).mask.shape == (60, 40)
    sample = data.read(1)
    assert sample.mask.shape == sample.image.shape[:2] == (30, 20)
    assert set(np.unique(sample.mask)) == {0, 1}
    # Each pixel has the value of the nearest: the square of 4 by 4 pixels becomes one of 2 by 2.
    assert sample.mask.sum() == 4


@pytest.mark.parametrize(("height", "width"), [(7, 5), (40, 33), (13, 29), (1, 1)])
def test_resized_mask_is_that_of_pillow(height, width):
    mask = np.random.default_rng(0).integers(0, 256, (13, 17), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(resized_mask(mask, height, width), expected)


def test_unknown_values_and_damaged_files_are_counted(folder):
    write_mask(folder / "masks" / "scene_1.png", squares(SIZES[1], 1, (0, 200)))
    (folder / "images" / "scene_3.png").write_bytes(b"<html>")
    message = refusal(folder)
    assert "2 of 5 images and masks cannot be used" in message
    assert "masks/scene_1.png: value 200; expected 0 for the background" in message
    assert "images/scene_3.png: no image of a known kind" in message


def test_damage_after_the_check_is_told(folder):
    data = load(folder)
    (folder / "masks" / "scene_1.png").unlink()
    with pytest.raises(DataError, match=r"set .train.: .*scene_1.png: No such file or directory; mend or remove it"):
        data.read(1)
    write_mask(folder / "masks" / "scene_1.png", np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"scene_1.png is 20x30 and .*scene_1.png is 4x3"):
        data.read(1)


def test_masks_that_all_say_the_same_are_refused(tmp_path, caplog):
    root = make_folder(tmp_path, values=(0,))
    assert "the masks have only 'background'" in refusal(root)
    assert len(load(root, "test")) == 3
    assert "no mask has 1 of 2 classes: target" in caplog.text


def test_class_without_a_pixel_is_worth_a_warning(tmp_path, caplog):
    root = make_folder(tmp_path, values=(0, 1), classes=NAMES)
    load(root)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{root.name} (train): no mask has 1 of 3 classes: car"]


def test_options_that_mean_nothing_are_refused(folder):
    with pytest.raises(DataError, match="mask_mismatch 'resise' is unknown"):
        load(folder, mask_mismatch="resise")
    with pytest.raises(DataError, match="mask_suffix='_a' means nothing to coco_masks"):
        load(folder, name="coco_masks", mask_suffix="_a")
    with pytest.raises(DataError, match="ignore=3 means nothing to digits; it is for mask_folder, voc_masks"):
        load_dataset("digits", "train", ignore=3)


# --- Pascal VOC ------------------------------------------------------------------------------------------------------


def test_pascal_voc(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "images").rename(tmp_path / "JPEGImages")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (tmp_path / "train.txt").rename(lists / "train.txt")
    (tmp_path / "test.txt").rename(lists / "val.txt")
    for number in range(8):
        image = Image.fromarray(squares(SIZES[number % 3], number, (0, 7, 255)))
        image.putpalette(class_colours(256).tobytes())
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        image.save(tmp_path / "SegmentationClass" / f"scene_{number}.png")
    data = load(tmp_path, name="voc_masks")
    assert data.classes == VOC_CLASSES and data.labels.has_background
    np.testing.assert_array_equal(data.read(2).mask, squares(SIZES[2], 2, (0, 7, IGNORE)))
    assert len(load(tmp_path, "test", name="voc_masks")) == 3


# --- Colours ---------------------------------------------------------------------------------------------------------


def test_colours_are_those_of_pascal_voc():
    assert class_colours(4).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert class_colours(21)[[15, 20]].tolist() == [[192, 128, 128], [0, 64, 128]]
    assert len({tuple(colour) for colour in class_colours(256).tolist()}) == 256


def test_palette_of_files_goes_by_their_values():
    labels = class_labels(("void", *NAMES), ignore=0)
    colours = np.frombuffer(colour_table(labels), np.uint8).reshape(256, 3)
    np.testing.assert_array_equal(colours[[1, 2, 3, 0]], label_colours(labels)[[0, 1, 2, IGNORE]])


def test_mask_is_painted_over_what_is_not_background():
    image = np.full((1, 3, 3), 100, np.uint8)
    mask = values(0, 1, IGNORE)
    painted = paint(image, mask, binary_labels())
    assert painted[0, 0].tolist() == [100] * 3
    assert painted[0, 1, 0] > 150 > painted[0, 1, 1]
    assert (painted[0, 2] > 150).all()
    assert (paint(image, mask, class_labels(NAMES))[0, 0] != 100).any()
