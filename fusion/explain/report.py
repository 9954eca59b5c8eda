"""python -m fusion report: all that is known of a run as one HTML file, which opens from disk and loads nothing.

A section is a function from what is known to the parts that are shown; `report_sections.SECTIONS` has them in order.
One that cannot be made, such as fusion maps of a network that adds, says why in its place.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from ..command import log_to_terminal, split_settings
from ..errors import ConfigError, FusionError
from ..inference.images import find_images
from ..inference.shown_names import add_class_names, as_shown
from ..inference.trained import load_run
from ..outputs import written_file
from ..training.logbook import RunDirectory, read_result
from .answers import settings_with
from .output import add_output_file
from .report_facts import Known
from .report_page import Paragraph, Part, Shown, page_as_html
from .report_sections import DENSE_SECTIONS, SECTIONS, Section

logger = logging.getLogger(__name__)

#: Images of --images at the most.
_MOST_FILES = 24

#: What the report's name may end in.
_ENDINGS = (".html", ".htm")


def make_report(known: Known, sections: Sequence[Section] = SECTIONS) -> str:
    """The report as HTML.

    Parameters
    ----------
    known : Known
        What it is about.
    sections : sequence of (str, callable)
        Headings, and what makes the parts below them. If one raises a `FusionError`, the message stands in its place.

    Returns
    -------
    str
        A whole document, which needs no other file.
    """
    return page_as_html(known.title, known.run.path, [_shown(known, *section) for section in sections])


def _shown(known: Known, heading: str, make: Any) -> Shown:
    logger.info("report: %s", heading)
    try:
        parts: Sequence[Part] = make(known)
    except FusionError as error:
        logger.warning("report: left out: %s", error)
        parts = [Paragraph(f"Not shown: {error}", quiet=True)]
    return Shown(heading, parts)


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `report`."""
    parser = commands.add_parser("report")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="the folder of a run")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|average|FILE", help="(default: best)")
    parser.add_argument("--device", default="cpu", help="cpu, gpu, or a GPU's number")
    words = "an image to look at (default: test images); for several, repeat the option or write --images A B"
    parser.add_argument("--images", action="append", default=[], metavar="IMAGE", help=words)
    add_class_names(parser)
    add_output_file(parser, "report.html in the run's folder")
    words = "where the data is now, such as data.dir=PATH; after --images, further words are images"
    parser.add_argument("words", nargs="*", metavar="data.key=value", help=words)
    parser.set_defaults(run_command=_run)


def _settings_and_images(arguments: argparse.Namespace) -> Tuple[List[str], List[str]]:
    """The settings and the images among the words: --images takes one word, and those that set nothing join it."""
    if not arguments.images:
        return arguments.words, []
    settings, images = split_settings(arguments.words)
    return settings, [*arguments.images, *images]


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    words, images = _settings_and_images(arguments)
    run = RunDirectory.existing(arguments.run)
    read_result(run)  # a run without a finished epoch is refused before anything is loaded
    output: Path = arguments.output or run.path / "report.html"
    if output.suffix.lower() not in _ENDINGS:
        raise ConfigError(
            f"--output {output}: the report is HTML; expected a name that ends in {' or '.join(_ENDINGS)}"
        )
    with written_file(output, arguments.force) as aside:
        trained = as_shown(load_run(run.path, arguments.checkpoint, arguments.device), arguments)
        settings = settings_with(trained, words)
        files = find_images(images)[:_MOST_FILES] if images else []
        sections = DENSE_SECTIONS if trained.task.dense else SECTIONS
        aside.write_text(make_report(Known(run, trained, settings, files), sections), encoding="utf-8")
    print(output)
