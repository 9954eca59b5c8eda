"""Run directories as training leaves them, made without training."""

from __future__ import annotations

import csv
import json

from classified import COLUMNS

from fusion.compat import mx
from fusion.training.config import read_config, to_yaml
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_network


def write_run(path, config, errors, words=(), **facts):
    """A run with these top-1 errors in percent, one per epoch, None where it was not evaluated.

    `facts` go over those of a CIFAR-10 run.
    """
    path.mkdir(parents=True)
    settings = read_config(config, list(words))
    (path / "config.yaml").write_text(to_yaml(settings))
    if not errors:
        return path
    with (path / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for epoch, error in enumerate(errors, start=1):
            row = {**dict.fromkeys(COLUMNS, 0.5), "epoch": epoch}
            measured = [name for name in COLUMNS if name.startswith("val_")]
            row.update(dict.fromkeys(measured, "") if error is None else {"val_top1_error": error / 100})
            writer.writerow(row)
    known = {"model": settings.model.name, "data": "CIFAR-10", "classes": 10, "parameters": 84066}
    known.update(train_images=50_000, test_images=10_000, epochs=len(errors))
    known.update({which: {"epoch": len(errors)} for which in ("best", "last")})
    (path / "result.json").write_text(json.dumps({**known, **facts}))
    return path


def write_network(path, words, classes, seed=0):
    """A run whose best weights are those that a network starts with, as if it had been trained; no data set is read."""
    settings = read_config(None, list(words))
    run = RunDirectory(path)
    run.create(settings)
    run.let_go()
    run.write_classes(classes)
    mx.random.seed(seed)
    net = build_network(settings, len(classes))
    net.initialize()
    net(mx.nd.zeros((1, 3, settings.data.size, settings.data.size)))
    net.save_parameters(str(run.best))
    return path
