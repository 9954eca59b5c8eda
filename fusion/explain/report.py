"""python -m fusion report: all that is known of a run as one HTML file, which opens from disk and loads nothing.

A section is a function from what is known to a piece of HTML; `SECTIONS` has them in order. One that cannot be made,
such as fusion maps of a network that adds, says why in its place.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from .. import __version__
from ..command import log_to_terminal
from ..compat import mx
from ..data.imageset import DataSet
from ..errors import DataError, FusionError
from ..inference.images import find_images, read_batches, report_unreadable
from ..inference.trained import Trained, load_run
from ..published.compare import compare, read_run, refusal, same_network
from ..published.rows import ROWS, Row
from ..training.config import to_yaml
from ..training.curves import draw_training_curves
from ..training.history import History
from ..training.logbook import RunDirectory, read_result
from ..training.preparation import load_split
from ..training.settings import Settings
from .browse import draw_fed_images
from .confusion import Answers, answer_all, draw_confused_pairs, draw_confusion, format_pairs, settings_with
from .fusion_maps import format_distributions, fusion_maps, weight_distribution
from .gradcam import default_layer
from .gradcam_command import SheetRow, draw_grad_cam_sheet, image_name, look_at
from .layers import stages
from .maps_command import draw_fusion_maps, draw_weight_distribution, last_of_stages
from .output import add_output_file, written_file

logger = logging.getLogger(__name__)

#: Test images in the sections that look at some, the most of --images, and test images behind a distribution.
_IMAGES, _MOST_FILES, _WEIGHED = 6, 24, 300


@dataclass
class Known:
    """What a report is about.

    Attributes
    ----------
    run : RunDirectory
        The run.
    trained : Trained
        Its network.
    settings : Settings
        Of the run, with its data where it is now.
    files : list of Path
        Images to look at in place of test images.
    """

    run: RunDirectory
    trained: Trained
    settings: Settings
    files: List[Path] = field(default_factory=list)

    @cached_property
    def result(self) -> Dict[str, Any]:
        """Its result.json."""
        return read_result(self.run)

    @cached_property
    def history(self) -> History:
        """Its finished epochs."""
        return self.run.history()

    @cached_property
    def data(self) -> DataSet:
        """Its test set.

        Raises
        ------
        DataError
            If it is not there.
        """
        try:
            return load_split(self.settings, "test")
        except DataError as error:
            raise DataError(f"the run's data is needed: {error}. Say where it is now with data.dir=PATH") from None

    @cached_property
    def answers(self) -> Answers:
        """Of the network on the whole test set."""
        return answer_all(self.trained, self.data)

    @cached_property
    def pictures(self) -> Tuple[np.ndarray, List[str]]:
        """Images to look at, (n, H, W, 3) uint8 as the network is shown them, with their names.

        Raises
        ------
        DataError
            If there is none.
        """
        return _read_files(self) if self.files else _one_a_class(self.data)

    @property
    def title(self) -> str:
        """Model and data set."""
        return f"{self.trained.model} on {self.result['data']}"


def _read_files(known: Known) -> Tuple[np.ndarray, List[str]]:
    (batch,) = read_batches(known.files, known.trained.preparation, len(known.files))
    report_unreadable(batch.unreadable)
    if not batch.files:
        raise DataError(f"none of the {len(known.files)} images of --images can be read")
    return batch.images, [image_name(file) for file in batch.files]


def _one_a_class(data: DataSet) -> Tuple[np.ndarray, List[str]]:
    """The first test image of each of the first classes."""
    found: Dict[int, np.ndarray] = {}
    wanted = min(_IMAGES, len(data.classes))
    for images, labels in data.in_order(1):
        if int(labels[0]) < wanted:
            found.setdefault(int(labels[0]), images[0])
        if len(found) == wanted:
            break
    if not found:
        raise DataError(f"{data.title}: no test image of the first {wanted} classes")
    labels_found = sorted(found)
    return np.stack([found[label] for label in labels_found]), [data.classes[label] for label in labels_found]


# --- Pieces of HTML --------------------------------------------------------------------------------------------------


def table(rows: Iterable[Sequence[Any]], heading: Sequence[str] = ()) -> str:
    """A table whose first column names the rows."""
    cells = "".join(f'<th scope="col">{escape(word)}</th>' for word in heading)
    body = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>{"".join(f"<td>{escape(str(cell))}</td>" for cell in rest)}</tr>'
        for name, *rest in rows
    )
    head = f"<thead><tr>{cells}</tr></thead>" if heading else ""
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Text whose lines and columns stay as they are."""
    return f"<pre>{escape(text)}</pre>"


