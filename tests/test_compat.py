"""Importing MXNet: where it cannot work and what to do, what is lent to NumPy, and what importing fusion leaves."""

from __future__ import annotations

import importlib
import json
import platform
import subprocess
import sys
import types

import numpy
import pytest

from fusion import compat
from fusion.compat import UnsupportedPlatformError, import_mxnet, mx, unsupported

NUMPY_LACKS_BOOL = tuple(map(int, numpy.__version__.split(".")[:2])) >= (1, 24)
needs_numpy_without_bool = pytest.mark.skipif(not NUMPY_LACKS_BOOL, reason="NumPy before 1.24 has its own numpy.bool")


def run(code, *options):
    """Python code in a process of its own."""
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=120)


def output(code, *options):
    found = run(code, *options)
    assert found.returncode == 0, found.stderr
    return found.stdout


# --- Platforms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [(3, 8), (3, 8, 0), (3, 11, 7), (3, 13, 1)])
@pytest.mark.parametrize("numpy_version", ["1.17.0", "1.23.5", "1.24.0", "1.26.4"])
def test_nothing_stands_in_the_way_on_linux(python, numpy_version):
    assert unsupported(python, "Linux", "x86_64", numpy_version) is None


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (((3, 7, 9), "Linux", "x86_64", "1.21.6"), ("Python 3.8", "this is Python 3.7", "newer interpreter")),
        (((2, 7), "Linux", "x86_64", None), ("this is Python 2.7",)),
        (((3, 11), "Darwin", "arm64", "1.26.4"), ("x86-64 Linux only", "Darwin on arm64", "container")),
        (((3, 11), "Darwin", "x86_64", "1.26.4"), ("x86-64 Linux only", "Darwin on x86_64")),
        (((3, 11), "Windows", "AMD64", "1.26.4"), ("x86-64 Linux only", "Windows on AMD64", "WSL 2")),
        (((3, 11), "Linux", "aarch64", "1.26.4"), ("x86-64 Linux only", "Linux on aarch64")),
        (((3, 11), "Linux", "x86_64", None), ("NumPy is not installed", "pip install", "'numpy<2'")),
        (((3, 11), "Linux", "x86_64", "2.0.0"), ("NumPy 2.0.0", "pip install 'numpy<2'")),
        (((3, 11), "Linux", "x86_64", "2.3.1rc1"), ("NumPy 2.3.1rc1", "pip install 'numpy<2'")),
        (((3, 11), "Linux", "x86_64", "10.0"), ("NumPy 10.0", "pip install 'numpy<2'")),
    ],
)
def test_obstacle_is_named_with_what_to_do(where, words):
    message = unsupported(*where)
    assert "\n" not in message
    assert all(word in message for word in words)


# --- Importing, with a MXNet that is only pretended ------------------------------------------------------------------


@pytest.fixture
def pretend(monkeypatch):
    """Let `import_mxnet` find this in place of modules: an error to raise, or a function to call."""

    def pretend_that(**found):
        def import_module(name):
            if name not in found:
                return importlib.__import__(name)
            if isinstance(found[name], Exception):
                raise found[name]
            return found[name]()

        monkeypatch.delitem(sys.modules, "mxnet")
        monkeypatch.setattr(importlib, "import_module", import_module)

    return pretend_that


def missing(name):
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


def has_bool():
    return "bool" in vars(numpy)


def test_mxnet_that_is_there_is_returned_as_it_is():
    assert import_mxnet() is mx is sys.modules["mxnet"]


def test_missing_mxnet_is_reported_with_the_command_to_install_it(pretend):
    before = has_bool()
    pretend(mxnet=missing("mxnet"))
    with pytest.raises(UnsupportedPlatformError, match="MXNet is not installed: .*pip install 'mxnet==1.9.1'"):
        import_mxnet()
    assert has_bool() is before


def test_unsupported_platform_is_an_import_error():
    assert issubclass(UnsupportedPlatformError, ImportError)


def test_missing_numpy_is_reported_with_the_command_to_install_it(pretend):
    pretend(numpy=missing("numpy"))
    with pytest.raises(UnsupportedPlatformError, match="NumPy is not installed: .*pip install"):
        import_mxnet()


@pytest.mark.parametrize("error", [missing("requests"), OSError("libquadmath.so.0: cannot open"), RuntimeError("no")])
def test_other_trouble_inside_mxnet_is_passed_on_and_nothing_is_left_in_numpy(pretend, error):
    before = has_bool()
    pretend(mxnet=error)
    with pytest.raises(type(error)) as caught:
        import_mxnet()
    assert caught.value is error
    assert has_bool() is before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patch: patch.setattr(platform, "machine", lambda: "arm64"), "on arm64"),
        (lambda patch: patch.setattr(platform, "system", lambda: "Windows"), "Windows on"),
        (lambda patch: patch.setattr(numpy, "__version__", "2.1.0"), "NumPy 2.1.0"),
        (lambda patch: patch.setattr(sys, "version_info", (3, 7, 9)), "Python 3.7"),
    ],
)
def test_platform_is_checked_before_mxnet_is_imported(pretend, monkeypatch, change, words):
    pretend(mxnet=AssertionError("MXNet was imported"))
    change(monkeypatch)
    with pytest.raises(UnsupportedPlatformError, match=words):
        import_mxnet()


