"""Words of --device to MXNet contexts, and what is refused."""

from __future__ import annotations

import pytest

from fusion import devices
from fusion.compat import mx
from fusion.devices import contexts
from fusion.errors import ConfigError


@pytest.fixture
def build(monkeypatch):
    """Pretend that MXNet has or lacks CUDA, and finds some GPUs."""

    def pretend(cuda, gpus=0):
        class Features:
            def is_enabled(self, name):
                return {"CUDA": cuda}[name]

        def num_gpus():
            if isinstance(gpus, Exception):
                raise gpus
            return gpus

        monkeypatch.setattr(devices.mx.runtime, "Features", Features)
        monkeypatch.setattr(devices.mx.context, "num_gpus", num_gpus)

    return pretend


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("cpu", [mx.cpu(0)]),
        (" cpu ", [mx.cpu(0)]),
        ("cpu:1", [mx.cpu(0)]),
        ("cpu:2", [mx.cpu(0), mx.cpu(1)]),
        ("cpu:12", [mx.cpu(number) for number in range(12)]),
    ],
)
def test_cpu_words_name_that_many_contexts(build, word, expected):
    build(cuda=False)
    assert contexts(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gpu", [mx.gpu(0)]),
        ("0", [mx.gpu(0)]),
        (0, [mx.gpu(0)]),
        ("3", [mx.gpu(3)]),
        ("0,1", [mx.gpu(0), mx.gpu(1)]),
        ("2,0", [mx.gpu(2), mx.gpu(0)]),
    ],
)
def test_gpu_words_name_those_gpus_in_order(build, word, expected):
    build(cuda=True, gpus=4)
    assert contexts(word) == expected


@pytest.mark.parametrize(
    "word",
    ["", "cuda", "GPU", "gpu:0", "cpu:0", "cpu:", "cpu:-1", "cpu:100", "cpu:1.5", "cpu,cpu", "-1", "0,", ",0", "0;1"],
)
def test_other_words_are_refused_with_what_is_expected(build, word):
    build(cuda=True, gpus=4)
    with pytest.raises(ConfigError) as caught:
        contexts(word)
    assert f"device {word!r}: expected cpu, cpu:2 (two CPU contexts), gpu, or GPU numbers" in str(caught.value)


def test_gpu_twice_is_refused(build):
    build(cuda=True, gpus=4)
    with pytest.raises(ConfigError, match="device '0,1,0': the same GPU is named twice"):
        contexts("0,1,0")


@pytest.mark.parametrize("word", ["gpu", "0", "0,1"])
def test_gpu_with_a_build_for_the_cpu_says_what_to_do(build, word):
    build(cuda=False)
    with pytest.raises(ConfigError) as caught:
        contexts(word)
    message = str(caught.value)
    assert message.startswith(f"device '{word}': this MXNet is built without CUDA")
    assert "--device cpu" in message
    assert "mxnet-cu112" in message


@pytest.mark.parametrize(("word", "missing"), [("gpu", 0), ("0", 0), ("1,0", 1)])
@pytest.mark.parametrize("found", [0, mx.MXNetError("no driver")])
def test_gpu_that_is_not_there_is_named(build, word, missing, found):
    build(cuda=True, gpus=found)
    with pytest.raises(ConfigError, match=rf"device '{word}': no GPU {missing}; MXNet finds 0"):
        contexts(word)


def test_first_missing_gpu_of_several_is_named(build):
    build(cuda=True, gpus=2)
    with pytest.raises(ConfigError, match=r"device '0,1,2,3': no GPU 2; MXNet finds 2"):
        contexts("0,1,2,3")


@pytest.mark.skipif(mx.runtime.Features().is_enabled("CUDA"), reason="this MXNet has CUDA")
def test_installed_build_without_cuda_refuses_gpus():
    with pytest.raises(ConfigError, match="without CUDA"):
        contexts("gpu")


def test_contexts_of_the_cpu_hold_arrays():
    arrays = [mx.nd.ones(2, ctx=ctx) for ctx in contexts("cpu:2")]
    assert [str(array.context) for array in arrays] == ["cpu(0)", "cpu(1)"]
    assert sum(float(array.sum().asscalar()) for array in arrays) == 4
