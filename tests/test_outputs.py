"""Where commands write: refused before the work where nothing can be written, and whole after it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from fusion.errors import ConfigError
from fusion.outputs import (
    check_file,
    check_folder,
    check_picture,
    check_place,
    written_file,
    written_folder,
    written_picture,
)


def refusal(work):
    with pytest.raises(ConfigError) as refused:
        work()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["new", "new/deep/er", "here", "here/new", "."])
def test_place_that_can_be_written_is_left_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    check_place(Path(name))
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert not list(Path("here").iterdir())


@pytest.mark.parametrize("name", ["file/a", "file/a/b"])
def test_place_below_a_file_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path / 'file'} is a file; expected a folder" in refusal(lambda: check_place(tmp_path / name))


@pytest.mark.parametrize("name", ["link", "link/a"])
def test_link_that_leads_nowhere_is_refused(tmp_path, name):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    said = refusal(lambda: check_place(tmp_path / name))
    assert f"{tmp_path / 'link'} is a link to {tmp_path / 'gone'}, which is not there" in said


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_place_that_refuses_a_file_is_refused(tmp_path, monkeypatch, code):
    def refuse(dir):
        raise OSError(code, os.strerror(code), dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    said = refusal(lambda: check_place(tmp_path / "a", "--runs"))
    assert said == f"--runs {tmp_path / 'a'}: cannot be written ({os.strerror(code)}); name another place"


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "a" * 250])
def test_name_that_no_file_can_have_is_refused(tmp_path, name):
    """250 letters are a name, but there is no room for what is added while it is written."""
    assert "cannot be written" in refusal(lambda: check_place(tmp_path / name))


def test_file_and_folder_are_told_apart(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder" / "in").mkdir(parents=True)
    assert "is a folder; expected a file" in refusal(lambda: check_file(tmp_path / "folder", force=True))
    assert "is there already" in refusal(lambda: check_file(tmp_path / "file", force=False))
    assert "a device or a pipe" in refusal(lambda: check_file(tmp_path / "pipe", force=True))
    assert "is a file; expected a folder" in refusal(lambda: check_folder(tmp_path / "file", force=True))
    assert "holds files already" in refusal(lambda: check_folder(tmp_path / "folder", force=False))
    assert "expected a name that ends in" in refusal(lambda: check_picture(tmp_path / "a.gif", force=True))
    check_file(tmp_path / "file", force=True)
    check_folder(tmp_path / "folder", force=True)


def test_folder_that_we_are_in_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with written_folder(Path(), force=False) as folder:
        (folder / "a").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with written_folder(Path(), force=True) as folder:
        (folder / "b").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("written", [written_folder, written_file, written_picture])
def test_full_disk_is_one_message_and_leaves_nothing(tmp_path, written):
    def work():
        with written(tmp_path / "a.png", force=False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert refusal(work) == f"--output {tmp_path / 'a.png'}: cannot be written (No space left on device)"
    assert not list(tmp_path.iterdir())


def test_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), written_folder(tmp_path / "a", force=False):
        (tmp_path / "elsewhere").read_bytes()
