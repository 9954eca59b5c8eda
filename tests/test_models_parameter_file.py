"""Parameter files: the arrays that MXNet reads, and files that would harm it, each refused in one message."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from fusion.compat import mx
from fusion.errors import CheckpointError
from fusion.models import network, parameter_file, pretrained
from fusion.models.network import Network
from fusion.models.parameter_file import read_parameters, save_network, write_parameters

VERSIONS = {"1": 0xF993FAC8, "2": 0xF993FAC9, "3": 0xF993FACA}


# --- Files, byte by byte ---------------------------------------------------------------------------------------------


def head(arrays, magic=0x112):
    return struct.pack("<QQQ", magic, 0, arrays)


def dimensions(shape, count=None):
    return struct.pack(f"<i{len(shape)}q", len(shape) if count is None else count, *shape)


def dense(shape=(2, 1), numbers=None, storage=0, count=None, kind=0, version="2"):
    """One array; `count` is what it says of the number of its dimensions."""
    numbers = struct.pack("<2f", 3, 4) if numbers is None else numbers
    stored = b"" if version == "1" else struct.pack("<i", storage)
    device = struct.pack("<ii", 2, 7)  # a GPU that this machine has not
    return (
        struct.pack("<I", VERSIONS[version])
        + stored
        + dimensions(shape, count)
        + device
        + struct.pack("<i", kind)
        + numbers
    )


def names(*each):
    encoded = [name if isinstance(name, bytes) else name.encode() for name in each]
    return struct.pack("<Q", len(encoded)) + b"".join(struct.pack("<Q", len(name)) + name for name in encoded)


def sparse(storage, indices):
    """A row_sparse or csr array (4, 3) with an index far behind its end."""
    kinds = b"".join(struct.pack("<i", 6) + dimensions((len(array),)) for array in indices)
    data = b"".join(struct.pack(f"<{len(array)}q", *array) for array in indices)
    shapes = dimensions((2, 3) if storage == 1 else (2,)) + dimensions((4, 3))
    numbers = struct.pack("<6f" if storage == 1 else "<2f", *range(6 if storage == 1 else 2))
    return struct.pack("<Ii", VERSIONS["2"], storage) + shapes + struct.pack("<iii", 1, 0, 0) + kinds + numbers + data


ONE = names("a.b")

#: What MXNet did with it, where it was not an error message already.
BAD = {
    "row_sparse, index past the end (abort)": (head(1), sparse(1, [(0, 10**9)]), ONE, "array 1 is row_sparse"),
    "csr, index past the end (abort)": (head(1), sparse(2, [(0, 1, 2, 2, 2), (0, 10**9)]), ONE, "array 1 is csr"),
    "-1 dimensions (end of the process)": (head(1), dense(count=-1), ONE, "would have -1 dimensions"),
    "no dimensions (traceback)": (head(1), struct.pack("<Iii", VERSIONS["2"], 0, 0), ONE, "would have 0 dimensions"),
    "many dimensions": (head(1), dense(count=2**30), ONE, "would have 1,073,741,824 dimensions"),
    "many dimensions, before version 1": (head(1), struct.pack("<I", 2**31) + b"x" * 64, ONE, "2,147,483,648 dimens"),
    "name of 5 GB (its memory)": (
        head(1),
        dense(),
        struct.pack("<QQ", 1, 5 * 10**9) + b"a",
        "name of 5,000,000,000 bytes",
    ),
    "arrays without end": (head(2**60), dense(), ONE, "1,152,921,504,606,846,976 arrays"),
    "names without end": (head(1), dense(), struct.pack("<Q", 2**60) + b"a", "1,152,921,504,606,846,976 names"),
    "unknown storage": (head(1), dense(storage=7), ONE, r"unknown storage type \(7\)"),
    "unknown type": (head(1), dense(kind=99), ONE, r"type of array 1 is unknown \(99\)"),
    "type -1": (head(1), dense(kind=-1), ONE, r"type of array 1 is unknown \(-1\)"),
    "bfloat16": (head(1), dense(kind=12), ONE, "type of array 1 is bfloat16"),
    "negative size": (head(1), dense((-2,), b""), ONE, r"shape of array 1 is \(-2,\)"),
    "size 0 (loaded)": (head(1), dense((0, 2), b""), ONE, r"shape of array 1 is \(0, 2\)"),
    "size past 64 bits": (
        head(1),
        dense((2**31, 2**31)),
        ONE,
        r"array 1 \(2147483648, 2147483648\) of 18,446,744,073,709,",
    ),
    "8 GB": (head(1), dense((2**31,)), ONE, "8,589,934,592 bytes would end after the file"),
    "second array": (head(2), dense() + dense(storage=2), ONE, "array 2 is csr"),
    "no names": (head(1), dense(), names(), "arrays: 1, names: 0"),
    "no arrays": (head(0), b"", names(), "arrays: 0, names: 0"),
    "a name too many": (head(1), dense(), names("a.b", "c"), "arrays: 1, names: 2"),
    "one name twice (loaded)": (head(2), dense() * 2, names("a.b", "a.b"), "two arrays have the name a.b"),
    "arg and aux (traceback)": (head(2), dense() * 2, names("arg:a.b", "aux:a.b"), "two arrays have the name a.b"),
    "name not UTF-8": (head(1), dense(), names(b"a.\xff"), "is not UTF-8"),
    "name with an escape (printed)": (head(1), dense(), names("a.\x1b[31m"), r"'a.\\x1b\[31m' is not a name"),
    "name with a null (loaded)": (head(1), dense(), names("a.b\0c"), r"'a.b\\x00c' is not a name"),
    "empty name": (head(1), dense(), names(""), "'' is not a name"),
    "long name": (head(1), dense(), names("a" * 501), "a name has 501 bytes"),
    "bytes after the end (loaded)": (head(1), dense(), ONE + b"zz", "2 bytes follow after its end"),
    "something else": (head(1, magic=0x113), dense(), ONE, "does not begin as one"),
    "empty": (b"", b"", b"", "what kind of file it is would end after the file"),
}


class Small(Network):
    """A network with one parameter, `a.b`."""

    def __init__(self):
        super().__init__(4)
        self.a = mx.gluon.nn.HybridSequential()
        self.a.b = self.a.params.get("b", shape=(2, 1))


@pytest.fixture
def write(tmp_path):
    def written(*parts):
        path = tmp_path / "net.params"
        path.write_bytes(b"".join(parts))
        return str(path)

    return written


def value(net):
    return net.a.b.data().asnumpy()


# --- What is read ----------------------------------------------------------------------------------------------------


def same(path):
    """The arrays of a file, having checked that MXNet reads the same."""
    found, expected = read_parameters(str(path)), mx.nd.load(str(path))
    assert found.keys() == {name.split(":", 1)[-1] for name in expected}
    for name, array in expected.items():
        mine = found[name.split(":", 1)[-1]]
        assert (mine.dtype, mine.shape) == (array.dtype, array.shape)
        assert mine.tobytes() == array.asnumpy().tobytes()
    return found


@pytest.mark.parametrize("file", sorted(pretrained.FOLDER.glob("*/*.params")), ids=lambda file: file.parent.name)
def test_weights_of_the_package_are_what_mxnet_reads(file):
    assert len(same(file)) > 30


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"])
def test_every_type_of_mxnet_is_read(tmp_path, dtype):
    numbers = np.random.default_rng(1).normal(0, 50, (2, 3, 4)).astype(dtype)
    stored = {"a.b": mx.nd.array(numbers, dtype=dtype), "arg:c": mx.nd.ones((1,), dtype=dtype)}
    mx.nd.save(str(tmp_path / "net.params"), {**stored, "aux:größe": mx.nd.array(numbers[0], dtype=dtype)})
    assert list(same(tmp_path / "net.params")) == ["a.b", "c", "größe"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read_whatever_device_it_names(write, version):
    net = Small()
    net.load_parameters(write(head(1), dense(version=version), ONE))
    assert value(net).tolist() == [[3], [4]]


def test_file_before_version_1_is_read(write):
    old = struct.pack("<IIIiii2f", 2, 2, 1, 1, 0, 0, 3, 4)
    assert same(write(head(1), old, ONE))["a.b"].tolist() == [[3], [4]]


def test_marked_names_of_an_export_load(write):
    net = Small()
    net.load_parameters(write(head(1), dense(), names("arg:a.b")))
    assert value(net).tolist() == [[3], [4]]


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_refused_by_its_reason(write, case):
    *parts, reason = BAD[case]
    path = write(*parts)
    net = Small()
    net.initialize(mx.init.One())
    with pytest.raises(CheckpointError, match=reason) as caught:
        net.load_parameters(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert (value(net) == 1).all()


def test_mxnet_reads_no_file(write, monkeypatch):
    """It would be the one who believes it."""
    monkeypatch.setattr(mx.nd, "load", None)
    Small().load_parameters(write(head(1), dense(), ONE))


def test_file_too_large_for_any_network_is_refused_unread(tmp_path):
    path = tmp_path / "net.params"
    with path.open("wb") as stream:
        stream.truncate(parameter_file.LARGEST_FILE + 1)
    with pytest.raises(CheckpointError, match="4,294,967,297 bytes is larger than any network's"):
        read_parameters(str(path))


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "net.params")
    with pytest.raises(CheckpointError, match=r"cannot be read \(not a file\)"):
        read_parameters(str(tmp_path / "net.params"))


def test_name_of_a_file_with_a_null_is_refused():
    with pytest.raises(CheckpointError, match=r"cannot be read \(no file can have this name\)"):
        read_parameters("net\0.params")


def test_one_changed_byte_is_refused_or_read_as_it_stands(write):
    """Nothing but a `CheckpointError` comes of it; what is accepted has the numbers that the file has."""
    arrays = [dense((2, 3), bytes(range(24))), dense((5,), bytes(range(10)), kind=2), dense((4,), b"abcd", kind=3)]
    sizes = (24, 10, 4)
    whole = b"".join([head(3), *arrays, names("a.weight", "a.bias", "c.running_mean")])
    random.seed(13)
    accepted = 0
    for _ in range(600):
        place, byte = random.randrange(len(whole)), random.randrange(256)
        changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
        path = write(changed)
        try:
            found = read_parameters(path)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ")
            continue
        accepted += 1
        end = 24
        for array, part, size in zip(found.values(), arrays, sizes):
            end += len(part)
            assert array.tobytes() == changed[end - size : end]
        try:
            network.set_parameters(Small(), found)
        except CheckpointError:
            pytest.fail("arrays that were read cannot be refused later")
    assert 100 < accepted < 500


@pytest.mark.parametrize("keep", range(0, 120, 7))
def test_cut_file_is_refused(write, keep):
    whole = b"".join([head(2), dense() * 2, names("a.b", "a.c")])
    with pytest.raises(CheckpointError, match="not a complete MXNet parameter file"):
        read_parameters(write(whole[: min(keep, len(whole) - 1)]))


# --- Written ---------------------------------------------------------------------------------------------------------


def test_written_file_is_mxnets_to_the_byte(tmp_path):
    kinds = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
    draw = np.random.default_rng(0)
    arrays = {f"arg:{kind}": mx.nd.array(100 * draw.random((2, 3)), dtype=kind) for kind in kinds}
    arrays["aux:é"] = mx.nd.ones((1,))
    mx.nd.save(str(tmp_path / "mxnet"), arrays)
    write_parameters(tmp_path / "ours", arrays)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "mxnet").read_bytes()


def test_network_is_saved_as_it_saves_itself(tmp_path):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(3, in_units=2), mx.gluon.nn.BatchNorm(in_channels=3))
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    net.save_parameters(str(tmp_path / "mxnet"))
    save_network(net, tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "mxnet").read_bytes()


def test_full_disk_is_an_error():
    """MXNet's own writer reports none for so few bytes."""
    arrays = {"a": mx.nd.ones((3,))}
    mx.nd.save("/dev/full", arrays)
    with pytest.raises(OSError, match="No space"):
        write_parameters(Path("/dev/full"), arrays)
