"""The teacher in distillation: the network of a run, one of our models with a parameter file, or a GluonCV model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..data import describe
from ..data.identity import Classes
from ..errors import CheckpointError, ConfigError, nearest
from ..models import get_model
from ..models.network import count_classes, describe_mismatches, mismatches, set_parameters
from ..models.parameter_file import read_parameters
from ..models.pretrained import find_weights, list_pretrained
from ..models.zoo import FAMILIES, MODELS, classifier_of
from . import checkpoint
from .logbook import RunDirectory
from .matching import classes_of_file, classes_of_run, teacher_places
from .preparation import build_network
from .settings import CIFAR_MEAN, CIFAR_STD, Settings

logger = logging.getLogger("fusion")

_GLUONCV = "gluoncv:"

#: The statistics that GluonCV's ImageNet models were trained with, for pixels between 0 and 1.
_IMAGENET_MEAN, _IMAGENET_STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # GluonCV's values, which differ slightly from ours

#: The mean and the standard deviation with which a network's input is normalised.
_Statistics = Tuple[Sequence[float], Sequence[float]]


class Teacher:
    """A trained network that computes logits and is not trained further.

    Parameters
    ----------
    net : Block
        Maps images (B, 3, H, W) to logits (B, classes); its parameters are on all the devices.
    devices : sequence of Context
        The devices on which the student trains.
    given, own : (mean, std)
        How the images that it receives are normalised, and how those were normalised that it was trained on.
    places : sequence of int, optional
        The network's output for each class of the student, if they are not the same in the same order.
    """

    def __init__(
        self,
        net: Any,
        devices: Sequence[Any],
        given: _Statistics,
        own: _Statistics,
        places: Optional[Sequence[int]] = None,
    ) -> None:
        self._net = net
        self._places = {device: None if places is None else mx.nd.array(places, ctx=device) for device in devices}
        (mean, std), (own_mean, own_std) = np.array(given, np.float64), np.array(own, np.float64)
        self._same = bool((mean == own_mean).all() and (std == own_std).all())
        scale, shift = std / own_std, (mean - own_mean) / own_std
        self._scale, self._shift = (
            {device: mx.nd.array(values.reshape(1, 3, 1, 1), ctx=device) for device in devices}
            for values in (scale, shift)
        )

    def __call__(self, images: Any) -> Any:
        """Compute float32 logits (B, classes) for the student's images on one device, without recording gradients."""
        with mx.autograd.pause():
            inputs = images.astype("float32")
            if not self._same:
                device = images.context
                inputs = mx.nd.broadcast_add(mx.nd.broadcast_mul(inputs, self._scale[device]), self._shift[device])
            logits, places = self._net(inputs), self._places[images.context]
            return logits if places is None else mx.nd.take(logits, places, axis=1)


def load_teacher(settings: Settings, classes: Classes, devices: Sequence[Any]) -> Optional[Teacher]:
    """Load the teacher that `train.teacher` names; None if it names none.

    Parameters
    ----------
    settings : Settings
        The settings of the student's run.
    classes : Classes
        Those of the student's data set. The outputs of a teacher that is a run are taken by their names.
    devices : sequence of Context
        The devices on which the student trains.

    Raises
    ------
    FusionError
        If there is no such teacher, if its file is missing or does not fit, if it has other classes than the data set,
        or if it cannot take images of the student's size.
    """
    name = settings.train.teacher
    if name is None:
        return None
    given = (settings.augment.mean, settings.augment.std)
    theirs = (
        None if settings.train.teacher_checkpoint is None else classes_of_file(Path(settings.train.teacher_checkpoint))
    )
    if Path(name, "config.yaml").is_file():
        net, own = _of_run(settings, Path(name), devices, settings.train.teacher_checkpoint or "best")
        theirs = theirs or classes_of_run(RunDirectory(Path(name)))
    elif name in list_pretrained() and settings.train.teacher_checkpoint is None:
        weights = find_weights(name)
        net, own = _of_run(settings, weights.folder, devices, str(weights.file))
        theirs = classes_of_run(RunDirectory(weights.folder))
    elif name in FAMILIES or name in MODELS:
        net, own = _of_model(settings, name, devices), given
    else:
        net, own = _of_gluoncv(settings, name, devices)
    net.hybridize(static_alloc=True, static_shape=True)
    teacher = Teacher(net, devices, given, own)
    found = _answer(teacher, settings, devices).shape[-1]
    if theirs is not None and len(theirs.names) <= found:
        places = teacher_places(classes, theirs, f"train.teacher={name}")
        _refuse_unused_outputs(settings, len(places))
        return teacher if places == tuple(range(found)) else Teacher(net, devices, given, own, places)
    if found != len(classes.names):
        raise ConfigError(
            f"train.teacher is {name!r}, which tells {found} classes apart, and {classes.owner} has "
            f"{len(classes.names)}: use a teacher that was trained on the classes of this data set"
        )
    logger.warning(
        "train.teacher is %r, which does not name its classes: class number N of %s is taken for its output number N, "
        "and nothing shows whether that is right",
        *(name, classes.owner),
    )
    return teacher


