"""The sections of a report, each a function from what is known of a run to the parts that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..inference.trained import Trained
from ..places import stages
from ..published.compare import compare, read_run, refusal, same_network
from ..published.picture import draw_comparison
from ..published.rows import ROWS, Row
from ..training.config import to_yaml
from ..training.history import is_finished
from ..training.picture import draw_training_curves
from ..training.run_files import read_environment
from ..training.settings import Settings
from ..words import capitalised, counted
from .answers import format_pairs
from .browse_picture import draw_fed_images
from .confusion_picture import draw_confused_pairs, draw_confusion
from .fusion_maps import format_distributions, fusion_maps, weight_distribution
from .gradcam import default_layer
from .gradcam_picture import LookedAt, draw_grad_cam_sheet, look_at
from .maps_picture import draw_fusion_maps, draw_weight_distribution, last_of_stages
from .report_facts import Known
from .report_page import Bullets, Paragraph, Part, Preformatted, Table, picture

#: How many test images are behind the distribution of the weights.
_WEIGHED = 300

#: How many published rows of other networks are listed, the nearest in size first.
_NEAREST = 10


# --- The run ---------------------------------------------------------------------------------------------------------


def _why_fewer(result: Dict[str, Any], settings: Settings) -> str:
    """What is said behind "5 of 10" epochs."""
    if result["epochs"] >= settings.train.epochs:
        return ""
    return ": ended early (train.patience)" if is_finished(result, settings) else ": the run is not finished"


def result_section(known: Known) -> List[Part]:
    """The best and the last epoch, and how long training took."""
    result, settings = known.result, known.settings
    done, planned = result["epochs"], settings.train.epochs
    seconds = sum(row["seconds"] for row in known.history.rows)
    facts = [
        ("network", f"{result['model']}, {result['parameters']:,} parameters"),
        ("data", f"{result['data']}, {counted(result['classes'], 'class', 'classes')}"),
        ("images", f"{result['train_images']:,} to train, {result['test_images']:,} to test"),
        ("epochs", f"{done} of {planned}{_why_fewer(result, settings)}"),
        ("time", f"{seconds / 60:.1f} min, {seconds / done:.1f} s per epoch, evaluation included"),
        ("weights in the pictures", known.trained.file.name),
    ]
    task, last = known.history.task, known.history.evaluated[-1]
    best = task.headline.best(known.history.evaluated)
    rows = [("epoch", f"{best['epoch']:.0f}", f"{last['epoch']:.0f}")]
    rows += [(name, value, other) for (name, value), (_, other) in zip(task.epoch_facts(best), task.epoch_facts(last))]
    return [
        Table(facts),
        Table(rows, ("", "best epoch", "last epoch")),
        Paragraph(f"{capitalised(task.best_note)}."),
    ]


def published_section(known: Known) -> List[Part]:
    """The run beside the published row of its network, or what was published on its images."""
    own = read_run(known.run.path)
    rows = [row for row in ROWS if refusal(own, row) is None]
    if not rows:
        return [Paragraph("No published figure is on these images with these labels.")]
    alike = [row for row in rows if row.configs and same_network(own, row)]
    if alike:
        return [part for row in alike for part in _beside(row, own)]
    parameters = known.result["parameters"]
    words = f"No published row is of this network, {parameters / 1e6:.2f} M parameters; on the same images and labels:"
    nearest = sorted(rows, key=lambda row: abs(row.parameters - parameters))[:_NEAREST]
    found = [(row.title, row.figure, f"{row.parameters / 1e6:.2f} M" if row.parameters else "–") for row in nearest]
    return [Paragraph(words), Table(found, ("row", "published", "parameters"))]


def _beside(row: Row, own: Any) -> List[Part]:
    found = compare(row, own)
    unlike = f"The run and the published {row.title} may not be comparable, for these reasons:"
    return [
        *([Paragraph(unlike), Bullets(found.differences)] if found.differences else []),
        Paragraph(f"{row.title}, published as {row.figure}: the run is {found.conclusion}."),
        Paragraph(row.produced),
        picture(lambda path: draw_comparison(found, path), f"This run and {row.title} as published, by epoch"),
    ]


def curves_section(known: Known) -> List[Part]:
    """The run's own curves."""
    best = known.history.task.headline.best(known.history.evaluated)
    figures = f"{capitalised(known.history.task.panel_title)}, loss and learning rate"
    words = f"{figures}, epoch by epoch; the best is epoch {best['epoch']:.0f}"
    return [picture(lambda path: draw_training_curves(known.history, known.title, path), words)]


def fed_section(known: Known) -> List[Part]:
    """The first images of the first epoch, augmented as they were."""
    words = "The first images of the first epoch as the network was fed them, with their targets"
    return [picture(lambda path: draw_fed_images(known.settings, path), words)]


# --- What a classifier answers ---------------------------------------------------------------------------------------


def confusion_section(known: Known) -> List[Part]:
    """The confusion matrix."""
    words = "One row per class: the share of its test images that got each wrong answer"
    return [picture(lambda path: draw_confusion(known.answers, known.title, path), words)]


