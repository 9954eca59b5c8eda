"""Hidden files and folders are no part of a data set, whoever reads it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fusion.data import load_dataset
from fusion.data.listing import images_below, subfolders, visible
from fusion.data.photos.prepare import prepare
from fusion.errors import DataError


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(path)


def test_hidden_entries_are_left_out_at_every_depth(tmp_path):
    for name in ("b/2.png", "a/1.JPG", "a/._1.jpg", ".cache/3.png", "a/.thumbs/4.png", "a/notes.txt"):
        save(tmp_path / "photo.png") if name.endswith("txt") else save(tmp_path / name)
    assert [path.name for path in visible(tmp_path)] == ["a", "b", "photo.png"]
    assert [path.name for path in subfolders(tmp_path)] == ["a", "b"]
    found = [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)]
    assert found == ["a/1.JPG", "b/2.png", "photo.png"]


def test_flat_test_part_with_a_hidden_folder_is_flat(tmp_path):
    """It counted as class folders, and its photos as none."""
    for name in ("train/n01/1.png", "train/n02/2.png", "val/x1.png", "val/x2.png", "val/.cache/y.png"):
        save(tmp_path / "source" / name)
    (tmp_path / "classes.txt").write_text("x1.png n01\nx2.png n02\n")
    reports = prepare(tmp_path / "source", tmp_path / "target", tmp_path / "classes.txt")
    assert [(report.part, report.images) for report in reports] == [("train", 2), ("val", 2)]


def test_relative_folder_that_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"The folder data was looked for in {tmp_path}: .*data.dir=PATH"):
        load_dataset("image_folder", "test", "data")
    with pytest.raises(DataError) as caught:
        load_dataset("image_folder", "test", tmp_path / "data")
    assert "was looked for" not in str(caught.value)
