"""The page of a report: the parts that sections are made of, and the template that turns them into HTML."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Sequence

from .. import __version__
from ..printing import printable

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Part:
    """A part of a section; `kind` says to the template how it is shown."""

    kind = ""


@dataclass(frozen=True)
class Paragraph(Part):
    """A paragraph of plain text, in a quieter colour where it says that something is not shown."""

    text: str
    quiet: bool = False
    kind = "paragraph"


@dataclass(frozen=True)
class Bullets(Part):
    """A list of lines."""

    lines: Sequence[str]
    kind = "bullets"


@dataclass(frozen=True)
class Table(Part):
    """A table whose first column names the rows."""

    rows: Sequence[Sequence[str]]
    heading: Sequence[str] = ()
    kind = "table"


@dataclass(frozen=True)
class Preformatted(Part):
    """Text whose lines and columns stay as they are; with a summary, it is folded away below that."""

    text: str
    summary: str = ""
    kind = "preformatted"


@dataclass(frozen=True)
class Picture(Part):
    """A picture, PNG in base 64, with a caption that also stands for it where it cannot be seen."""

    data: str
    words: str
    kind = "picture"


@dataclass(frozen=True)
class Shown:
    """A section as it is shown."""

    heading: str
    parts: Sequence[Part]


def picture(draw: Callable[[Path], Any], words: str) -> Picture:
    """A picture inside of the page.

    Parameters
    ----------
    draw : callable
        Draws to the path that it is given.
    words : str
        The caption.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        return Picture(base64.b64encode(path.read_bytes()).decode("ascii"), words)


def parts_as_html(parts: Sequence[Part]) -> str:
    """Parts as a piece of HTML."""
    return str(_template().show_all(parts))


def page_as_html(title: str, run: Path, sections: Sequence[Shown]) -> str:
    """A whole document, which needs no other file.

    Parameters
    ----------
    title : str
        What the report is about.
    run : Path
        The folder of the run.
    sections : sequence of Shown
        In the order of the page.
    """
    return str(_template().page(title, run, __version__, sections)).lstrip()


@lru_cache(maxsize=None)
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_shown)
    return environment.get_template(_TEMPLATE).module


def _shown(value: Any) -> Any:
    """A value of the page without control characters; what the template has made of values already is left alone."""
    return value if hasattr(value, "__html__") else printable(str(value))
