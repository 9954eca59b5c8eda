"""Lines of MXNet's own log do not reach the terminal; everything else does."""

import os
import sys

import pytest

from fusion.compat import mx, nn
from fusion.native_log import without_native_log


def training_step(channels):
    """Average pooling within a training step: MXNet logs a line at the first call for each shape."""
    pool = nn.AvgPool2D(2, ceil_mode=True, count_include_pad=False)  # as in the shortcuts of ResNets
    images = mx.nd.ones((1, channels, 4, 4))
    images.attach_grad()
    with mx.autograd.record():
        pool(images).backward()
    mx.nd.waitall()


def test_native_lines_are_left_out(capfd):
    training_step(31)
    assert "prop_kind is forward_scoring" in capfd.readouterr().err  # else there is nothing to keep away
    with without_native_log():
        training_step(33)
    assert capfd.readouterr().err == ""


def test_other_lines_are_kept_in_order(capfd):
    with without_native_log():
        print("one", file=sys.__stderr__, flush=True)
        training_step(35)
        os.write(2, b"two\n[12:30:59] not a source file\n")
    print("three", file=sys.__stderr__, flush=True)
    assert capfd.readouterr().err == "one\ntwo\n[12:30:59] not a source file\nthree\n"


def test_failure_shows_everything(capfd):
    with pytest.raises(KeyError), without_native_log():
        training_step(37)
        raise KeyError
    assert "prop_kind is forward_scoring" in capfd.readouterr().err
