"""The C library is asked to keep freed memory, unless the user has said what it is to do."""

import ctypes
import os
import subprocess
import sys

import pytest

from fusion.memory import keep_freed_memory


class Library:
    """Notes what it is asked for."""

    def __init__(self, answer=1):
        self.asked = {}
        self._answer = answer

    def mallopt(self, number, value):
        self.asked[number] = value
        return self._answer


def test_large_buffers_stay_in_the_one_heap():
    library = Library()
    assert keep_freed_memory({}, library) == ["M_MMAP_THRESHOLD", "M_TRIM_THRESHOLD", "M_ARENA_MAX"]
    assert library.asked == {-3: 2**30, -1: 2**31 - 1, -8: 1}


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(name):
    library = Library()
    assert keep_freed_memory({name: "1"}, library) == []
    assert library.asked == {}


def test_a_refusal_and_another_library_are_no_errors():
    assert keep_freed_memory({}, Library(answer=0)) == []
    assert keep_freed_memory({}, object()) == []


_PROGRAM = """
import ctypes, os
import fusion

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in (
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split())]

library = ctypes.CDLL(None)
library.mallinfo.restype = Info
library.malloc.restype = ctypes.c_void_p
before = library.mallinfo().hblks
library.malloc(ctypes.c_size_t(1 << 24))
print(library.mallinfo().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo"), reason="the C library has no mallinfo to ask")
@pytest.mark.parametrize(("set_by_user", "mappings"), [({}, "0"), ({"MALLOC_TOP_PAD_": "0"}, "1")])
def test_the_package_asks_before_mxnet_runs(set_by_user, mappings):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env={**environment, **set_by_user}, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.split()[-1] == mappings
