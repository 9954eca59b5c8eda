"""Files of arrays: what is read of a checkpoint, and what is refused before it takes memory or is believed."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from fusion.errors import CheckpointError
from fusion.training.array_file import read_arrays


def npy(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


@pytest.fixture
def write(tmp_path):
    """Write the members of an archive: pairs of a name and bytes."""

    def written(*members, kind=zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", kind) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return tmp_path / "a.npz"

    return written


def test_arrays_are_those_that_were_saved(tmp_path):
    arrays = {
        "rows": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "none": np.zeros((0, 3), np.int64),
        "number": np.array(7),
        "true": np.array([True, False]),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("name", ["a", "a.txt", "a\x1b[31m.npy"])
def test_member_that_is_no_array_by_its_name_is_refused(write, name):
    with pytest.raises(ValueError, match="is no array that a checkpoint of this package has"):
        read_arrays(write((name, npy(np.zeros(3)))))


def test_compressed_member_is_refused(write):
    with pytest.raises(ValueError, match="is no array that a checkpoint of this package has"):
        read_arrays(write(("a.npy", npy(np.random.default_rng(0).random(9))), kind=zipfile.ZIP_DEFLATED))


def test_header_of_another_version_is_refused(write):
    with pytest.raises(ValueError, match="is no array that a checkpoint of this package has"):
        read_arrays(write(("a.npy", npy(np.zeros(3), (2, 0)))))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_is_there_twice_is_refused(write):
    with pytest.raises(CheckpointError, match=r"two arrays have the name 'a\.npy'"):
        read_arrays(write(("a.npy", npy(np.zeros(3))), ("a.npy", npy(np.ones(3)))))


@pytest.mark.parametrize("shape", [(4,), (2,), (3, 2), (-3,), (0,)])
def test_shape_that_the_bytes_do_not_fill_is_refused(write, shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    with pytest.raises(CheckpointError, match="has not as many bytes as its shape needs"):
        read_arrays(write(("a.npy", stream.getvalue() + bytes(3 * 8))))


NO_NUMBERS = (np.zeros(3, complex), np.array(["a"]), np.array([None]), np.zeros(2, "datetime64[s]"))


@pytest.mark.parametrize("array", NO_NUMBERS)
def test_what_are_no_numbers_is_refused(write, array):
    with pytest.raises(CheckpointError, match="expected numbers"):
        read_arrays(write(("a.npy", npy(array))))


def test_more_than_the_file_has_is_refused_before_it_is_read(write):
    with pytest.raises(CheckpointError, match="would take more memory than the file has bytes"):
        read_arrays(write(("a.npy", npy(np.zeros(100_000))), kind=zipfile.ZIP_DEFLATED))