def picture(draw: Callable[[Path], Any], words: str) -> str:
    """A picture inside of the page.

    Parameters
    ----------
    draw : callable
        Writes a PNG to the path that it is given.
    words : str
        Its caption, which also stands for it where it cannot be seen.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        draw(path)
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = escape(words)
    source = f'src="data:image/png;base64,{data}"'
    return f'<figure><img {source} alt="{text}"><figcaption>{text}</figcaption></figure>'


# --- Sections --------------------------------------------------------------------------------------------------------


def result_section(known: Known) -> str:
    """Best and last epoch, and how long it took."""
    result, settings = known.result, known.settings
    done, planned = result["epochs"], settings.train.epochs
    columns = [result["best"], result["last"]]
    keys = (
        ("epoch", "epoch", "{:.0f}", 1),
        ("top-1 error on the test set", "val_top1_error", "{:.2f} %", 100),
        ("accuracy", "val_top1_error", "{:.2f} %", -100),
        ("top-5 error", "val_top5_error", "{:.2f} %", 100),
        ("cross-entropy on the test set", "val_loss", "{:.4f}", 1),
        ("training loss", "train_loss", "{:.4f}", 1),
    )
    rows = []
    for name, key, form, scale in keys:
        values = [row[key] for row in columns]
        rows.append((name, *(form.format(100 * (1 - v) if scale < 0 else scale * v) for v in values)))
    seconds = sum(row["seconds"] for row in known.history.rows)
    facts = [
        ("network", f"{result['model']}, {result['parameters']:,} parameters"),
        ("data", f"{result['data']}, {result['classes']:,} classes"),
        ("images", f"{result['train_images']:,} to train, {result['test_images']:,} to test"),
        ("epochs", f"{done} of {planned}" + ("" if done == planned else ": the run is not finished")),
        ("time", f"{seconds / 60:.1f} min, {seconds / done:.1f} s an epoch, evaluation included"),
        ("weights in the pictures", known.trained.file.name),
    ]
    note = known.history.task.best_note
    note = note[0].upper() + note[1:]
    return table(facts) + table(rows, ("", "best epoch", "last epoch")) + paragraph(f"{note}.")


def published_section(known: Known) -> str:
    """The run beside the published row of its network and data; the figures on its data where there is none."""
    own = read_run(known.run.path)
    comparable = [row for row in ROWS if refusal(own, row) is None]
    same = [row for row in comparable if row.curve and same_network(own, row)]
    if same:
        return "".join(_beside(row, own) for row in same)
    if not comparable:
        return paragraph("No published figure is on these images and classes: none compares with this run.")
    words = (
        "No published row is of this network. On the same test set were published, as the best epoch of much longer "
        f"training; this run's network has {known.result['parameters'] / 1e6:.2f} M parameters:"
    )
    rows = [(row.title, row.figure, _size(row), row.measured) for row in comparable]
    return paragraph(words) + table(rows, ("network", "published", "parameters", "measured"))


def _size(row: Row) -> str:
    return f"{row.parameters / 1e6:.2f} M" if row.parameters else row.size_published or "–"


def _beside(row: Row, own: Any) -> str:
    from ..published.picture import draw_comparison

    found = compare(row, own)
    words = f"{row.title}, published as {row.figure}: the run is {found.verdict}."
    drawn = picture(lambda path: draw_comparison(found, path), f"This run and {row.title} as published, by epoch")
    differing = "".join(f"<li>{escape(line)}</li>" for line in found.differences)
    notes = f"{paragraph('What is unlike in them:')}<ul>{differing}</ul>" if differing else ""
    return paragraph(words) + paragraph(row.produced) + drawn + notes


def curves_section(known: Known) -> str:
    """The run's own curves."""
    best = known.history.task.headline.best(known.history.evaluated)
    words = f"Error, loss and learning rate, epoch by epoch; the best is epoch {best['epoch']:.0f}"
    return picture(lambda path: draw_training_curves(known.history, known.title, path), words)