def pairs_section(known: Known) -> List[Part]:
    """The most confused pairs with examples."""
    answers = known.answers
    pairs = answers.pairs()
    if not pairs:
        return [Paragraph("Every answer on the test set is right.")]
    words = "The most frequent confusions of two classes, with the images on which the network was most confident"
    drawn = picture(lambda path: draw_confused_pairs(answers, known.data, known.title, path), words)
    return [drawn, Preformatted(format_pairs(answers, pairs))]


# --- What a network answers for each pixel ----------------------------------------------------------------------------


def masks_section(known: Known) -> List[Part]:
    """Some test images with their truth, the answer and the errors."""
    trained = known.trained
    words = "Some test images: what is there, what the network says, and where it is wrong"

    def draw(path: Path) -> None:
        trained.task.draw(
            trained.net, known.data, trained.preparation.normalisation, trained.context, known.title, path
        )

    return [picture(draw, words)]


def pixel_confusion_section(known: Known) -> List[Part]:
    """The confusion matrix of pixels, and the IoU of each class."""
    words = "One row per class: the share of its pixels that got each wrong answer"
    found = known.pixel_answers
    return [
        picture(lambda path: draw_confusion(found, known.title, path), words),
        Preformatted(found.table()),
    ]


def grad_cam_section(known: Known) -> List[Part]:
    """Where the network looks."""
    pictures, names = known.pictures
    net = known.trained.net
    layers = [f"stage{number}" for number in range(max(1, len(stages(net)) - 1), len(stages(net)) + 1)]
    layers = layers or [default_layer(net)]
    looks = look_at(known.trained, pictures, layers)
    images = [LookedAt(name, own, found) for name, own, found in zip(names, pictures, looks)]
    words = (
        "Grad-CAM (arXiv 1610.02391): what speaks for the predicted class, as the last stages see it; below each map "
        "is the class with its probability"
    )
    return [picture(lambda path: draw_grad_cam_sheet(images, layers, f"Grad-CAM: {known.title}", path), words)]


# --- What the fusion does --------------------------------------------------------------------------------------------


def _inputs(trained: Trained, images: np.ndarray) -> Any:
    return mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)


def maps_section(known: Known) -> List[Part]:
    """What the attention of the fusion blocks decides on some images."""
    pictures, names = known.pictures
    trained = known.trained
    maps = last_of_stages(fusion_maps(trained.net, _inputs(trained, pictures)))
    words = "The fusion weight w of the last block of each stage, on each image"
    title = f"Fusion weights: {known.title}"
    return [picture(lambda path: draw_fusion_maps(pictures, names, maps, title, path), words)]


def weights_section(known: Known) -> List[Part]:
    """How far from one half the fusion weights go over the test set."""
    trained = known.trained
    step = -(-len(known.data) // _WEIGHED)
    # Every `step`-th image: the first ones of a set whose files are sorted by class are all of one class.
    batches = (_inputs(trained, images) for images, _ in known.data.in_order(1, (0, step)))
    found = weight_distribution(trained.net, batches)
    words = f"How the fusion weights are distributed over at most {_WEIGHED} test images, by stage and pass"
    title = f"Distribution of the fusion weights: {known.title}"
    drawn = picture(lambda path: draw_weight_distribution({trained.model: found}, title, path), words)
    return [drawn, Preformatted(format_distributions(found))]


# --- What it was run with --------------------------------------------------------------------------------------------


def config_section(known: Known) -> List[Part]:
    """Every setting."""
    return [Preformatted(to_yaml(known.settings), summary="Every setting, as resolved")]


def environment_section(known: Known) -> List[Part]:
    """The machine and the versions that it ran on."""
    facts = read_environment(known.run.environment)
    if not facts:
        return [Paragraph("The run has no environment.json.")]
    return [Table([(name.replace("_", " "), _in_words(value)) for name, value in facts.items()])]


def _in_words(value: Any) -> str:
    """A value of environment.json."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


# --- In order --------------------------------------------------------------------------------------------------------

Section = Tuple[str, Callable[[Any], Sequence[Part]]]

_OF_A_RUN: Tuple[Section, ...] = (
    ("Result", result_section),
    ("Against what was published", published_section),
    ("Curves", curves_section),
    ("What the network was fed", fed_section),
)

_OF_A_CLASSIFIER: Tuple[Section, ...] = (
    ("Confusion", confusion_section),
    ("Most confused pairs", pairs_section),
    ("Where the network looks", grad_cam_section),
)

_OF_PIXELS: Tuple[Section, ...] = (
    ("Answers", masks_section),
    ("Confusion", pixel_confusion_section),
)

_OF_FUSION: Tuple[Section, ...] = (
    ("What the fusion prefers", maps_section),
    ("How far the fusion goes", weights_section),
)

_OF_ITS_MACHINE: Tuple[Section, ...] = (
    ("Settings", config_section),
    ("Environment", environment_section),
)

#: The report, in order: headings, and functions from `Known` to parts. One that has nothing to show raises an error,
#: which is shown in its place.
SECTIONS: Tuple[Section, ...] = (*_OF_A_RUN, *_OF_A_CLASSIFIER, *_OF_FUSION, *_OF_ITS_MACHINE)

#: The same of a network that answers each pixel.
DENSE_SECTIONS: Tuple[Section, ...] = (*_OF_A_RUN, *_OF_PIXELS, *_OF_FUSION, *_OF_ITS_MACHINE)
