"""A trained network with everything that it needs to answer: class names, and how an image becomes its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ..data import DataSet, describe
from ..data.augment import Normalisation
from ..data.description import PHOTOS
from ..data.identity import Classes
from ..data.image_folder import read_scaled
from ..data.masks.decoding import read_image
from ..data.photos.header import BadPhotoError, read_file
from ..data.photos.kinds import ANY_IMAGE
from ..data.photos.photo import centre_crop, resized_side
from ..devices import contexts
from ..errors import CheckpointError, ConfigError, DataError
from ..models import get_model
from ..models.network import count_classes
from ..models.pretrained import find_weights
from ..models.zoo import classifier_of
from ..tasks import Task, find_task, list_tasks, task_of
from ..training import checkpoint
from ..training.config import read_config
from ..training.configs import find_config
from ..training.loading import classes_of_data, load_split, load_split_for, model_title
from ..training.logbook import RunDirectory, read_result
from ..training.matching import classes_of_run, run_of_file
from ..training.preparation import build_network, start_weights
from ..training.settings import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD, Settings
from ..training.start import load_initial_parameters
from ..words import counted

#: The share of a photo's shorter side that the centre crop of the recipe's test keeps.
_PHOTO_SHARE = 0.875

#: A network whose input is at least this large, in pixels, takes photos, of which it sees the centre.
_PHOTO_SIZE = 64


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes a network's input: the same steps as for the test images of its data set.

    Attributes
    ----------
    size : int
        Height and width of the input, in pixels.
    share : float
        The share of the scaled image's shorter side that the centre crop keeps.
    mean, std : tuple of 3 float
        Of pixels between 0 and 1, red, green, blue.
    photos : bool
        Whether the test images were photos that OpenCV decodes and scales, as in `fusion.data.photos.photo`.
    whole : bool
        Whether an image is read as a network with an answer per pixel takes it: whole and at its own size.
    """

    size: int
    share: float
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    photos: bool
    whole: bool = False

    @property
    def resized(self) -> int:
        """The shorter side before the centre crop, in pixels."""
        return resized_side(self.size, self.share)

    def read(self, path: Path) -> np.ndarray:
        """An image file as the network is shown it, before normalisation: (size, size, 3) uint8, red, green, blue.

        Of a preparation of whole images the size is that of the file.

        Raises
        ------
        DataError
            If it is not a readable image file with 8 or 16 bits per channel.
        """
        try:
            if self.whole:
                return read_image(read_file(path))
            if self.photos:
                return centre_crop(read_file(path), self.size, self.share)
            return read_scaled(path, self.size)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        except BadPhotoError as error:
            raise DataError(f"{path}: {error}; expected {ANY_IMAGE}") from None

    @property
    def normalisation(self) -> Normalisation:
        """What turns pixels from 0 to 255 into the network's input."""
        return Normalisation(self.mean, self.std)

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """Turn images (B, size, size, 3) uint8 into the network's input, (B, 3, size, size) float32."""
        return self.normalisation(images.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Trained:
    """A network with its weights, on a device, and what it was trained on.

    Attributes
    ----------
    net : Network
        From the prepared images (B, 3, size, size) to logits (B, len(classes)); not hybridized.
    classes : tuple of str
        Names in the order of the logits.
    preparation : Preparation
        From a file to the input.
    model : str
        As tables name it.
    data : str
        The data set's title; empty where it is not known.
    file : Path
        The weights.
    context : Context
        Where it is.
    settings : Settings, optional
        Those of the run that it comes from.
    run : RunDirectory, optional
        That run.
    known : Classes, optional
        The classes that it was trained on, by name; None where nothing says which they were.
    shown : bool
        Whether `classes` are names that the user wants to see in place of those of `known`.

    Examples
    --------
    >>> trained = load_pretrained("aff_resnet8_digits")
    >>> trained.classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    >>> trained.preparation.size
    32
    """

    net: Any
    classes: Tuple[str, ...]
    preparation: Preparation
    model: str
    data: str
    file: Path
    context: Any
    settings: Optional[Settings] = None
    run: Optional[RunDirectory] = None
    known: Optional[Classes] = None
    shown: bool = False

    def load_split(self, settings: Settings, split: str) -> DataSet:
        """Load one split of a data set for this network, with labels that are the numbers of its outputs.

        Parameters
        ----------
        settings : Settings
            Those of its run, with the data where it is now.
        split : {"train", "test"}
            Which part.

        Raises
        ------
        DataError
            If it cannot be loaded, or has a class that is none of the network's.
        """
        return load_split_for(settings, split, self.known, str(self.file))

    def names_of(self, data: DataSet) -> Tuple[str, ...]:
        """The names to show of the classes of a data set that `load_split` gave."""
        return self.classes[: len(data.classes)] if self.shown else tuple(data.classes)

    @property
    def task(self) -> Task:
        """What it has learnt; where no run says so, it follows from whether it answers each pixel."""
        if self.settings is not None:
            return task_of(self.settings, self.classes)
        fitting = (task for task in map(find_task, list_tasks()) if task.dense == self.net.dense)
        return next(fitting).bound(None, self.classes)

    def __repr__(self) -> str:
        return f"<Trained: {self.model}, {counted(len(self.classes), 'class', 'classes')}, {self.file}>"


def load_run(path: Path, which: str = "best", device: str = "cpu") -> Trained:
    """The network of a run.

    Parameters
    ----------
    path : Path
        The run's folder.
    which : str
        `best`, `last`, `average` (the best averaged weights), or the path of a `.params` file or checkpoint.
    device : str
        As on the command line of training; of several devices the first one is used.

    Raises
    ------
    FusionError
        If the run or its weights are missing or damaged, or do not belong together.
    """
    run = RunDirectory.existing(path)
    settings = run.settings()
    file = run.weights(which)
    context = contexts(device)[0]
    arrays = checkpoint.network_arrays(file)
    outputs = count_classes(arrays, classifier_of(settings.model.name))
    owner = run_of_file(file) or run
    names, title = _classes_of_run(owner, settings)
    if len(names) > outputs:
        raise CheckpointError(
            f"{owner.path}: {counted(len(names), 'name', 'names')} of classes, and {file} has "
            f"{counted(outputs, 'output', 'outputs')}: one of them is of another run; copy both from the same one"
        )
    net = build_network(settings, outputs)
    checkpoint.load_network(file, net, [context])
    prepared, model, known = _preparation(settings), model_title(settings), classes_of_run(owner)
    return Trained(net, _named(names, outputs), prepared, model, title, file, context, settings, run, known)


def load_config(path: Path, words: Sequence[str] = (), device: str = "cpu") -> Trained:
    """The network of an experiment with the weights that its training begins from.

    Parameters
    ----------
    path : Path
        A config, or the name of one that comes with the package.
    words : sequence of str
        Settings such as `model.fusion=iaff`, which win over it.
    device : str
        As on the command line of training; of several devices the first one is used.

    Raises
    ------
    FusionError
        If the config is impossible, its classes are not known without its data, or a file of weights does not fit.
    """
    file = find_config(path)
    settings = read_config(file, words)
    settings.runtime.hybridize = False
    classes = _classes_of_config(settings)
    net = build_network(settings, len(classes.names))
    context = contexts(device)[0]
    start_weights(net, settings, [context])
    load_initial_parameters(net, settings, classes)
    title, names = model_title(settings), _named(classes.names, net.classes)
    return Trained(net, names, _preparation(settings), title, "", file, context, settings, known=classes)


def _classes_of_config(settings: Settings) -> Classes:
    """The classes of an experiment's data, which is read only where its name does not tell them."""
    names = describe(settings.data.name).classes.get(settings.data.labels)
    if names:
        return Classes(tuple(names), settings.data.name, True)
    return classes_of_data(load_split(settings, "train"))


def _preparation(settings: Settings) -> Preparation:
    """How images become the input of a network that was trained by some settings."""
    photos = describe(settings.data.name).kind == PHOTOS
    return Preparation(
        size=settings.data.size,
        share=settings.data.crop_share if photos else 1.0,
        mean=tuple(settings.augment.mean),
        std=tuple(settings.augment.std),
        photos=photos,
    )


def load_model(
    name: str, file: Path, device: str = "cpu", arguments: Optional[Dict[str, Any]] = None, size: Optional[int] = None
) -> Trained:
    """A model by name with the weights of a file.

    Parameters
    ----------
    name : str
        A family or a named model.
    file : Path
        A `.params` file or a checkpoint.
    device : str
        As on the command line of training; of several devices the first one is used.
    arguments : dict, optional
        Arguments of the model, in place of those that its name sets; the file says how many classes there are.
    size : int, optional
        Height and width of the input, in pixels; the model's own by default.

    Returns
    -------
    Trained
        Its classes are named by numbers, and its images are normalised as in the recipe of the model's data set.

    Raises
    ------
    FusionError
        If no model has this name, or the file is missing or damaged, or holds the weights of another network.
    """
    context = contexts(device)[0]
    arrays = checkpoint.network_arrays(file)
    try:
        outputs = count_classes(arrays, classifier_of(name))
        net = get_model(name, **{"classes": outputs, **(arguments or {})})
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    checkpoint.load_network(file, net, [context])
    pixels = size or net.input_size
    photos = pixels >= _PHOTO_SIZE
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if photos else (CIFAR_MEAN, CIFAR_STD)
    preparation = Preparation(pixels, _PHOTO_SHARE if photos else 1.0, mean, std, photos)
    return Trained(net, _named((), outputs), preparation, name, "", file, context)


def load_pretrained(name: str, device: str = "cpu") -> Trained:
    """A model with the weights that come with the package, and with its class names and normalisation.

    Parameters
    ----------
    name : str
        One of `fusion.list_pretrained()`.
    device : str
        As on the command line of training; of several devices the first one is used.

    Raises
    ------
    FusionError
        If no weights of that name come with the package.
    """
    weights = find_weights(name)
    return replace(load_run(weights.folder, str(weights.file), device), model=name)


def _classes_of_run(run: RunDirectory, settings: Settings) -> Tuple[Sequence[str], str]:
    """The class names and the data set's title: from the run's files, or else, for an old run, from the data set."""
    names = run.read_classes()
    if names:
        return names, read_result(run)["data"] if run.result.is_file() else ""
    try:
        data = load_split(settings, "test")
    except DataError:
        return (), ""
    return data.classes, data.title


def _named(names: Sequence[str], outputs: int) -> Tuple[str, ...]:
    """A name for each logit: the published networks for the coarse classes have more logits than classes."""
    if not names:
        return tuple(map(str, range(outputs)))
    return (*names, *(f"(unused {number})" for number in range(len(names), outputs)))
