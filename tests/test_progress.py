"""What the lines of an epoch say."""

from __future__ import annotations

import logging
import math
import re

import pytest

from fusion.progress import EpochProgress


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "fusion")
    with EpochProgress("images: epoch 1/2", 0, 4, 8, log_every=1) as progress:
        for loss in (math.nan, 2.5, 1.25, 1.0):
            progress.advance(loss)
    return caplog.messages


def test_line_per_batch_but_the_last_has_loss_rate_and_time_left(said):
    assert len(said) == 3
    line = r"images: epoch 1/2, batch 2/4: loss 2\.5000, \d+ images/s, \d+ s left of the epoch"
    assert re.fullmatch(line, said[1]), said[1]


def test_loss_that_no_step_has_told_yet_is_left_out(said):
    assert re.fullmatch(r"images: epoch 1/2, batch 1/4: \d+ images/s, \d+ s left of the epoch", said[0]), said[0]
