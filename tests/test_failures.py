"""What a system refuses, as one line; a mistake in the program stays one."""

from __future__ import annotations

import errno
import os

import pytest

from fusion.compat import mx
from fusion.failures import in_words


def full(path=None):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (full("a.txt"), "a.txt: No space left on device; free some room"),
        (full(), "No space left on device; free some room"),
        (PermissionError(errno.EACCES, "Permission denied", b"a\xff"), "a\udcff: Permission denied; name a place"),
        (OSError("no number"), "no number"),
        (
            MemoryError("Unable to allocate 9 EiB"),
            "there is not enough memory (Unable to allocate 9 EiB): use a smaller",
        ),
        (MemoryError(), "there is not enough memory: use a smaller"),
        (
            mx.MXNetError("trace\nFailed to allocate CPU Memory"),
            "there is not enough memory (Failed to allocate CPU Memory)",
        ),
        (mx.MXNetError("std::bad_alloc"), "there is not enough memory (std::bad_alloc)"),
        (RuntimeError("can't start new thread"), "no further thread can be started"),
        (UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"), r"b'a\xff' is not text in UTF-8"),
        (ValueError("embedded null byte"), "a path has a null character in it"),
        (ValueError("lstat: embedded null character in path"), "a path has a null character in it"),
    ],
)
def test_refusal_is_one_line_that_says_what_to_do(error, words):
    said = in_words(error)
    assert said.startswith(words)
    assert "\n" not in said


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("a"), RuntimeError("a"), mx.MXNetError("shape")])
def test_mistake_of_the_program_is_none(error):
    assert in_words(error) is None
