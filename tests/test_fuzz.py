"""The fuzzer's short form, the inputs that ever failed, and whether it sees what it looks for.

`make fuzz` is the long form. An input that failed is a file of tests/data/fuzz/KIND/SAMPLE, named by what was wrong and
by which file of the sample it takes the place of.
"""

from __future__ import annotations

import binascii
import io
import json
import random
import struct
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fuzzing.campaign import CRASH, FAULTS, HANG, Reading, fuzz, keep
from fuzzing.child import ACCEPTED, MOST_MEMORY, OVER, REFUSED, TRACEBACK, judge
from fuzzing.formats import _npz_bomb, bend_npz, bend_png
from fuzzing.inputs import KINDS, make_input, read_kept

from fusion.errors import CheckpointError, DataError

KEPT = Path(__file__).parent / "data" / "fuzz"

#: Inputs of each kind in the short form, and its seed, which stays the same: it fails for no reason but a change.
SHORT = {"parameters": 100, "archives": 80, "graphs": 30, "checkpoints": 15}
OTHERS, SEED = 20, 0


def kept():
    for path in sorted(KEPT.rglob("*@*")):
        yield pytest.param(path, id=str(path.relative_to(KEPT)))


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    with Reading(tmp_path_factory.mktemp("fuzz"), SEED) as process:
        yield process


# --- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_ends_otherwise_than_it_may(reading, kind):
    tally = fuzz(reading, SEED, kind, range(SHORT.get(kind, OTHERS)))
    assert [(fault.number, fault.answer.outcome, fault.answer.text) for fault in tally.faults] == []
    assert tally.counts[REFUSED]


@pytest.mark.parametrize("path", list(kept()))
def test_input_that_once_failed_is_refused_or_read(reading, path):
    answer = reading.ask({"kind": path.parts[-3], "kept": str(path)})
    assert answer.outcome not in FAULTS, answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_inputs_are_made_of_are_read(reading, kind):
    reading.ask({"kind": kind, "number": 0})
    for sample in (reading.folder / "originals" / kind).iterdir():
        answer = reading.ask({"kind": kind, "sample": sample.name})
        assert (answer.outcome, answer.text) == (ACCEPTED, ""), sample.name


# --- What it sees ----------------------------------------------------------------------------------------------------

#: Takes the place of the readers and of the package, which takes seconds to import.
FAULTY = """
import os, sys, types

class FusionError(ValueError):
    pass

errors = types.ModuleType("fusion.errors")
errors.FusionError = FusionError
sys.modules.update({"fusion": types.ModuleType("fusion"), "fusion.errors": errors})

class Sample:
    def __init__(self, read):
        self.read = read

def refuse(folder):
    raise FusionError("no")

def hang(folder):
    while True:
        pass

def fill(folder):
    held = bytearray(120 * 1024**2)

samples = types.ModuleType("fuzzing.samples")
samples.SAMPLES = {"lists": {
    "accepted": Sample(lambda folder: None), "refused": Sample(refuse), "traceback": Sample(lambda folder: {}[0]),
    "crash": Sample(lambda folder: os.abort()), "hang": Sample(hang), "over 1 GB": Sample(fill)}}

def write_samples(folder, kind):
    for name in samples.SAMPLES[kind]:
        (folder / kind / name).mkdir(parents=True)
        (folder / kind / name / "a.txt").write_text(name)

samples.write_samples = write_samples
sys.modules["fuzzing.samples"] = samples
from fuzzing import child
child.MOST_MEMORY = 100 * 1024**2
child.main()
"""


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Reading(tmp_path / "work", SEED, patience=0.5, module="faulty") as process:
        yield process


def test_every_end_is_told_and_the_next_input_is_read(faulty):
    for outcome in (REFUSED, TRACEBACK, CRASH, ACCEPTED, HANG, ACCEPTED, OVER, REFUSED):
        assert faulty.ask({"kind": "lists", "sample": outcome}).outcome == outcome


def test_faults_are_counted_and_their_inputs_kept(faulty, tmp_path):
    tally = fuzz(faulty, SEED, "lists", range(12))
    assert tally.tried == 12
    ends = Counter(make_input(faulty.folder / "originals", SEED, "lists", number).sample for number in range(12))
    assert tally.counts == ends
    assert {fault.answer.outcome for fault in tally.faults} == set(ends) & set(FAULTS)
    for fault in tally.faults:
        path = keep(tmp_path / "kept", fault, SEED)
        assert read_kept(path) == fault.input
        assert faulty.ask({"kind": "lists", "kept": str(path)}).outcome == fault.answer.outcome


def raising(error):
    def read(folder):
        raise error

    return read


class RawError(DataError):
    """Shows its message as it is, as errors of the package did once."""

    __str__ = ValueError.__str__


@pytest.mark.parametrize("message", ["", "a\x1b[31m", "a\x00b", "line\n" * 50, "x" * 6000, "a\u202eb", "\ud800"])
def test_message_that_is_none_counts_as_a_traceback(message):
    assert judge(raising(RawError(message)), Path())[0] == TRACEBACK


def test_lack_of_memory_counts_as_too_much_of_it_however_it_is_told():
    def read(folder):
        try:
            raise MemoryError
        except MemoryError:
            raise CheckpointError("no room") from None

    assert judge(read, Path())[0] == OVER
    assert judge(raising(MemoryError()), Path())[0] == OVER


# --- What it makes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def originals(tmp_path):
    for kind in KINDS:
        (tmp_path / kind / "sample").mkdir(parents=True)
        for pattern in KINDS[kind]:
            (tmp_path / kind / "sample" / pattern.replace("*", "a")).write_bytes(b'{"a": [1, 2]}\nb,c\n')
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_input_is_a_function_of_seed_kind_and_number(originals, kind):
    made = [make_input(originals, 0, kind, number) for number in range(50)]
    assert made == [make_input(originals, 0, kind, number) for number in range(50)]
    assert made != [make_input(originals, 1, kind, number) for number in range(50)]
    assert {each.file for each in made} == {path.name for path in (originals / kind / "sample").iterdir()}


def png_chunks(data):
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        content = data[place + 4 : place + 8 + length]
        (check,) = struct.unpack_from(">I", data[place + 8 + length :].ljust(4, b"\0"))
        yield binascii.crc32(content) == check
        place += 12 + length


def test_changed_images_have_right_checksums():
    from photos import encoded, smooth

    data = encoded(smooth(8, 8))
    made = [bend_png(random.Random(number), data) for number in range(200)]
    assert sum(each != data for each in made) > 180
    assert sum(all(png_chunks(each)) for each in made) > 150


def test_changed_checkpoints_are_archives_with_right_checksums(tmp_path):
    np.savez(tmp_path / "a.npz", state=np.frombuffer(json.dumps({"epoch": 1}).encode(), np.uint8), x=np.ones(3))
    data = (tmp_path / "a.npz").read_bytes()
    states = set()
    for number in range(200):
        with zipfile.ZipFile(io.BytesIO(bend_npz(random.Random(number), data))) as stored:
            assert stored.testzip() is None
            states.update(stored.read(name) for name in stored.namelist() if name == "state.npy")
    assert len(states) > 20


def test_bomb_is_a_small_file_of_more_than_a_gigabyte():
    data = _npz_bomb()
    assert len(data) < 2 * 1024**2
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        assert sum(member.file_size for member in stored.infolist()) > MOST_MEMORY
        with stored.open("param/7.npy") as array:
            assert array.read(6) == b"\x93NUMPY"
