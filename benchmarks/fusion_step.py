#!/usr/bin/env python
"""How long a training step takes: AFF here against the formula written naively, and beside the other fusion blocks.

All candidates are timed in one process and take turns after each step, so that a busy machine slows all of them
equally. The figures are medians; only the ratios are meaningful.

    python benchmarks/fusion_step.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

import fusion
from fusion.compat import HybridBlock, mx, nn
from fusion.fuse import register
from fusion.models.normalisation import use_norm_layer

#: Blocks per stage, channel_times, batch size, and the goal: the smallest ratio that should be reached.
SIZES = ((1, 1, 128, 1.5), (5, 4, 32, 1.2))
BLOCKS = ("add", "se", "sk", "aff", "iaff")
#: The goal for each of `SIZES`: the longest step of a block, as a multiple of the step with addition.
MOST = {"aff": (1.7, 1.28), "iaff": (2.3, 1.5)}
#: The goal: the longest step with group norm throughout, as a multiple of the step with batch norm.
MOST_OF_GROUP_NORM = 2.0
_WARM_UP = 2


class NaiveAFF(HybridBlock):
    """AFF as in its equation and in the original program, with the operators that are the first choice for it."""

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.local_att = self._branch(channels, r)
            self.global_att = self._branch(channels, r, nn.GlobalAvgPool2D())

    @staticmethod
    def _branch(channels: int, r: int, *first: Any) -> Any:
        branch = nn.HybridSequential()
        branch.add(
            *first,
            nn.Conv2D(channels // r, kernel_size=1, in_channels=channels),
            nn.BatchNorm(in_channels=channels // r),
            nn.Activation("relu"),
            nn.Conv2D(channels, kernel_size=1, in_channels=channels // r),
            nn.BatchNorm(in_channels=channels),
        )
        return branch

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        both = x + residual
        weight = F.sigmoid(F.broadcast_add(self.local_att(both), self.global_att(both)))
        return 2 * F.broadcast_mul(x, weight) + 2 * F.broadcast_mul(residual, 1 - weight)


class Candidate:
    """A network with its optimizer, ready for training steps on one batch."""

    def __init__(self, block: str, blocks: int, channel_times: int, batch: int, norm_layer: str = "batch") -> None:
        self.net = fusion.get_model("cifar_resnet", fusion=block, blocks=blocks, channel_times=channel_times)
        use_norm_layer(self.net, norm_layer)
        mx.random.seed(0)
        self.net.initialize()
        self.net.hybridize(static_alloc=True, static_shape=True)
        arguments = {"learning_rate": 0.01, "momentum": 0.9, "wd": 1e-4}
        self.trainer = mx.gluon.Trainer(self.net.collect_params(), "nag", arguments, update_on_kvstore=False)
        self.loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        draw = np.random.default_rng(0)
        self.images = mx.nd.array(draw.standard_normal((batch, 3, 32, 32)))
        self.labels = mx.nd.array(draw.integers(100, size=batch))
        self.seconds: List[float] = []

    def step(self) -> None:
        """Take one step (forward, backward, update), and note its duration."""
        start = time.perf_counter()
        with mx.autograd.record():
            loss = self.loss(self.net(self.images), self.labels)
        loss.backward()
        self.trainer.step(len(self.images))
        mx.nd.waitall()
        self.seconds.append(time.perf_counter() - start)

    @property
    def milliseconds(self) -> float:
        """The median over all steps but the first two, which compile the network and allocate memory."""
        return 1000 * statistics.median(self.seconds[_WARM_UP:])

    def training_output(self) -> np.ndarray:
        """The logits with the statistics of the batch; nothing is updated."""
        with mx.autograd.train_mode():
            return self.net(self.images).asnumpy()


def interleave(steps: Sequence[Callable[[], None]], count: int) -> None:
    """Take `count` steps of each candidate; the candidates take turns after each step."""
    for _ in range(count + _WARM_UP):
        for step in steps:
            step()


def milliseconds_in_process(size: Sequence[int], steps: int, environment: Mapping[str, str]) -> float:
    """Milliseconds per AFF step in a process of its own, for settings that are fixed once per process.

    Parameters
    ----------
    size : sequence of int
        Blocks per stage, channel_times and batch size.
    steps : int
        How many steps are measured.
    environment : mapping of str to str
        All environment variables of the process.
    """
    command = [sys.executable, __file__, "--alone", *map(str, size), "--steps", str(steps)]
    done = subprocess.run(command, env=dict(environment), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def difference(one: Candidate, other: Candidate) -> float:
    """The largest difference of two networks' outputs with the same weights, as a fraction of the largest output."""
    weights = one.net._collect_params_with_prefix()
    for name, parameter in other.net._collect_params_with_prefix().items():
        parameter.set_data(weights[name].data())
    expected, found = one.training_output(), other.training_output()
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def compare_with_naive(count: int) -> List[Dict[str, float]]:
    """Compare a step of the whole network with AFF of this package and with naive AFF, at each of `SIZES`."""
    register()(NaiveAFF)  # only here, so that a program that imports this file has the usual list of blocks
    print("A training step of the CIFAR AFF network (ResNet), AFF naive against AFF here")
    titles = (("blocks", 6), ("channel_times", 13), ("batch", 5), ("naive", 9), ("here", 9), ("ratio", 6), ("goal", 5))
    print("  " + " ".join(title.rjust(width) for title, width in titles) + "  equal to")
    rows = []
    for blocks, channel_times, batch, goal in SIZES:
        naive, here = (Candidate(block, blocks, channel_times, batch) for block in ("NaiveAFF", "aff"))
        gap = difference(naive, here)
        interleave([naive.step, here.step], count)
        ratio = naive.milliseconds / here.milliseconds
        print(
            f"  {blocks:>6} {channel_times:>13} {batch:>5} {naive.milliseconds:>6.0f} ms {here.milliseconds:>6.0f} ms "
            f"{ratio:>6.2f} {goal:>5}  {gap:.0e}",
            flush=True,
        )
        rows.append({"ratio": ratio, "goal": goal, "difference": gap})
    return rows


