"""The original program's figures, and the rules by which a parity file's weights and inputs are rebuilt."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from fusion.compat import mx

DATA = Path(__file__).parent / "data"
OUTPUT_TOLERANCE = 1e-7
GRADIENT_TOLERANCE = 1e-5


def files(kind: str) -> List[str]:
    """Names of the parity files of one kind, 'fusion' or 'network'."""
    return [path.stem for path in sorted(DATA.glob("*.json")) if json.loads(path.read_text())["kind"] == kind]


def read(name: str) -> Dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text())


def weight(name: str, shape: Tuple[int, ...]) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if last == "gamma":
        value = rng.uniform(0.5, 1.25, shape)
    elif last == "running_var":
        value = rng.uniform(0.5, 1.5, shape)
    elif last in ("beta", "running_mean", "bias"):
        value = 0.1 * rng.standard_normal(shape)
    else:
        value = 0.9 * rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    return np.asarray(value, dtype=np.float32)


def features(seed: int, shape: Tuple[int, ...]) -> np.ndarray:
    rng = np.random.RandomState(seed)
    value = rng.standard_normal(shape) + 2 * rng.standard_normal((*shape[:2], 1, 1))
    return value.astype(np.float32)


def named_shapes(block: Any) -> List[List[Any]]:
    return [[name, list(p.shape)] for name, p in block._collect_params_with_prefix().items()]


def set_weights(block: Any) -> None:
    """Give a block the weights of the parity rule, as float32."""
    block.initialize()
    for name, parameter in block._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(weight(name, parameter.shape)))


def double(value: np.ndarray) -> Any:
    return mx.nd.array(value.astype(np.float64), dtype="float64")


def assert_sampled(found: np.ndarray, expected: Dict[str, Any], tolerance: float, what: str) -> None:
    """Compare an array with sampled figures, to a fraction of the largest of them."""
    assert found.size == expected["size"], what
    flat = found.reshape(-1).astype(np.float64)
    value = np.asarray(expected["value"])
    atol = tolerance * np.abs(value).max()
    np.testing.assert_allclose(flat[expected["index"]], value, rtol=0, atol=atol, err_msg=what)
    np.testing.assert_allclose(
        [flat.sum(), np.abs(flat).sum()],
        [expected["sum"], expected["abs_sum"]],
        rtol=0,
        atol=tolerance * expected["abs_sum"],
        err_msg=what,
    )


def each_structural(block: Any) -> Iterator[Tuple[str, Any]]:
    yield from block._collect_params_with_prefix().items()
