"""How whole images are answered: padding, windows and mirror images against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.compat import mx
from fusion.tasks.segmentation.whole import Whole, pad, places


class Strided:
    """A stand-in for a network: it takes sizes that its stride divides, and says what it was shown."""

    def __init__(self, stride=8):
        self.stride = stride
        self.shown = []

    def __call__(self, images):
        assert images.shape[2] % self.stride == 0
        assert images.shape[3] % self.stride == 0
        self.shown.append(images.asnumpy())
        return 2 * images[:, :2]


def images(height, width, seed=0):
    return mx.nd.array(np.random.default_rng(seed).normal(size=(2, 3, height, width)))


@pytest.mark.parametrize(("how", "mode"), [("reflect", "reflect"), ("zeros", "constant")])
@pytest.mark.parametrize("size", [(13, 21), (8, 16), (1, 9), (3, 5), (16, 17)])
def test_image_is_padded_to_the_stride_and_its_logits_cut_back(size, how, mode):
    net, given = Strided(), images(*size)
    found = Whole(net, 8, how)(given)
    np.testing.assert_array_equal(found.asnumpy(), 2 * given.asnumpy()[:, :2])
    more = [(0, 0), (0, 0), (0, -size[0] % 8), (0, -size[1] % 8)]
    np.testing.assert_array_equal(net.shown[0], np.pad(given.asnumpy(), more, mode=mode))


def test_image_that_fits_is_not_copied():
    given = images(8, 16)
    assert pad(given, 0, 0, "reflect") is given


@pytest.mark.parametrize("length", [1, 31, 32, 33, 40, 56, 57, 100])
@pytest.mark.parametrize("overlap", [0, 8, 31])
def test_windows_cover_a_side_and_overlap(length, overlap):
    found = places(length, 32, overlap)
    covered = np.zeros(length, int)
    for window in found:
        covered[window] += 1
        assert window.stop - window.start == min(32, length)
    assert covered.min() >= 1
    assert found[0].start == 0
    assert found[-1].stop == length
    assert all(before.stop - after.start >= overlap for before, after in zip(found, found[1:]))
    assert len(found) == len({window.start for window in found})


def test_logits_are_averaged_where_windows_overlap():
    given = images(40, 56)

    class Row:
        """Says how far a pixel is from the top of what it is shown, so that windows answer differently."""

        def __call__(self, shown):
            rows = mx.nd.arange(shown.shape[2]).reshape((1, 1, -1, 1))
            return mx.nd.broadcast_add(shown[:, :1] * 0, rows)

    found = Whole(Row(), 8, tile=32, overlap=8)(given).asnumpy()
    total, count = np.zeros((40, 56)), np.zeros((40, 56))
    for top in (0, 8):
        for left in (0, 24):
            total[top : top + 32, left : left + 32] += np.arange(32)[:, None]
            count[top : top + 32, left : left + 32] += 1
    np.testing.assert_allclose(found, np.broadcast_to(total / count, found.shape), rtol=1e-6)


def test_windows_of_a_network_without_context_give_the_whole_answer():
    net, given = Strided(), images(45, 70)
    found = Whole(net, 8, tile=32, overlap=8)(given).asnumpy()
    np.testing.assert_allclose(found, 2 * given.asnumpy()[:, :2], rtol=1e-6)
    assert {shown.shape for shown in net.shown} == {(2, 3, 32, 32)}


def test_image_no_larger_than_a_window_is_answered_whole():
    net = Strided()
    Whole(net, 8, tile=32, overlap=8)(images(20, 32))
    assert [shown.shape for shown in net.shown] == [(2, 3, 24, 32)]


def test_flips_average_the_image_with_its_mirror_image():
    given = images(8, 16)

    class Column:
        def __call__(self, shown):
            columns = mx.nd.arange(shown.shape[3]).reshape((1, 1, 1, -1))
            return mx.nd.broadcast_add(shown[:, :1], columns)

    found = Whole(Column(), flips=True)(given).asnumpy()
    np.testing.assert_allclose(found, given.asnumpy()[:, :1] + 7.5, rtol=1e-6)
