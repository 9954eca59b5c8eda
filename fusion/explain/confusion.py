"""python -m fusion confusion: which classes a network confuses, how good each is, and how true its confidence."""

from __future__ import annotations

import argparse
import csv
import json
import math
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

from ..command import log_to_terminal
from ..inference.shown_names import add_class_names
from ..inference.source import add_source, from_arguments
from ..inference.trained import Trained
from ..outputs import written_folder
from ..words import counted
from .answers import Answers, Pair, answer_all, format_pairs, settings_with
from .by_class import format_classes, write_classes
from .calibration import Calibration, calibrate, calibration_in_words, draw_reliability, write_calibration
from .confusion_picture import draw_confused_pairs, draw_confusion
from .output import add_output
from .pixels import PixelAnswers, answer_all_pixels


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `confusion`."""
    parser = commands.add_parser("confusion")
    add_source(parser)
    add_class_names(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_output(parser)
    parser.add_argument("settings", nargs="*", metavar="data.key=value", help="where the data is now")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    with written_folder(arguments.output, arguments.force) as folder:
        trained = from_arguments(arguments)
        data = trained.load_split(settings_with(trained, arguments.settings), "test")
        if trained.task.dense:
            _confuse_pixels(trained, data, folder, arguments)
            return
        answers = answer_all(trained, data)
        title = f"{trained.model} on {data.title}"
        pairs = answers.pairs()
        draw_confusion(answers, title, folder / "confusion.png")
        if pairs:
            draw_confused_pairs(answers, data, title, folder / "confused_pairs.png")
        _write_matrix(answers, folder / "confusion.csv")
        figures, calibration = answers.by_class(), calibrate(answers)
        write_classes(figures, folder / "by_class.csv")
        write_calibration(calibration, folder / "calibration.csv")
        draw_reliability(answers, calibration, title, folder / "calibration.png")
        written = sorted(path.name for path in folder.iterdir())
    if arguments.json:
        print(json.dumps({**_describe(answers, pairs, arguments.output), **_measures(answers, calibration)}))
        return
    print(f"{title}: {100 * answers.error:.2f} % error on {counted(len(answers.labels), 'image')}")
    print(format_pairs(answers, pairs) or "no wrong answer")
    print(f"\n{format_classes(figures, answers.unit)}\n\n{calibration_in_words(answers, calibration)}")
    print(f"{arguments.output}: {', '.join(written)}")


def _confuse_pixels(trained: Trained, data: Any, folder: Path, arguments: argparse.Namespace) -> None:
    """The same of a network that answers each pixel."""
    found = answer_all_pixels(trained, data)
    title = f"{trained.model} on {data.title}"
    draw_confusion(found, title, folder / "confusion.png")
    _write_matrix(found, folder / "confusion.csv")
    write_classes(found.by_class(), folder / "by_class.csv")
    if arguments.json:
        about = {"output": str(arguments.output), "images": found.images, "classes": list(found.classes)}
        ious = {name: None if math.isnan(iou) else iou for name, iou in found.ious.items()}
        by_class = [each.plain() for each in found.by_class()]
        print(json.dumps({**about, "matrix": found.matrix().tolist(), "iou": ious, "by_class": by_class}))
        return
    print(f"{title}: {found.about}\n{found.table()}\n{arguments.output}: by_class.csv, confusion.csv, confusion.png")


def _write_matrix(answers: Union[Answers, PixelAnswers], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["class", *answers.classes])
        writer.writerows([name, *row] for name, row in zip(answers.classes, answers.matrix().tolist()))


def _measures(answers: Answers, calibration: Calibration) -> Dict[str, Any]:
    """The figures of each class and of the confidence, in plain types."""
    about = {"ece": calibration.error, "negative_log_likelihood": answers.mean_loss, "bins": calibration.bins()}
    return {"by_class": [each.plain() for each in answers.by_class()], "calibration": about}


def _describe(answers: Answers, pairs: Sequence[Pair], output: Optional[Path]) -> Dict[str, Any]:
    named = [
        {"class": answers.classes[pair.label], "answer": answers.classes[pair.answer], "count": pair.count}
        for pair in pairs
    ]
    about = {"error": answers.error, "images": len(answers.labels), "classes": list(answers.classes)}
    return {"output": str(output), **about, "matrix": answers.matrix().tolist(), "pairs": named}
