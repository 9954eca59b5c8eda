#!/usr/bin/env python
"""How fast the optimised export of a network is, beside the original formulation of the network, hybridized.

The original formulation is that of benchmarks/fusion_step.py: global average pooling, `broadcast_add` and
`broadcast_mul`, as in the equation. The networks of one size run in one process with the same weights. They take turns,
one call of each per round, and each may use all processors. A ratio is the median of the ratios of all rounds.

    python benchmarks/deployment.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple

import numpy as np
from fusion_step import NaiveAFF

import fusion
from fusion.compat import mx
from fusion.deploy.optimise import load_optimised, optimise, quantise
from fusion.processors import chosen
from fusion.timing import gain, interleave
from fusion.words import counted

#: Model, batch size, and the goal: the smallest ratio that the optimised export should reach.
SIZES = (("aff_resnet32", 1, 1.2), ("aff_resnet32", 32, 1.2), ("aff_resnet50", 1, 1.2))
ORIGINAL, OPTIMISED = "original", "optimised"


def networks(model: str) -> Tuple[Any, Any]:
    """The network in the original formulation and in that of this package, with the same random weights."""
    mx.random.seed(0)
    original, here = fusion.get_model(model, fusion=NaiveAFF.__name__), fusion.get_model(model)
    size = here.input_size
    for net in (original, here):
        net.initialize()
        net(mx.nd.zeros((1, 3, size, size)))
    weights = here._collect_params_with_prefix()
    draw = np.random.default_rng(0)
    for name, parameter in original._collect_params_with_prefix().items():
        if name.endswith(("running_mean", "beta", "bias")):
            weights[name].set_data(mx.nd.array(draw.normal(0, 0.1, parameter.shape)))
        elif name.endswith(("running_var", "gamma")):  # so that a last gamma is not 0
            weights[name].set_data(mx.nd.array(draw.uniform(0.5, 1, parameter.shape)))
        parameter.set_data(weights[name].data())
    return original, here


def call(block: Any, images: Any) -> Callable[[], None]:
    return lambda: block(images).wait_to_read()


def exported(found: Any) -> Any:
    """The network, written to files and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        found.save(Path(folder) / "net")
        return load_optimised(Path(folder) / "net")


def compare(model: str, batch: int, rounds: int, ways: Sequence[str]) -> Dict[str, Tuple[float, float, float]]:
    """For each way: milliseconds per call, ratio to the original formulation, and largest difference from it."""
    original, here = networks(model)
    size = here.input_size
    draw = np.random.default_rng(1)
    images = mx.nd.array(draw.standard_normal((batch, 3, size, size)))
    blocks = {ORIGINAL: original, "here": here, OPTIMISED: exported(optimise(here))}
    if "int8" in ways:
        blocks["int8"] = exported(quantise(here, draw.standard_normal((8, 3, size, size)).astype(np.float32)))
    for block in (original, here):
        block.hybridize(static_alloc=True, static_shape=True)
    expected = original(images).asnumpy()
    gaps = {name: np.abs(block(images).asnumpy() - expected).max() for name, block in blocks.items()}
    times = interleave({name: call(block, images) for name, block in blocks.items()}, rounds)
    largest = np.abs(expected).max()
    return {
        name: (1000 * taken.median, gain(times[ORIGINAL], taken), float(gaps[name] / largest))
        for name, taken in times.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="rounds at each size (default: %(default)s)")
    parser.add_argument("--ways", default="int8", help="also measure int8; '' for none (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"Inference with {counted(chosen().count, 'thread')}, {counted(arguments.rounds, 'round')} in turn")
    print(f"  {'model':<13} {'batch':>5} {'network':<10} {'ms':>8} {'ratio':>6}  differs by")
    missed = 0
    for model, batch, goal in SIZES:
        for name, (milliseconds, ratio, gap) in compare(
            model, batch, arguments.rounds, arguments.ways.split(",")
        ).items():
            verdict = ""
            if name == OPTIMISED:
                met = ratio >= goal and gap <= 1e-4
                missed += not met
                verdict = f"  goal of {goal} {'met' if met else 'missed'}"
            print(
                f"  {model:<13} {batch:>5} {name:<10} {milliseconds:>8.1f} {ratio:>6.2f}  {gap:.0e}{verdict}",
                flush=True,
            )
    print("every goal is met" if not missed else f"{missed} of {len(SIZES)} goals are missed")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