def test_numpy_has_a_bool_while_mxnet_is_imported_and_not_after(pretend, monkeypatch):
    monkeypatch.delitem(vars(numpy), "bool", raising=False)
    seen = []

    def mxnet():
        seen.append(numpy.bool)
        return types.ModuleType("mxnet")

    pretend(mxnet=mxnet)
    assert import_mxnet().__name__ == "mxnet"
    assert seen == [bool]
    assert not has_bool()


def test_user_s_own_bool_stays(pretend, monkeypatch):
    monkeypatch.setitem(vars(numpy), "bool", bool)
    pretend(mxnet=lambda: types.ModuleType("mxnet"))
    import_mxnet()
    assert numpy.bool is bool


def test_missing_distutils_is_reported_with_the_command_to_install_it(pretend):
    pretend(setuptools=missing("setuptools"))
    with pytest.raises(UnsupportedPlatformError, match="pip install setuptools"):
        compat._provide_distutils()


def test_numpy_with_bool_is_numpy_otherwise():
    lent = compat._NumpyWithBool(numpy)
    assert lent.bool is bool
    assert lent.float32 is numpy.float32
    assert lent.__name__ == "numpy"
    with pytest.raises(AttributeError):
        lent.nothing_of_this_name  # noqa: B018


# --- Importing, in a process of its own ------------------------------------------------------------------------------

#: What MXNet's NumPy interface does with booleans, as a literal.
BOOLEANS = """
np = mx.np
a = np.array([1, 2, 3])
changed = np.array([1, 2, 3])
changed[changed > 1] = 7
booleans = [
    changed.asnumpy().tolist(),
    a[True].shape,
    np.full((2,), True).asnumpy().tolist(),
    mx.sym.np.full((2,), True).infer_type()[1][0].__name__,
    (a > 1).asnumpy().tolist(),
    str((a == 2).dtype),
    a[a > 1].asnumpy().tolist(),
    np.zeros((2,), dtype=bool).asnumpy().tolist(),
    str(np.array([True, False], dtype=bool).dtype),
    bool(np.array([1, 2]).any()),
    np.logical_not(a > 1).asnumpy().tolist(),
    (mx.nd.array([1, 2]) > 1).asnumpy().tolist(),
]
"""
EXPECTED_BOOLEANS = [
    *([1, 7, 7], [1, 3], [True, True], "bool_"),
    *([False, True, True], "bool", [2, 3], [False, False], "bool", True, [True, False, False], [0, 1]),
]


@pytest.fixture(scope="module")
def plain():
    """`import fusion` and use of MXNet where every warning is an error: what was said, and what is there afterwards."""
    code = (
        "import json, sys, numpy\nbefore = 'bool' in vars(numpy)\nimport fusion\n"
        "loaded, after = list(sys.modules), 'bool' in vars(numpy)\n"
        f"from fusion.compat import mx\n{BOOLEANS}\n"
        "print(json.dumps({'before': before, 'after': after, 'loaded': loaded, 'booleans': booleans,"
        " 'still': 'bool' in vars(numpy)}))"
    )
    found = run(code, "-W", "error")
    return found, json.loads(found.stdout) if found.returncode == 0 else None


def test_importing_fusion_says_nothing(plain):
    found, _ = plain
    assert found.stderr == ""
    assert found.returncode == 0
    assert found.stdout.count("\n") == 1


@needs_numpy_without_bool
def test_importing_fusion_leaves_no_bool_in_numpy(plain):
    _, facts = plain
    assert (facts["before"], facts["after"], facts["still"]) == (False, False, False)


@pytest.mark.parametrize("name", ["gluoncv", "matplotlib", "pandas", "PIL"])
def test_importing_fusion_does_not_import_what_is_slow_to(plain, name):
    _, facts = plain
    assert "mxnet" in facts["loaded"]
    assert name not in facts["loaded"]


def test_networks_do_without_what_is_slow_to_import():
    # MXNet imports OpenCV itself where it is installed, so that it is loaded tells nothing of fusion.
    code = (
        "import sys\nfor name in ('cv2', 'gluoncv', 'matplotlib', 'pandas'):\n    sys.modules[name] = None\n"
        "import fusion\nprint(type(fusion.get_model('aff_resnet32')).__name__)"
    )
    assert output(code) == "CIFARResNet\n"


def test_booleans_of_mxnet_work_after_importing_fusion(plain):
    _, facts = plain
    assert facts["booleans"] == EXPECTED_BOOLEANS


PRINT_BOOLEANS = f"import json\n{BOOLEANS}\nprint(json.dumps([booleans, numpy.bool is bool]))"


@pytest.mark.parametrize("order", ["import fusion\nimport mxnet as mx", "import mxnet as mx\nimport fusion"])
def test_user_s_bool_and_mxnet_work_before_and_after_fusion(order):
    code = f"import numpy\nnumpy.bool = bool\n{order}\nfrom fusion.compat import mx as ours\nassert ours is mx\n"
    assert json.loads(output(code + PRINT_BOOLEANS)) == [EXPECTED_BOOLEANS, True]


@needs_numpy_without_bool
def test_fusion_mends_an_import_of_mxnet_that_has_failed():
    code = (
        "import json\ntry:\n    import mxnet\nexcept AttributeError:\n    print('failed')\n"
        f"import fusion\nfrom fusion.compat import mx\n{BOOLEANS}\nprint(json.dumps(booleans))"
    )
    failed, booleans = output(code).splitlines()
    assert failed == "failed"
    assert json.loads(booleans) == EXPECTED_BOOLEANS


def test_mxnet_test_utils():
    mx.test_utils.assert_almost_equal(numpy.ones(2), numpy.ones(2))