def _refuse_unused_outputs(settings: Settings, classes: int) -> None:
    """Refuse a student with outputs for no class, which a teacher says nothing about."""
    outputs = settings.model.outputs
    if outputs is not None and outputs != classes:
        raise ConfigError(
            f"model.outputs is {outputs}, and the data has {classes} classes: a teacher answers for these only; leave "
            "out model.outputs, or train.teacher"
        )


def _answer(teacher: Teacher, settings: Settings, devices: Sequence[Any]) -> Any:
    """Compute the logits of an empty image, to check that the teacher takes images of this size."""
    size = settings.data.size
    try:
        answers = [teacher(mx.nd.zeros((1, 3, size, size), ctx=device)) for device in devices]
        mx.nd.waitall()
    except (mx.MXNetError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"train.teacher is {settings.train.teacher!r}, which cannot take images of {size} pixels ({reason})"
        ) from None
    return answers[0]


def _of_run(settings: Settings, path: Path, devices: Sequence[Any], which: str) -> Tuple[Any, _Statistics]:
    run = RunDirectory.existing(path)
    theirs = run.settings()
    _check_data(settings, theirs)
    file = run.weights(which)
    arrays = checkpoint.network_arrays(file)
    net = build_network(theirs, count_classes(arrays, classifier_of(theirs.model.name)))
    checkpoint.load_network(file, net, list(devices))
    return net, (theirs.augment.mean, theirs.augment.std)


def _check_data(settings: Settings, theirs: Settings) -> None:
    """Raise an error if teacher and student learnt different classes, even if their number is the same."""
    mine, other = settings.data, theirs.data
    both_fixed = all(describe(data.name).fixed_classes for data in (mine, other))
    if both_fixed and (mine.name, mine.labels) != (other.name, other.labels):
        raise ConfigError(
            f"train.teacher is {settings.train.teacher!r}, which was trained on {other.name} ({other.labels} labels), "
            f"and data.name is {mine.name} ({mine.labels} labels): the classes differ"
        )


def _of_model(settings: Settings, name: str, devices: Sequence[Any]) -> Any:
    file = settings.train.teacher_checkpoint
    if file is None:
        raise ConfigError(
            f"train.teacher is {name!r}, a model without weights: name a file of weights with "
            "train.teacher_checkpoint=FILE, or make train.teacher the folder of a run or one of the models that come "
            f"with weights: {', '.join(list_pretrained())}"
        )
    net = get_model(name, classes=count_classes(checkpoint.network_arrays(Path(file)), classifier_of(name)))
    checkpoint.load_network(Path(file), net, list(devices))
    return net


def _of_gluoncv(settings: Settings, name: str, devices: Sequence[Any]) -> Tuple[Any, _Statistics]:
    word = name[len(_GLUONCV) :] if name.startswith(_GLUONCV) else name
    zoo = _gluoncv_zoo(name)
    known = zoo.get_model_list()
    if word.lower() not in {model.lower() for model in known}:
        raise ConfigError(
            f"train.teacher is {name!r}: neither the folder of a run, nor a model of this package or of GluonCV; "
            f"{nearest(word, [*FAMILIES, *MODELS, *known])}"
        )
    statistics = (CIFAR_MEAN, CIFAR_STD) if word.lower().startswith("cifar") else (_IMAGENET_MEAN, _IMAGENET_STD)
    file = settings.train.teacher_checkpoint
    if file is None:
        return _pretrained(zoo, word, devices), statistics
    stored = read_parameters(file)
    net = zoo.get_model(word, classes=count_classes(stored), pretrained=False)
    problems = mismatches(net, stored)
    if problems:
        raise CheckpointError(describe_mismatches(file, problems))
    set_parameters(net, stored, list(devices), cast_dtype=True)
    return net, statistics


def _gluoncv_zoo(name: str) -> Any:
    try:
        from gluoncv import model_zoo
    except ImportError as error:
        raise ConfigError(
            f"train.teacher is {name!r}: not a model of this package, and GluonCV cannot be imported ({error})"
        ) from None
    return model_zoo


def _pretrained(zoo: Any, word: str, devices: Sequence[Any]) -> Any:
    try:
        return zoo.get_model(word, pretrained=True, ctx=list(devices))
    except Exception as error:  # without a network, requests, urllib3 and Python raise errors of different classes
        raise ConfigError(
            f"train.teacher is {word!r}: its weights cannot be downloaded by GluonCV ({error}); "
            "download them on another machine and name the file with train.teacher_checkpoint=FILE"
        ) from None
