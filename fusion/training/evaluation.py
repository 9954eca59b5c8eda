"""Error and loss of a network on a test set: every image once, as it is."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..data.augment import Normalisation
from ..data.imageset import DataSet
from ..data.loader import evaluation_batches
from ..devices import contexts
from ..errors import CheckpointError
from . import checkpoint
from .config import read_config
from .logbook import RunDirectory
from .metrics import Evaluation
from .preparation import build_network, build_normalisation, load_split, model_title


def evaluate(
    net: Any,
    data: DataSet,
    normalise: Normalisation,
    batch_size: int,
    devices: Sequence[Any],
    shard: Tuple[int, int] = (0, 1),
) -> Evaluation:
    """Run a network over a test set.

    Parameters
    ----------
    net : Block
        From (B, 3, H, W) to logits (B, classes), on all the devices.
    data : DataSet
        Its images and labels.
    normalise : Normalisation
        What the network was trained with.
    batch_size : int
        Over all devices.
    devices : sequence of Context
        Where it runs.
    shard : tuple of two int
        Rank and size of a process among several, each of which has every so manieth batch; with more processes than
        batches some have no images.
    """
    start = time.perf_counter()
    logits: List[np.ndarray] = []
    targets: List[np.ndarray] = []
    for batch in evaluation_batches(data, normalise, batch_size, shard):
        parts = mx.gluon.utils.split_and_load(mx.nd.array(batch.images), list(devices))
        found = np.concatenate([output.asnumpy() for output in [net(part) for part in parts]])
        logits.append(found[: len(batch.targets)])
        targets.append(batch.targets)
    seconds = time.perf_counter() - start
    if not targets:
        return Evaluation(top1_error=0.0, top5_error=0.0, loss=0.0, images=0, images_per_second=0.0)
    scores, labels = np.concatenate(logits).astype(np.float64), np.concatenate(targets)
    return Evaluation(
        top1_error=top_k_error(scores, labels, 1),
        top5_error=top_k_error(scores, labels, 5),
        loss=float(-log_softmax(scores)[np.arange(len(scores)), labels].mean()),
        images=len(labels),
        images_per_second=len(labels) / seconds,
    )


def top_k_error(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the rows (N, classes) whose label (N,) is not among the k highest scores; a tie counts against it.

    A row with a score that is not a number is an error.
    """
    own = scores[np.arange(len(scores)), labels]
    at_least = (scores >= own[:, None]).sum(axis=1)
    return float(np.mean((at_least > k) | ~np.isfinite(scores).all(axis=1)))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def evaluate_run(run_path: Path, which: str, device: str, overrides: Sequence[str] = ()) -> Dict[str, Any]:
    """Error and loss of a run's network on the run's test set.

    Parameters
    ----------
    run_path : Path
        The folder of a run.
    which : str
        `best`, `last`, `average` (the best averaged weights), or the path of a `.params` file or checkpoint.
    device : str
        As on the command line of training.
    overrides : sequence of str
        Words such as `data.dir=PATH`, where the data has moved.

    Returns
    -------
    dict
        The fields of `Evaluation`, with `model`, `data`, `checkpoint` and `classes`.

    Raises
    ------
    FusionError
        If the run, its checkpoint or its data is missing or does not fit.
    """
    run = RunDirectory.existing(run_path)
    settings = read_config(run.config, overrides)
    devices = contexts(device)
    path = run.weights(which)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected best or last of a run with a finished epoch, or a file")
    test_set = load_split(settings, "test")
    net = build_network(settings, len(test_set.classes))
    checkpoint.load_network(path, net, devices)
    net.hybridize(static_alloc=True, static_shape=True)
    batch_size = settings.data.batch_size * len(devices)
    found = evaluate(net, test_set, build_normalisation(settings), batch_size, devices)
    about = {"model": model_title(settings), "data": test_set.title, "checkpoint": str(path), "classes": net.classes}
    return {**about, **asdict(found)}