def fed_section(known: Known) -> str:
    """The first images of the first epoch, augmented as they were."""
    words = "The first images of the first epoch as the network was fed them, with their targets"
    return picture(lambda path: draw_fed_images(known.settings, path), words)


def confusion_section(known: Known) -> str:
    """The confusion matrix."""
    words = "Of the test images of each class, a row, the share that got each wrong answer"
    return picture(lambda path: draw_confusion(known.answers, known.title, path), words)


def pairs_section(known: Known) -> str:
    """The most confused pairs with examples."""
    pairs = known.answers.pairs()
    if not pairs:
        return paragraph("Every answer on the test set is right.")
    words = "The classes that are most often taken for another, with the images of which the network was surest"
    drawn = picture(lambda path: draw_confused_pairs(known.answers, known.data, known.title, path), words)
    return drawn + preformatted(format_pairs(known.answers, pairs))


def grad_cam_section(known: Known) -> str:
    """Where the network looks."""
    pictures, names = known.pictures
    net = known.trained.net
    layers = [f"stage{number}" for number in range(max(1, len(stages(net)) - 1), len(stages(net)) + 1)]
    layers = layers or [default_layer(net)]
    looks = look_at(known.trained, pictures, layers)
    rows = [SheetRow(name, own, found) for name, own, found in zip(names, pictures, looks)]
    words = (
        "Grad-CAM (arXiv 1610.02391): what speaks for the predicted class, as the last stages see it; below each map "
        "the class with its probability"
    )
    return picture(lambda path: draw_grad_cam_sheet(rows, layers, f"Grad-CAM: {known.title}", path), words)


def _inputs(trained: Trained, images: np.ndarray) -> Any:
    return mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)


def maps_section(known: Known) -> str:
    """What the attention of the fusion blocks decides on some images."""
    pictures, names = known.pictures
    trained = known.trained
    maps = last_of_stages(fusion_maps(trained.net, _inputs(trained, pictures)))
    words = "The fusion weight w of the last block of each stage, on each image"
    return picture(lambda path: draw_fusion_maps(pictures, names, maps, f"Fusion weights: {known.title}", path), words)


