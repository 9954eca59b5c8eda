"""Files that are written whole, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusion import files
from fusion.files import (
    filled_folder,
    remove_leftovers,
    sweep,
    unfinished,
    whole_file,
    whole_folder,
    write_json,
    write_text,
)

#: Writes half of a file, says so, and waits to be killed.
WRITER = """
import sys, time
from pathlib import Path
from fusion.files import whole_file, whole_folder
kind, path = sys.argv[1:]
with (whole_file if kind == "file" else whole_folder)(Path(path)) as aside:
    (aside if kind == "file" else aside / "inside").write_text("half")
    print(flush=True)
    time.sleep(600)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.parent == tmp_path
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as aside:
        aside.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_content_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("renamed"), replace(self, target)))
    write_text(tmp_path / "a.txt", "new")
    assert done[0].endswith(".part")
    assert done[1:] == ["renamed", str(tmp_path)]


def test_folder_appears_at_the_end_in_place_of_the_old_one(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("old")
    with whole_folder(path) as aside:
        (aside / "new").write_text("new")
        assert names(path) == ["old"]
    assert names(path) == ["new"]
    assert names(tmp_path) == ["out"]


def test_folder_of_a_failure_is_removed(tmp_path):
    path = tmp_path / "deep" / "out"
    with pytest.raises(ValueError), whole_folder(path) as aside:
        (aside / "new").write_text("half")
        raise ValueError
    assert names(path.parent) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, kind):
    path = tmp_path / "a"
    root = str(Path(files.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", WRITER, kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        child.stdout.readline()
        left = names(tmp_path)
        assert len(left) == 1
        remove_leftovers(path)
        assert names(tmp_path) == left  # for that process may still finish it
        child.send_signal(signal.SIGKILL)
    if kind == "file":
        write_text(path, "whole")
        assert path.read_text() == "whole"
    else:
        with whole_folder(path) as aside:
            (aside / "inside").write_text("whole")
        assert (path / "inside").read_text() == "whole"
    assert names(tmp_path) == ["a"]


def test_files_of_other_names_are_no_leftovers(tmp_path):
    others = [".a.txt.part", ".a.txt.x.part", "a.txt.99999999.part", ".b.txt.99999999.part"]
    for name in others:
        (tmp_path / name).write_text("")
    write_text(tmp_path / "a.txt", "new")
    assert names(tmp_path) == sorted(["a.txt", *others])


def test_json_is_read_back(tmp_path):
    value = {"a": [1, 2.5, None], "ü": "é"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == value


def test_files_are_moved_into_a_folder_that_keeps_its_others(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    for name in ("kept", "replaced"):
        (path / name).write_text("old")
    with filled_folder(path) as aside:
        for name in ("replaced", "new"):
            (aside / name).write_text("new")
        assert (path / "replaced").read_text() == "old"
    assert {file.name: file.read_text() for file in path.iterdir()} == {"kept": "old", "replaced": "new", "new": "new"}
    with pytest.raises(ValueError), filled_folder(path) as aside:
        (aside / "kept").write_text("half")
        raise ValueError
    assert (path / "kept").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_sweep_removes_what_killed_processes_left(tmp_path):
    names_left = [".a.99999999.part", ".b.c.99999999.old", f".own.{os.getpid()}.part", f".other.{os.getppid()}.part"]
    kept = ["a.99999999.part", ".a.part", ".a.x.part"]
    for name in (*names_left, *kept):
        (tmp_path / name).write_text("")
    assert [path.name for path in unfinished(tmp_path)] == sorted(names_left)
    sweep(tmp_path)
    assert names(tmp_path) == sorted([f".other.{os.getppid()}.part", *kept])  # whose process runs
    sweep(tmp_path, alone=True)
    assert names(tmp_path) == sorted(kept)
    sweep(tmp_path / "missing")


def test_folder_that_was_about_to_be_replaced_is_put_back(tmp_path):
    """A process was killed after it had moved the old folder away, and before the new one took its name."""
    (tmp_path / ".a.99999999.old").mkdir()
    (tmp_path / ".a.99999999.old" / "old").write_text("old")
    (tmp_path / ".a.99999999.part").mkdir()
    remove_leftovers(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


def test_folder_whose_new_one_takes_no_name_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    rename = Path.rename

    def refuse(self, target):
        if self.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space"), whole_folder(tmp_path / "a") as aside:
        (aside / "new").write_text("new")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


@pytest.mark.parametrize("writing", [whole_file, whole_folder, filled_folder])
def test_error_names_the_final_file(tmp_path, writing):
    with pytest.raises(OSError) as raised, writing(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert raised.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError) as raised, writing(tmp_path / "a") as aside:
        (aside / "none" / "b").write_text("")
    assert raised.value.filename == str(tmp_path / "a")
    assert not names(tmp_path)


def test_error_while_cleaning_up_does_not_hide_the_first(tmp_path, monkeypatch):
    def refuse(self):
        raise OSError(30, "Read-only file system")

    with pytest.raises(OSError, match="No space"), whole_file(tmp_path / "a") as aside:
        aside.write_text("half")
        monkeypatch.setattr(Path, "unlink", refuse)
        raise OSError(28, "No space left on device")


def test_folder_is_filled_from_within(tmp_path, monkeypatch):
    """A folder may be a disk of its own, and its parent no place for us."""
    (tmp_path / "a").mkdir()
    with filled_folder(tmp_path / "a") as aside:
        assert aside.parent == tmp_path / "a"
        (aside / "b").write_text("new")
    assert names(tmp_path / "a") == ["b"]
    monkeypatch.chdir(tmp_path / "a")
    with filled_folder(Path()) as aside:
        (aside / "c").write_text("new")
    assert names(tmp_path / "a") == ["b", "c"]
