"""Error and loss on a test set against direct NumPy, for any batch size and number of devices."""

from __future__ import annotations

import numpy as np
import pytest
from classified import evaluated
from scipy.special import log_softmax

from fusion.compat import mx, nn
from fusion.data.augment import Normalisation
from fusion.data.imageset import ImageSet
from fusion.tasks.classification.meters import top_k_error

MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.3, 0.25)
CLASSES = 7


def data_set(count=23, classes=CLASSES, seed=0):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, size=(count, 4, 4, 3), dtype=np.uint8)
    return ImageSet(images, draw.integers(0, classes, size=count), tuple("abcdefg"[:classes]), "noise")


def small_net(ctx, classes=CLASSES):
    """One layer, whose arithmetic NumPy can repeat, after what behaves otherwise in training."""
    net = nn.HybridSequential()
    net.add(nn.BatchNorm(in_channels=3), nn.Dropout(0.5), nn.Flatten(), nn.Dense(classes, in_units=48))
    mx.random.seed(3)
    net.initialize(mx.init.Normal(0.3), ctx=ctx)
    return net


def direct(net, data):
    """Logits in float64, without MXNet."""
    images = ((data.images / 255.0 - MEAN) / STD) / np.sqrt(1 + 1e-5)  # batch norm that has seen nothing
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    ctx = net[3].weight.list_ctx()[0]
    return flat @ net[3].weight.data(ctx).asnumpy().astype(float).T + net[3].bias.data(ctx).asnumpy()


def run(data, batch_size, devices=None, net=None):
    devices = devices or [mx.cpu()]
    return evaluated(net or small_net(devices), data, Normalisation(MEAN, STD), batch_size, devices)


def test_evaluation_is_what_numpy_computes():
    data, net = data_set(), small_net([mx.cpu()])
    scores = direct(net, data)
    ranked = np.argsort(-scores, axis=1)
    top1 = np.mean(ranked[:, 0] != data.labels)
    top5 = np.mean([label not in row for label, row in zip(data.labels, ranked[:, :5])])
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(data)), data.labels]).mean()
    found = run(data, 8, net=net)
    assert 0 < top5 < top1 < 1
    assert found.top1_error == pytest.approx(top1, abs=1e-12)
    assert found.top5_error == pytest.approx(top5, abs=1e-12)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.images == 23
    assert found.images_per_second > 0


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 64])
def test_evaluation_does_not_depend_on_the_batch_size(batch_size):
    data = data_set()
    expected, found = run(data, 8), run(data, batch_size)
    assert found.top1_error == expected.top1_error
    assert found.top5_error == expected.top5_error
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.images == 23


@pytest.mark.parametrize("batch_size", [2, 8, 32])
def test_two_contexts_find_the_same_as_one(batch_size):
    data = data_set()
    expected, found = run(data, 8), run(data, batch_size, [mx.cpu(0), mx.cpu(1)])
    assert found.top1_error == expected.top1_error
    assert found.top5_error == expected.top5_error
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


def test_both_contexts_are_used():
    devices, seen = [mx.cpu(0), mx.cpu(1)], []
    net = small_net(devices)

    def spy(part):
        seen.append((part.context, len(part)))
        return net(part)

    run(data_set(4), 4, devices, spy)
    assert seen == [(mx.cpu(0), 2), (mx.cpu(1), 2)]


def test_evaluation_changes_nothing_in_the_network():
    net = small_net([mx.cpu()])
    before = {name: value.data().asnumpy() for name, value in net.collect_params().items()}
    run(data_set(), 8, net=net)
    for name, value in net.collect_params().items():
        np.testing.assert_array_equal(value.data().asnumpy(), before[name])


def test_network_that_has_diverged_is_all_errors():
    net = small_net([mx.cpu()])
    net[3].bias.set_data(mx.nd.array([np.nan] * CLASSES))
    found = run(data_set(), 8, net=net)
    assert (found.top1_error, found.top5_error) == (1.0, 1.0)
    assert np.isnan(found.loss)


@pytest.mark.parametrize("size", [2, 3])
def test_parts_add_up_to_the_whole(size):
    data, net = data_set(), small_net([mx.cpu()])
    whole = run(data, 23, net=net)
    found = [evaluated(net, data, Normalisation(MEAN, STD), 4, [mx.cpu()], (rank, size)) for rank in range(size)]
    assert sum(part.images for part in found) == 23
    for name in ("top1_error", "top5_error", "loss"):
        total = sum(getattr(part, name) * part.images for part in found)
        assert total / 23 == pytest.approx(getattr(whole, name), rel=1e-5)


def test_part_without_images_is_empty():
    found = evaluated(small_net([mx.cpu()]), data_set(4), Normalisation(MEAN, STD), 4, [mx.cpu()], (1, 2))
    assert (found.images, found.top1_error, found.loss) == (0, 0.0, 0.0)


# --- Top-k error -----------------------------------------------------------------------------------------------------


def test_error_is_the_share_of_labels_not_among_the_highest():
    scores = np.array([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 2, 0], [0, 3, 1, 2]])
    labels = np.array([0, 0, 0, 0])  # of rank 1, 4, 3, 4
    assert [top_k_error(scores, labels, k) for k in (1, 2, 3, 4)] == [0.75, 0.75, 0.5, 0.0]


def test_labels_are_those_of_their_own_rows():
    scores = np.array([[0.0, 1, 2], [2.0, 1, 0]])
    assert top_k_error(scores, np.array([2, 0]), 1) == 0
    assert top_k_error(scores, np.array([0, 2]), 1) == 1


def test_tie_at_the_edge_counts_against_the_label():
    assert top_k_error(np.array([[1.0, 1.0, 0.0]]), np.array([0]), 1) == 1
    assert top_k_error(np.array([[1.0, 1.0, 0.0]]), np.array([1]), 1) == 1
    assert top_k_error(np.array([[1.0, 1.0, 0.0]]), np.array([0]), 2) == 0
    assert top_k_error(np.zeros((4, 10)), np.arange(4), 5) == 1


def test_order_of_the_classes_does_not_decide_ties():
    scores = np.array([[2.0, 1, 1, 1, 0, 0]])
    for label in (1, 2, 3):
        assert [top_k_error(scores, np.array([label]), k) for k in (1, 2, 3, 4)] == [1, 1, 1, 0]


@pytest.mark.parametrize("where", [0, 1])
def test_row_with_a_score_that_is_no_number_is_an_error(where):
    scores = np.array([[5.0, 1.0], [5.0, 1.0]])
    scores[0, where] = np.nan
    assert top_k_error(scores, np.array([0, 0]), 1) == 0.5
    assert top_k_error(scores, np.array([0, 0]), 2) == 0.5


def test_of_fewer_than_five_classes_all_are_among_the_first_five():
    scores = np.random.default_rng(0).normal(size=(50, 3))
    labels = np.arange(50) % 3
    assert top_k_error(scores, labels, 1) > 0
    assert top_k_error(scores, labels, 5) == 0
    found = run(data_set(classes=3), 8, net=small_net([mx.cpu()], classes=3))
    assert found.top5_error == 0 < found.top1_error


# --- Softmax ---------------------------------------------------------------------------------------------------------


def test_log_softmax_is_the_logarithm_of_the_softmax():
    scores = np.random.default_rng(0).normal(size=(4, 6))
    expected = np.log(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_softmax(scores, axis=-1), expected, rtol=1e-12)


def test_log_softmax_of_large_scores_is_finite():
    np.testing.assert_allclose(
        log_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]]), axis=-1), [[0, -1e4], [-1e4, 0]], atol=1e-9
    )
