"""COCO's annotations as masks: the pixels of polygons and run lengths, sets of them, and the set of stop signs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from masks import annotation, box, make_coco
from photos import encoded, smooth
from PIL import Image

from fusion.__main__ import main
from fusion.data import load_dataset
from fusion.data.masks import rasterise as rasterising
from fusion.data.masks import stopsign
from fusion.data.masks.labels import IGNORE
from fusion.data.masks.rasterise import fill_polygon, rasterise
from fusion.data.masks.stopsign import prepare
from fusion.errors import DataError

#: Polygons with corners inside and outside of the image, whole and fractional, and what pycocotools 2.0 makes of them.
POLYGONS = json.loads((Path(__file__).parent / "data" / "masks" / "coco_polygons.json").read_text())

CATEGORIES = {1: "person", 13: "stop sign"}


# --- Pixels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(rasterising, "_library", lambda: None)


@pytest.mark.parametrize("case", POLYGONS, ids=lambda case: f"{case['width']}x{case['height']}")
def test_polygons_are_pixel_by_pixel_those_of_pycocotools(case):
    height, width = case["height"], case["width"]
    runs = {"size": [height, width], "counts": case["counts"]}
    expected = rasterise(runs, height, width)
    assert expected.sum() == case["area"]
    np.testing.assert_array_equal(fill_polygon(case["polygon"], height, width), expected)


def test_library_and_numpy_agree():
    library = pytest.importorskip("pycocotools.mask")
    draw = np.random.default_rng(0)
    for _ in range(300):
        height, width = draw.integers(2, 60, 2).tolist()
        polygon = (draw.uniform(-0.1, 1.1, (int(draw.integers(3, 12)), 2)) * (width, height)).ravel().tolist()
        expected = library.decode(library.frPyObjects([polygon], height, width))[..., 0]
        np.testing.assert_array_equal(fill_polygon(polygon, height, width), expected)
        np.testing.assert_array_equal(rasterise([polygon], height, width), expected)


def test_rectangle_and_union(without_library):
    expected = np.zeros((10, 12), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(rasterise(box(3, 2, 7, 5), 10, 12), expected)
    expected[4:9, 5:12] = True
    np.testing.assert_array_equal(rasterise([*box(3, 2, 7, 5), *box(5, 4, 12, 9)], 10, 12), expected)


def test_run_lengths_go_down_the_columns():
    runs = {"size": [2, 3], "counts": [1, 2, 3]}
    assert rasterise(runs, 2, 3).tolist() == [[False, True, False], [True, False, False]]


def test_polygon_of_two_corners_has_nothing_inside(without_library):
    assert not rasterise([[1, 2, 3, 4]], 5, 6).any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [3, 2], "counts": [6]}, "run lengths of the size"),
        ({"size": [2, 3], "counts": [5]}, "run lengths of 5 pixels in an image of 6"),
        ({"size": [2, 3], "counts": [-6, 12]}, "a run length that no image of 6 pixels has"),
        ({"size": [2, 3], "counts": [10**15, 6]}, "a run length that no image of 6 pixels has"),
        ({"size": [2, 3], "counts": "P" * 10_000}, "a run length without an end"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of 7 numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "a corner beyond 100,000 pixels"),
        ([[1, 2, 3, 4, 5, math.inf]], "a corner beyond 100,000 pixels"),
        ([[1, 2, 3, 4, 5, math.nan]], "a corner beyond 100,000 pixels"),
    ],
)
def test_impossible_segmentations_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        rasterise(segmentation, 2, 3)


# --- The set ---------------------------------------------------------------------------------------------------------


def crowd(height, width, top, bottom):
    """Run lengths of whole rows, as COCO has them for crowds."""
    mask = np.zeros((height, width), int)
    mask[top:bottom] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": [height, width], "counts": np.diff(np.concatenate([[0], edges])).tolist()}


@pytest.fixture
def coco(tmp_path):
    """Train: a person before a sign beside a crowd of persons, and nothing. Val: a sign."""
    first = [
        annotation(13, box(10, 10, 50, 50)),
        annotation(1, box(40, 30, 60, 55)),
        annotation(1, crowd(60, 80, 45, 58), crowd=True),
    ]
    return make_coco(
        tmp_path / "coco", {"train2017": [first, []], "val2017": [[annotation(13, box(0, 0, 40, 40))]]}, CATEGORIES
    )


def test_classes_overlaps_and_crowds(coco):
    data = load_dataset("coco_masks", "train", coco)
    assert data.classes == ("background", "person", "stop sign") and data.labels.has_background
    assert data.title == "coco (train2017)"
    expected = np.zeros((60, 80), np.uint8)
    expected[45:58] = IGNORE
    expected[10:50, 10:50] = 2
    expected[30:55, 40:60] = 1
    expected[30:50, 40:50] = IGNORE
    sample = data.read(0)
    np.testing.assert_array_equal(sample.mask, expected)
    assert sample.name == f"{1:012}" and sample.image.shape == (60, 80, 3)
    assert not data.read(1).mask.any()
    assert len(load_dataset("coco_masks", "test", coco)) == 1


def test_parts_are_found_with_or_without_the_year(coco):
    (coco / "images").mkdir()
    (coco / "val2017").rename(coco / "images" / "val2017")
    assert len(load_dataset("coco_masks", "test", coco, test_split="val2017")) == 1
    with pytest.raises(DataError, match=r"no instances_dev2017.json .found: instances_train2017.json"):
        load_dataset("coco_masks", "test", coco, test_split="dev")
    text = (coco / "annotations" / "instances_val2017.json").read_text()
    (coco / "annotations" / "instances_val2014.json").write_text(text)
    with pytest.raises(DataError, match="say with data.test_split which one, such as val2017"):
        load_dataset("coco_masks", "test", coco)


def change(coco, part="train2017"):
    path = coco / "annotations" / f"instances_{part}.json"
    return path, json.loads(path.read_text())


def test_faults_of_annotations_are_told(coco):
    def refusal():
        with pytest.raises(DataError) as found:
            load_dataset("coco_masks", "train", coco).read(0)
        return str(found.value)

    path, content = change(coco)
    original = path.read_text()
    path.write_text("{")
    assert "cannot be read as a file of annotations" in refusal()
    path.write_text("[]")
    assert "not a file of COCO's instance annotations" in refusal()
    path.write_text(json.dumps({"images": []}))
    assert "not a file of COCO's instance annotations (no 'categories')" in refusal()
    path.write_text("[" * 100_000)
    assert "cannot be read as a file of annotations (lists and objects are nested more than 50 deep)" in refusal()
    for height in ("1e999", "1000000000", "0", "null"):
        path.write_text(original.replace('"height": 60', f'"height": {height}'))
        assert "not a file of COCO's instance annotations" in refusal()
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    path.write_text(json.dumps(content))
    assert "000000000001.jpg: an annotation cannot be drawn (a polygon of 3 numbers" in refusal()
    content["annotations"][0]["category_id"] = 99
    path.write_text(json.dumps(content))
    assert "annotation 1 is of category 99, which has no name" in refusal()
    path.write_text(original)
    (coco / "train2017" / f"{1:012}.jpg").write_bytes(encoded(smooth(50, 80), ".jpg"))
    assert "000000000001.jpg is 80x50 and its entry in" in refusal()
    (coco / "train2017" / f"{1:012}.jpg").unlink()
    assert "lacks 1 of the 2 images" in refusal()
    (coco / "train2017").rename(coco / "other")
    assert "neither train2017 nor images/train2017" in refusal()


# --- Stop signs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def signs(tmp_path):
    """Train: a sign with a small one; a small sign alone; a person; a crowd alone; a sign and a crowd. Val: a sign."""
    train = [
        [
            annotation(13, box(10, 10, 50, 50)),
            annotation(13, box(60, 5, 70, 15)),
            annotation(1, box(0, 0, 60, 60)),
        ],
        [annotation(13, box(0, 0, 20, 20))],
        [annotation(1, box(0, 0, 60, 60))],
        [annotation(13, crowd(60, 80, 0, 40), crowd=True)],
        [annotation(13, box(0, 0, 32, 32)), annotation(13, crowd(60, 80, 20, 40), crowd=True)],
    ]
    val = [[annotation(13, box(30, 20, 70, 60))]]
    return make_coco(tmp_path / "coco", {"train2017": train, "val2017": val}, CATEGORIES)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stop_signs_by_the_rule(signs, tmp_path):
    target = tmp_path / "signs"
    train, val = prepare(signs, target)
    assert (train.images, train.signs, train.crowds, train.small_only) == (2, 3, 1, 1)
    assert (val.images, val.signs, val.crowds, val.small_only) == (1, 1, 0, 0)
    assert train.target_share == (40 * 40 + 10 * 10 + 32 * 32) / (2 * 60 * 80)
    assert names(target) == ["README.txt", "classes.txt", "images", "masks", "train.txt", "val.txt"]
    assert (target / "train.txt").read_text() == f"{1:012}\n{5:012}\n"
    assert names(target / "images") == [f"{number:012}.jpg" for number in (1, 5, 6)]
    assert (target / "images" / f"{5:012}.jpg").read_bytes() == (signs / "train2017" / f"{5:012}.jpg").read_bytes()


def test_stop_signs_are_a_folder_of_masks(signs, tmp_path):
    prepare(signs, tmp_path / "signs", workers=2)
    data = load_dataset("mask_folder", "train", tmp_path / "signs", ignore=255)
    assert data.classes == ("stop sign",) and data.binary
    expected = np.zeros((60, 80), np.uint8)
    expected[10:50, 10:50] = expected[5:15, 60:70] = 1
    np.testing.assert_array_equal(data.read(0).mask, expected)
    expected = np.zeros((60, 80), np.uint8)
    expected[20:40] = IGNORE
    expected[:32, :32] = 1
    np.testing.assert_array_equal(data.read(1).mask, expected)
    assert len(load_dataset("mask_folder", "test", tmp_path / "signs", ignore=255)) == 1
    with pytest.raises(DataError, match="set data.ignore=255"):
        load_dataset("mask_folder", "train", tmp_path / "signs")


def test_masks_can_be_looked_at(signs, tmp_path):
    prepare(signs, tmp_path / "signs")
    with Image.open(tmp_path / "signs" / "masks" / f"{5:012}.png") as image:
        assert image.mode == "P"
        colours = np.asarray(image.convert("RGB"))
    assert len({tuple(colour) for colour in colours.reshape(-1, 3).tolist()}) == 3


def test_area_of_the_rule_can_be_chosen(signs, tmp_path):
    assert prepare(signs, tmp_path / "all", least_area=0)[0].images == 3
    assert "at least\n0 pixels" in (tmp_path / "all" / "README.txt").read_text()
    with pytest.raises(DataError, match="no image has a stop sign of at least 5000 pixels"):
        prepare(signs, tmp_path / "none", least_area=5000)
    assert not (tmp_path / "none").exists()


def test_interrupted_preparation_goes_on(signs, tmp_path, monkeypatch):
    prepare(signs, tmp_path / "whole")
    real, written = stopsign.whole_file, []

    def stopping(path):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        return real(path)

    monkeypatch.setattr(stopsign, "whole_file", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare(signs, tmp_path / "signs")
    assert names(tmp_path / "signs") == ["images", "masks"]  # no list: nobody takes it for a data set
    assert len(contents(tmp_path / "signs")) == 3
    before = {path: path.stat().st_mtime_ns for path in written}
    monkeypatch.setattr(stopsign, "whole_file", real)
    prepare(signs, tmp_path / "signs")
    assert contents(tmp_path / "signs") == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in written} == before


def test_faults_of_the_source_are_told_before_anything_is_written(signs, tmp_path):
    target = tmp_path / "signs"

    def refusal():
        with pytest.raises(DataError) as found:
            prepare(signs, target)
        assert not (target / "train.txt").exists()
        return str(found.value)

    path, content = change(signs, "val2017")
    original = path.read_text()
    content["categories"][1]["name"] = "stop"
    path.write_text(json.dumps(content))
    assert "number 13 is 'stop'; expected 'stop sign'" in refusal()
    train = (signs / "annotations" / "instances_train2017.json").read_text()
    path.write_text(train)
    (signs / "train2017").rename(signs / "other")
    (signs / "train2017").mkdir()
    assert "lacks 2 of the 2 images with a stop sign" in refusal()
    (signs / "train2017").rmdir()
    (signs / "other").rename(signs / "train2017")
    for picture in (signs / "train2017").iterdir():
        (signs / "val2017" / picture.name).write_bytes(picture.read_bytes())
    assert "2 images are in instances_train2017.json and in instances_val2017.json" in refusal()
    path.write_text(original)
    (signs / "val2017" / f"{6:012}.jpg").unlink()
    assert "lacks 1 of the 1 images with a stop sign" in refusal()
    assert not target.exists()
    (signs / "val2017" / f"{6:012}.jpg").write_bytes(encoded(smooth(61, 80), ".jpg"))
    assert "is 80x61, and its annotations are of 80x60" in refusal()
    (signs / "val2017" / f"{6:012}.jpg").write_bytes(b"gone")
    assert "no image of a known kind; mend it, or unpack" in refusal()


def test_command(signs, tmp_path, capsys):
    words = ["prepare", "stopsign", "--coco", str(signs), "--target", str(tmp_path / "signs")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "train.txt: 2 images with 3 stop signs and 1 crowds\n" in printed
    assert "1 images with only smaller stop signs left out" in printed
    assert main([*words, "--least-area", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["train"]["images"] == 3 and found["val"]["images"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stopsign"], "prepare stopsign needs --coco DIR"),
        (["imagenet"], "prepare imagenet needs --source DIR"),
        (["stopsign", "--coco", "x", "--val-classes", "y"], "--val-classes is for prepare imagenet"),
        (["imagenet", "--source", "x", "--coco", "y"], "--coco is for prepare stopsign"),
        (["stopsign", "--coco", "x", "--least-area", "-1"], "--least-area -1: expected pixels, at least 0"),
        (["stopsign", "--coco", "nowhere"], "nowhere: no such folder"),
        (["stopsign", "--coco", "x", "--workers", "0"], "--workers 0: expected at least 1"),
    ],
)
def test_command_refuses(tmp_path, capsys, words, message):
    assert main(["prepare", *words, "--target", str(tmp_path / "signs")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "signs").exists()
