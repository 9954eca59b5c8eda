"""Calibration: the error of Guo et al. as their definition has it, the likelihood as NumPy has it, and the diagram."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fusion.data import load_dataset
from fusion.explain.answers import Answers, answer_all
from fusion.explain.calibration import BINS, calibrate, calibration_in_words, draw_reliability, write_calibration
from fusion.inference.trained import load_pretrained


def answers(confidence, right, losses=None):
    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    return Answers(np.zeros(len(right), int), np.where(right, 0, 1), confidence, ("a", "b"), losses)


def directly(confidence, right, bins):
    """Equation 3 of arXiv 1706.04599, bin by bin."""
    total = 0.0
    for number in range(1, bins + 1):
        inside = [place for place, share in enumerate(confidence) if (number - 1) / bins < share <= number / bins]
        if inside:
            accuracy = np.mean([right[place] for place in inside])
            total += len(inside) / len(confidence) * abs(accuracy - np.mean([confidence[place] for place in inside]))
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [1, 10, BINS])
def test_error_is_that_of_the_definition(seed, bins):
    draw = np.random.default_rng(seed)
    confidence, right = draw.uniform(0.1, 1, 500), draw.random(500) < 0.7
    found = calibrate(answers(confidence, right), bins)
    assert found.error == pytest.approx(directly(confidence, right, bins), rel=1e-12)
    assert found.counts.sum() == 500


def test_ends_of_bins_belong_to_the_bin_below():
    found = calibrate(answers([0.25, 0.5, 0.75, 1.0, 1.0], [True] * 5), 4)
    assert found.counts.tolist() == [1, 1, 1, 2]


def test_network_that_is_as_sure_as_right_has_no_error():
    assert calibrate(answers([0.75] * 4, [True, True, True, False])).error == pytest.approx(0)
    assert calibrate(answers([1.0] * 4, [False] * 4)).error == 1


def test_likelihood_is_that_of_the_networks_logits():
    trained, data = load_pretrained("aff_resnet8_digits"), load_dataset("digits", "test")
    found = answer_all(trained, data)
    logits = []
    for images, _ in data.in_order(64):
        logits.append(trained.net(__import__("mxnet").nd.array(trained.preparation.normalise(images))).asnumpy())
    scores = np.concatenate(logits).astype(np.float64)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert found.mean_loss == pytest.approx(-np.mean(np.log(shares[np.arange(len(data)), data.labels])), rel=1e-6)
    np.testing.assert_allclose(found.confidence, shares.max(axis=1), rtol=1e-6)


def test_figures_are_written_and_drawn(tmp_path, figures):
    draw = np.random.default_rng(0)
    own = answers(draw.uniform(0.4, 1, 300), draw.random(300) < 0.8, draw.random(300))
    found = calibrate(own)
    write_calibration(found, tmp_path / "calibration.csv")
    with (tmp_path / "calibration.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == BINS
    assert [row["images"] for row in rows] == [str(count) for count in found.counts]
    assert rows[0]["accuracy"] == ""
    assert float(rows[-1]["accuracy"]) == found.accuracy[-1]
    draw_reliability(own, found, "a model on data", tmp_path / "calibration.png")
    upper, lower = figures[-1].axes
    bars = [bar.get_height() for bar in upper.containers[0]]
    np.testing.assert_allclose(bars, 100 * found.accuracy[found.counts > 0])
    heights = [line[0][1] for line in upper.collections[0].get_segments()]
    np.testing.assert_allclose(heights, 100 * found.confidence[found.counts > 0])
    assert sum(bar.get_height() for bar in lower.containers[0]) == pytest.approx(100)
    words = calibration_in_words(own, found)
    assert f"expected error {100 * found.error:.2f} % (15 bins)" in words
    assert f"negative log-likelihood {own.mean_loss:.4f}" in words
