"""python -m fusion prepare: data sets that are made from others, once, before training."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..errors import DataError
from ..machine import processors
from ..outputs import check_place

#: From the arguments and the number of threads to the reports of the parts.
Preparation = Callable[[argparse.Namespace, int], List[Any]]


class Recipe(NamedTuple):
    """How one data set is made.

    Attributes
    ----------
    needed, others : tuple of str
        Its own options.
    run : callable
        Makes it.
    words : callable
        From the report of a part to the lines that are printed.
    """

    needed: Tuple[str, ...]
    others: Tuple[str, ...]
    run: Preparation
    words: Callable[[Any], List[str]]


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `prepare`."""
    parser = commands.add_parser("prepare")
    parser.add_argument(
        "data", choices=tuple(_RECIPES), help="photos as records, or stop signs with their masks from COCO"
    )
    parser.add_argument("--target", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="imagenet: holds train and val, or the official archives"
    )
    parser.add_argument(
        "--val-classes",
        type=Path,
        metavar="FILE",
        help="imagenet: a photo and its class per line, where val is one flat folder",
    )
    parser.add_argument("--coco", type=Path, metavar="DIR", help="stopsign: holds annotations, train2017 and val2017")
    parser.add_argument(
        "--least-area",
        type=float,
        metavar="N",
        help="stopsign: an image is taken if it has a stop sign of at least so many pixels (default: 1024)",
    )
    parser.add_argument("--workers", type=int, help="threads (default: one per processor)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    workers = processors() if arguments.workers is None else arguments.workers
    if workers < 1:
        raise DataError(f"--workers {workers}: expected at least 1")
    recipe = _RECIPES[arguments.data]
    _check_options(arguments, recipe)
    check_place(arguments.target, "--target")
    reports = recipe.run(arguments, workers)
    if arguments.json:
        print(json.dumps({report.part: asdict(report) for report in reports}))
        return
    for report in reports:
        print("\n".join(recipe.words(report)))


def _check_options(arguments: argparse.Namespace, recipe: Recipe) -> None:
    """Refuse an option that is missing, and one that is for another data set."""
    for name in recipe.needed:
        if getattr(arguments, name) is None:
            raise DataError(f"prepare {arguments.data} needs --{name} DIR: see python -m fusion prepare --help")
    for other, others in _RECIPES.items():
        for name in {*others.needed, *others.others} - {*recipe.needed, *recipe.others}:
            if getattr(arguments, name) is not None:
                option = name.replace("_", "-")
                raise DataError(
                    f"--{option} is for prepare {other}, and this is prepare {arguments.data}: leave it out"
                )


def _imagenet(arguments: argparse.Namespace, workers: int) -> List[Any]:
    from .photos.prepare import prepare

    return list(prepare(arguments.source, arguments.target, arguments.val_classes, workers))


def _imagenet_words(report: Any) -> List[str]:
    return [
        f"{report.records}: {report.images:,} photos of {report.classes:,} classes",
        f"  {report.left_out:,} left out, {report.remarked:,} others with a remark",
        *(f"  {line}" for line in report.examples),
    ]


def _stopsign(arguments: argparse.Namespace, workers: int) -> List[Any]:
    from .masks.stopsign import LEAST_AREA, prepare

    least = LEAST_AREA if arguments.least_area is None else arguments.least_area
    if not least >= 0:
        raise DataError(f"--least-area {least:g}: expected pixels, at least 0")
    return list(prepare(arguments.coco, arguments.target, least, workers))


def _stopsign_words(report: Any) -> List[str]:
    return [
        f"{report.part}.txt: {report.images:,} images with {report.signs:,} stop signs and {report.crowds:,} crowds",
        f"  {100 * report.target_share:.2f} % of the pixels are a stop sign",
        f"  {report.small_only:,} images with only smaller stop signs left out",
    ]


_RECIPES: Dict[str, Recipe] = {
    "imagenet": Recipe(("source",), ("val_classes",), _imagenet, _imagenet_words),
    "stopsign": Recipe(("coco",), ("least_area",), _stopsign, _stopsign_words),
}
