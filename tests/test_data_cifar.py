"""CIFAR-10 and CIFAR-100 from small archives of the official layout."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from fusion.data import cifar
from fusion.errors import DataError

COUNTS = {"train": 6, "test": 4}


def records(count, label_bytes, seed):
    """Images (count, 32, 32, 3), labels (count, bytes), and the record file that holds them, built byte by byte."""
    chance = np.random.RandomState(seed)
    images = chance.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    labels = np.stack([chance.randint(0, len(byte.classes), count) for byte in label_bytes], axis=1)
    content = b""
    for image, label in zip(images, labels):
        content += bytes(label.tolist()) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
    return images, labels, content


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


class Small:
    """A small copy of an official archive: its description, record files and images, written under a folder."""

    def __init__(self, official, root):
        self.root = root
        self.files = {}
        self.images = {}
        self.labels = {}
        for split, names in official.members.items():
            made = [records(COUNTS[split], official.label_bytes, len(self.files) + k) for k in range(len(names))]
            self.files.update({name: content for name, (_, _, content) in zip(names, made)})
            self.images[split] = np.concatenate([images for images, _, _ in made])
            self.labels[split] = np.concatenate([labels for _, labels, _ in made])
        self.archive = replace(official, records=COUNTS)
        self.path = root / official.file_name

    def pack(self, files=None, folder=None):
        files = self.files if files is None else files
        members = {f"{folder or self.archive.folder}/{name}": content for name, content in files.items()}
        members = {f"{self.archive.folder}/readme.html": b"<html>", **members}
        self.archive = replace(self.archive, md5=write_tar(self.path, members))
        return self

    def unpack(self, folder, leave_out=()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            if name not in leave_out:
                (folder / name).write_bytes(content)
        return self

    def load(self, split="train", **options):
        return cifar.load(self.archive, split, self.root, **{"download": False, **options})


@pytest.fixture(params=[cifar.CIFAR10, cifar.CIFAR100], ids=["cifar10", "cifar100"])
def small(request, tmp_path):
    return Small(request.param, tmp_path)


@pytest.fixture
def small100(tmp_path):
    return Small(cifar.CIFAR100, tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("place", ["archive", "folder", "root"])
def test_reads_the_same_from_every_place(small, place, split):
    if place == "archive":
        small.pack()
    else:
        small.unpack({"folder": small.root / small.archive.folder, "root": small.root}[place])
    loaded = small.load(split)
    assert (loaded.images == small.images[split]).all()
    assert loaded.labels.tolist() == small.labels[split][:, -1].tolist()
    assert loaded.images.dtype == np.uint8
    assert loaded.labels.dtype == np.int64


def test_reading_an_archive_leaves_nothing_on_disk(small):
    small.pack().load()
    assert [path.name for path in small.root.iterdir()] == [small.archive.file_name]


def test_pixel_order_is_planes_of_rows(small100):
    content = bytearray(4 * 3074)
    content[2 * 3074 + 2 + 1024 * 1 + 32 * 5 + 7] = 200  # third record, green, row 5, column 7
    small100.files["test.bin"] = bytes(content)
    images = small100.pack().load("test").images
    assert np.argwhere(images).tolist() == [[2, 5, 7, 1]]
    assert images[2, 5, 7, 1] == 200


def test_coarse_labels_are_the_first_byte_and_fine_the_second(small100):
    small100.files["test.bin"] = b"".join(bytes([k, 90 + k]) + bytes(3072) for k in range(4))
    small100.pack()
    coarse, fine = small100.load("test", labels="coarse"), small100.load("test", labels="fine")
    assert (coarse.labels.tolist(), fine.labels.tolist()) == ([0, 1, 2, 3], [90, 91, 92, 93])
    assert (coarse.title, fine.title) == ("CIFAR-100 (20 superclasses)", "CIFAR-100 (100 fine labels)")
    assert (coarse.classes[0], fine.classes[90]) == ("aquatic_mammals", "train")


def test_class_names():
    assert cifar.CIFAR10_CLASSES[3:6] == ("cat", "deer", "dog")
    assert len(cifar.CIFAR100_CLASSES) == 100
    assert len(cifar.CIFAR100_SUPERCLASSES) == 20
    assert list(cifar.CIFAR100_CLASSES) == sorted(set(cifar.CIFAR100_CLASSES))
    assert list(cifar.CIFAR100_SUPERCLASSES) == sorted(set(cifar.CIFAR100_SUPERCLASSES))
    # Anchors of the official numbering, spread over the list.
    anchors = {0: "apple", 23: "cloud", 47: "maple_tree", 52: "oak_tree", 71: "sea", 83: "sweet_pepper", 99: "worm"}
    assert {k: cifar.CIFAR100_CLASSES[k] for k in anchors} == anchors


def test_official_sizes():
    for archive, size in ((cifar.CIFAR10, 30_730_000), (cifar.CIFAR100, 153_700_000)):
        assert archive.record_bytes * archive.records["train"] == size


def test_wrong_md5_is_told_and_the_file_kept(small):
    small.pack()
    right = small.archive.md5
    small.archive = replace(small.archive, md5="0" * 32)
    with pytest.raises(DataError, match=f"{right}, expected {'0' * 32}"):
        small.load()
    assert small.path.exists()


def test_truncated_record_file(small100):
    small100.files["train.bin"] = small100.files["train.bin"][:-1]
    message = r"train\.bin has 18,443 bytes; expected 18,444 \(6 records of 3,074\)"
    with pytest.raises(DataError, match=message):
        small100.unpack(small100.root).load()


def test_wrong_size_inside_the_archive(small):
    name = small.archive.members["test"][0]
    small.files[name] += b"more"
    with pytest.raises(DataError, match=rf"{small.archive.folder}/{name} has .* bytes; expected"):
        small.pack().load("test")


@pytest.mark.parametrize(("column", "value", "message"), [(0, 20, "coarse label 20"), (1, 100, "fine label 100")])
def test_label_out_of_range(small100, column, value, message):
    content = bytearray(small100.files["test.bin"])
    content[3 * 3074 + column] = value
    small100.files["test.bin"] = bytes(content)
    with pytest.raises(DataError, match=rf"test\.bin: record 3 has the {message}"):
        small100.unpack(small100.root).load("test")


def test_member_missing_from_the_archive(small):
    name = small.archive.members["train"][-1]
    rest = {other: content for other, content in small.files.items() if other != name}
    with pytest.raises(DataError, match=f"holds no {small.archive.folder}/{name}"):
        small.pack(rest).load()


def test_members_of_other_folders_are_not_taken(small100):
    with pytest.raises(DataError, match=r"holds no cifar-100-binary/train\.bin"):
        small100.pack(folder="../cifar-100-binary").load()


def test_link_in_the_archive_is_not_followed(small100):
    secret = small100.root / "secret"
    secret.write_bytes(small100.files["train.bin"])
    with tarfile.open(small100.path, "w:gz") as tar:
        entry = tarfile.TarInfo("cifar-100-binary/train.bin")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(entry)
    small100.archive = replace(small100.archive, md5=hashlib.md5(small100.path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match="holds no"):
        small100.load()


def test_archive_that_is_none(small):
    small.path.write_bytes(b"<html>not found</html>")
    small.archive = replace(small.archive, md5=hashlib.md5(small.path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match=r"not a readable \.tar\.gz"):
        small.load()


def test_incomplete_folder_is_told(tmp_path):
    small = Small(cifar.CIFAR10, tmp_path)
    small.unpack(tmp_path / small.archive.folder, leave_out=["data_batch_4.bin"])
    with pytest.raises(DataError, match=r"cifar-10-batches-bin lacks data_batch_4\.bin"):
        small.load()
    assert len(small.load("test")) == COUNTS["test"]


def test_incomplete_folder_beside_the_archive_is_passed_over(tmp_path):
    small = Small(cifar.CIFAR10, tmp_path)
    small.pack().unpack(tmp_path / small.archive.folder, leave_out=["data_batch_4.bin"])
    assert (small.load().images == small.images["train"]).all()


@pytest.mark.parametrize("which", [0, 1])
def test_python_version_is_refused(small, which):
    name = small.archive.pickled[which]
    (small.root / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name} is the python version.*refused.*{small.archive.file_name}"):
        small.load(download=True)


def test_python_version_beside_the_binary_one_does_not_matter(small):
    (small.root / small.archive.pickled[0]).write_bytes(b"")
    assert len(small.pack().load("test")) == COUNTS["test"]


def test_nothing_there_and_no_download(small):
    with pytest.raises(
        DataError, match=rf"no {small.archive.file_name}.*allow the download, or fetch {small.archive.url}"
    ):
        small.load()


def test_relative_folder_that_is_missing_says_what_it_is_relative_to(small, monkeypatch, caplog, tmp_path_factory):
    small.pack()
    monkeypatch.chdir(small.root.parent)
    assert len(cifar.load(small.archive, "test", small.root.name, download=False)) == COUNTS["test"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataError, match=r"under .* in .*elsewhere.* \(this path is relative.*allow the download"):
        cifar.load(small.archive, "test", small.root.name, download=False)
    monkeypatch.setattr(cifar, "fetch", lambda url, path, md5: small.path)
    cifar.load(small.archive, "test", small.root.name, download=True)
    assert "the data is downloaded to it" in caplog.text


def test_download_is_asked_for_the_archive(small, monkeypatch):
    asked = []

    def fetch(url, path, md5):
        asked.append((url, path))
        small.pack()
        return path

    monkeypatch.setattr(cifar, "fetch", fetch)
    assert len(small.load(download=True, url="http://mirror.example/c.tgz")) == len(small.images["train"])
    assert asked == [("http://mirror.example/c.tgz", small.path)]
    assert len(small.load(download=True)) == len(small.images["train"])
    assert len(asked) == 1


def test_root_that_is_a_file(small):
    small.pack()
    with pytest.raises(DataError, match="is a file; expected the folder"):
        cifar.load(small.archive, "train", small.path)


def test_unknown_split_and_labels(small):
    with pytest.raises(DataError, match="no split 'valid'"):
        small.load("valid")
    with pytest.raises(DataError, match="no labels 'finest'"):
        small.load(labels="finest")