def weights_section(known: Known) -> str:
    """How far from one half the fusion weights go over the test set."""
    trained = known.trained
    step = -(-len(known.data) // _WEIGHED)
    # Every so manieth image, or where files are sorted by class it would be of the first class alone.
    batches = (_inputs(trained, images) for images, _ in known.data.in_order(1, (0, step)))
    found = weight_distribution(trained.net, batches)
    words = f"How the fusion weights are distributed over at most {_WEIGHED} test images, by stage and pass"
    title = f"Distribution of the fusion weights: {known.title}"
    drawn = picture(lambda path: draw_weight_distribution({trained.model: found}, title, path), words)
    return drawn + preformatted(format_distributions(found))


def config_section(known: Known) -> str:
    """Every setting."""
    return f"<details><summary>Every setting, as resolved</summary>{preformatted(to_yaml(known.settings))}</details>"


def environment_section(known: Known) -> str:
    """What it ran on."""
    file = known.run.path / "environment.json"
    if not file.is_file():
        return paragraph("The run has no environment.json.")
    facts = json.loads(file.read_text(encoding="utf-8"))
    return table([(name.replace("_", " "), _in_words(value)) for name, value in facts.items()])


def _in_words(value: Any) -> str:
    """A value of environment.json."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


Section = Callable[[Known], str]

#: The report, in order. To add to it, write a function from `Known` to HTML; what it cannot show it raises.
SECTIONS: Tuple[Tuple[str, Section], ...] = (
    ("Result", result_section),
    ("Against what was published", published_section),
    ("Curves", curves_section),
    ("What the network was fed", fed_section),
    ("Confusion", confusion_section),
    ("Most confused pairs", pairs_section),
    ("Where the network looks", grad_cam_section),
    ("What the fusion prefers", maps_section),
    ("How far the fusion goes", weights_section),
    ("Settings", config_section),
    ("Environment", environment_section),
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --quiet: #5a5a5a; --line: #d5d5d5; --box: #f5f5f5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181b; --quiet: #a9a9a9; --line: #3b3e42; --box: #22252a; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin-bottom: 0.2rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
nav ol { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; padding: 0; list-style: none; }
a { color: inherit; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1.2rem 0.25rem 0;
  border-bottom: 1px solid var(--line); }
tbody th { font-weight: normal; color: var(--quiet); white-space: nowrap; }
td { overflow-wrap: anywhere; }
.wide, pre { overflow-x: auto; }
pre { background: var(--box); padding: 0.8rem; font-size: 0.82rem; line-height: 1.4; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; }
figcaption, .quiet { color: var(--quiet); font-size: 0.92rem; }
"""

#: Nothing may be loaded or run: what is shown is in the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def make_report(known: Known, sections: Sequence[Tuple[str, Section]] = SECTIONS) -> str:
    """The report as HTML.

    Parameters
    ----------
    known : Known
        What it is about.
    sections : sequence of (str, callable)
        Headings and what makes them. One that raises a `FusionError` has its message in its place.

    Returns
    -------
    str
        A whole document, which needs nothing else.
    """
    bodies, links = [], []
    for number, (heading, section) in enumerate(sections, start=1):
        logger.info("report: %s", heading)
        links.append(f'<li><a href="#s{number}">{escape(heading)}</a></li>')
        bodies.append(f'<section id="s{number}"><h2>{escape(heading)}</h2>{_body(known, section)}</section>')
    title = escape(known.title)
    where = escape(str(known.run.path))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{title}</h1><p class="quiet">Run {where}. Made by fusion {__version__}.</p></header>\n'
        f"<nav><ol>{''.join(links)}</ol></nav>\n<main>\n" + "\n".join(bodies) + "\n</main>\n</body>\n</html>\n"
    )


def _body(known: Known, section: Section) -> str:
    try:
        return section(known)
    except FusionError as error:
        logger.warning("report: left out: %s", error)
        return f'<p class="quiet">Not shown: {escape(str(error))}</p>'


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `report`."""
    parser = commands.add_parser("report", help="all that is known of a run as one HTML file")
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="the folder of a run")
    parser.add_argument("--checkpoint", default="best", metavar="best|last|average|FILE", help="default: best")
    parser.add_argument("--device", default="cpu", help="cpu, gpu, or a GPU's number")
    parser.add_argument("--images", nargs="+", default=[], metavar="IMAGE", help="to look at (default: test images)")
    add_output_file(parser, "report.html in the run's folder")
    parser.add_argument("settings", nargs="*", metavar="data.key=value", help="where the data is now")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    run = RunDirectory.existing(arguments.run)
    read_result(run)  # a run without a finished epoch is refused before anything is loaded
    output: Optional[Path] = arguments.output
    with written_file(output or run.path / "report.html", arguments.force) as aside:
        trained = load_run(run.path, arguments.checkpoint, arguments.device)
        settings = settings_with(trained, arguments.settings)
        files = find_images(arguments.images)[:_MOST_FILES] if arguments.images else []
        aside.write_text(make_report(Known(run, trained, settings, files)), encoding="utf-8")
    print(output or run.path / "report.html")
