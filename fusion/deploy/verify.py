"""Whether an export computes what its network computes.

As a program, python -m fusion.deploy.verify SYMBOL PARAMS INPUTS OUTPUTS, this module is the fresh process that answers
by MXNet's own `SymbolBlock.imports`: it knows nothing of the network but its two files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Mapping, Sequence

import numpy as np

from ..compat import mx
from ..errors import ExportError

#: The largest difference that an export may have from its network, as a share of the largest output.
TOLERANCE = 1e-4

_ROOT = Path(__file__).resolve().parents[2]


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two answers, as a share of the largest expected output.

    Parameters
    ----------
    found, expected : ndarray
        The answers.

    Returns
    -------
    float
        Infinity if the shapes differ, or if either array holds a NaN or an infinity.
    """
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    largest = float(np.abs(expected).max())
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    return difference / largest if largest else (0.0 if difference == 0 else float("inf"))


def differences(
    title: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], allowed: float = TOLERANCE
) -> Dict[str, float]:
    """How far an export is from its network, for each batch of inputs.

    Parameters
    ----------
    title : str
        The kind of export, for the message.
    found, expected : mapping of str to ndarray
        The answers of the export and of the network, by the same names of batches.
    allowed : float
        The largest difference that is none.

    Returns
    -------
    dict of str to float
        The relative difference by the name of the batch.

    Raises
    ------
    ExportError
        If one is more than that.
    """
    shares = {name: relative_difference(found[name], expected[name]) for name in expected}
    name, worst = max(shares.items(), key=lambda item: item[1])
    if not worst <= allowed:
        raise ExportError(
            f"the {title} export does not compute what the network does: on {name} it differs by {worst:.2e} of the "
            f"largest output; expected at most {allowed:g}. Nothing was written"
        )
    return shares


def run_symbol(symbol: Path, parameters: Path, batches: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """What MXNet answers in a fresh process.

    Parameters
    ----------
    symbol, parameters : Path
        The files that `SymbolBlock.imports` reads.
    batches : mapping of str to ndarray
        Batches of inputs, by names that the caller chooses.

    Returns
    -------
    dict of str to ndarray
        The outputs by the same names.

    Raises
    ------
    ExportError
        If the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(inputs, **batches)
        command = [sys.executable, "-m", "fusion.deploy.verify", *map(str, (symbol, parameters, inputs, outputs))]
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            last = (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise ExportError(f"{symbol.name}: a fresh process cannot run it: {last}")
        with np.load(str(outputs)) as stored:
            return {name: stored[name] for name in stored.files}


def main(words: Sequence[str]) -> None:
    """Answer the batches of a file by an exported network."""
    symbol, parameters, inputs, outputs = words
    net = mx.gluon.SymbolBlock.imports(symbol, ["data"], parameters)
    with np.load(inputs) as stored:
        answers = {name: net(mx.nd.array(stored[name], dtype=stored[name].dtype)).asnumpy() for name in stored.files}
    np.savez(outputs, **answers)


if __name__ == "__main__":
    main(sys.argv[1:])
