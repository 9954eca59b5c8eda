"""Which entries of a folder count: hidden ones never do, whichever reader looks."""

from __future__ import annotations

import os

import pytest

from fusion.data.listing import (
    check_classes,
    class_names,
    images_below,
    is_image,
    list_files,
    relative_to,
    visible,
    visible_folders,
)
from fusion.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "._a.JPG", ".b.png"):
        (tmp_path / name).write_bytes(b"")
    for name in ("inner", ".cache", "inner/.thumbnails", "inner/deeper", "named.png"):
        (tmp_path / name).mkdir()
    for name in ("inner/c.jpeg", "inner/.thumbnails/d.png", "inner/deeper/e.png", ".cache/f.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    return tmp_path


def test_hidden_entries_do_not_count(folder):
    names = [path.name for path in visible(folder)]
    assert names == ["a.JPG", "b.png", "broken.png", "inner", "named.png", "notes.txt"]
    assert [path.name for path in visible_folders(folder)] == ["inner", "named.png"]


def test_images_below_are_visible_files_with_a_suffix_of_images(folder):
    found = sorted(str(path.relative_to(folder)) for path in images_below(folder))
    assert found == ["a.JPG", "b.png", "inner/c.jpeg", "inner/deeper/e.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", True), ("a.PNG", True), ("._a.jpg", False), (".png", False), ("a.gif", True), ("a.avif", False)],
)
def test_what_counts_as_an_image(name, expected):
    assert is_image(name) is expected


def test_classes_without_images(tmp_path, caplog):
    check_classes(tmp_path, ("a", "b"), [0, 1, 1], "train")
    check_classes(tmp_path, ("a", "b"), [0], "test")
    assert "has no images for 1 of 2 classes: 'b'" in caplog.text
    for labels, split in (([0], "train"), ([], "test")):
        with pytest.raises(DataError, match="of 2 classes have no images"):
            check_classes(tmp_path, ("a", "b"), labels, split)


def test_many_classes_without_images_are_counted_and_the_first_named(tmp_path):
    names = tuple("abcdefgh")
    with pytest.raises(DataError, match="7 of 8 classes have no images: 'b', 'c', 'd', 'e', 'f', ...; expected"):
        check_classes(tmp_path, names, [0], "train")


def test_absolute_path_needs_no_explanation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative_to(tmp_path) == ""
    assert f" in {tmp_path} (this path is relative" in relative_to(tmp_path.relative_to(tmp_path))


@pytest.mark.parametrize(("others", "words"), [(["a.txt"], "1 entry is no"), (["a.txt", "b"], "2 entries are no")])
def test_other_entries_are_counted(tmp_path, caplog, others, words):
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").touch()
    for name in others:
        (tmp_path / "train" / "a" / name).touch()
    list_files(tmp_path / "train", ("a", "b"), "train")
    assert f"{words} .jpg/.jpeg/.png/.webp/.bmp/.gif/.tif/.tiff, left out" in caplog.text


@pytest.mark.parametrize("name", [b"a\nb", b"a\rb", b"caf\xe9"])
def test_class_whose_name_is_not_one_line_of_text_is_refused(tmp_path, name):
    for folder in (b"a", name):
        os.mkdir(os.path.join(os.fsencode(tmp_path), folder))  # noqa: PTH102, PTH118  a Path cannot be bytes
    with pytest.raises(DataError, match="has a line break, or is not UTF-8, .* rename the folder") as found:
        class_names(tmp_path)
    assert "\n" not in str(found.value)
