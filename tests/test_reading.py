"""Text files of other systems are read; what is too large, too deep or no text is refused with a reason."""

from __future__ import annotations

import json

import pytest

from fusion.reading import ReadingError, read_json, read_lines, read_text

NAMES = ["great white shark", "Muräne", "a\u2028b\x85c\x0bd"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_the_same_whatever_wrote_them(tmp_path, encoding, end):
    path = tmp_path / "list.txt"
    for text in (end.join(NAMES), end.join([*NAMES, ""]), end.join([*NAMES, "", " ", ""])):
        path.write_bytes(text.encode(encoding))
        assert read_lines(path) == NAMES


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_mark_of_utf_16_says_the_order_of_its_bytes(tmp_path, mark):
    encoding = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}[mark]
    (tmp_path / "list.txt").write_bytes(mark + "cat\ndog\n".encode(encoding))
    assert read_lines(tmp_path / "list.txt") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("cat\n".encode("utf-16-le"), "UTF-16 without its mark; save it as UTF-8"),
        (b"caf\xe9\n", "no text in UTF-8"),
        (b"\xff\xfec", "no text in UTF-16"),
        (b"cat\n" * 100, "more than 100 bytes"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, reason):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ReadingError, match=reason):
        read_text(tmp_path / "list.txt", 100)


def test_file_that_is_not_there_or_has_no_possible_name_is_refused(tmp_path):
    for name in ("none", ".", "a\0b"):
        with pytest.raises(ReadingError):
            read_text(tmp_path / name)


def test_file_without_an_end_is_refused(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(ReadingError, match="more than 1,000 bytes"):
        read_text(tmp_path / "zero", 1000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested more than 50 deep"),
        ('{"a":' * 100_000, "nested more than 50 deep"),
        ("[" * 51 + "]" * 51, "nested more than 50 deep"),
        ('{"a":[' * 26 + "]}" * 26, "nested more than 50 deep"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
        ('{"a": 1', "not JSON"),
        ("", "not JSON"),
    ],
)
def test_json_beyond_the_limits_is_refused(tmp_path, text, reason):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ReadingError, match=reason):
        read_json(tmp_path / "a.json", 1_000_000)


def test_json_at_the_limit_of_depth_is_read(tmp_path):
    (tmp_path / "a.json").write_text("[" * 50 + "]" * 50)
    assert len(read_json(tmp_path / "a.json", 1000)) == 1


def test_json_is_read(tmp_path):
    value = {"a": [1, 2.5, None, True, "é"], "b": {"c": -(10**50)}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json", 1000) == value