def compare_blocks(count: int) -> int:
    """Compare a step of the whole network with each of `BLOCKS`; return how many goals of `MOST` are missed."""
    print("A training step by fusion block, and its time as a multiple of addition's")
    missed = 0
    for number, (blocks, channel_times, batch, _) in enumerate(SIZES):
        candidates = {block: Candidate(block, blocks, channel_times, batch) for block in BLOCKS}
        interleave([candidate.step for candidate in candidates.values()], count)
        base = candidates["add"].milliseconds
        cells = (f"{block} {c.milliseconds:.0f} ms (×{c.milliseconds / base:.2f})" for block, c in candidates.items())
        print(f"  blocks={blocks}, channel_times={channel_times}, batch {batch}:  {',  '.join(cells)}", flush=True)
        for block, most in MOST.items():
            met = candidates[block].milliseconds / base <= most[number]
            missed += not met
            print(f"    {block}: goal of at most {most[number]} {'met' if met else 'missed'}")
    return missed


def compare_norms(count: int) -> int:
    """Compare a step of the AFF network with group norm and with batch norm; return how many goals are missed."""
    print("A training step of the AFF network with group norm throughout, and its time as a multiple of batch norm's")
    missed = 0
    for blocks, channel_times, batch, _ in SIZES:
        group, base = (Candidate("aff", blocks, channel_times, batch, norm) for norm in ("group", "batch"))
        interleave([group.step, base.step], count)
        ratio = group.milliseconds / base.milliseconds
        missed += ratio > MOST_OF_GROUP_NORM
        verdict = "met" if ratio <= MOST_OF_GROUP_NORM else "missed"
        print(
            f"  blocks={blocks}, channel_times={channel_times}, batch {batch}:  {group.milliseconds:.0f} ms against "
            f"{base.milliseconds:.0f} ms (×{ratio:.2f}), goal of at most {MOST_OF_GROUP_NORM} {verdict}",
            flush=True,
        )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=15, help="steps of each candidate at each size (default: 15)")
    parser.add_argument("--alone", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        candidate = Candidate("aff", *arguments.alone)
        interleave([candidate.step], arguments.steps)
        print(candidate.milliseconds)
        return 0
    rows = compare_with_naive(arguments.steps)
    missed = sum(row["ratio"] < row["goal"] or row["difference"] > 1e-4 for row in rows)
    missed += compare_blocks(arguments.steps) + compare_norms(arguments.steps)
    goals = len(rows) + (len(MOST) + 1) * len(SIZES)
    print("every goal is met" if not missed else f"{missed} of {goals} goals are missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
