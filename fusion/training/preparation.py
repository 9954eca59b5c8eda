"""From settings to what a run needs: data, network, optimizer. What is impossible is refused here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence, Tuple

from ..attention import normalises_over_images
from ..compat import mx
from ..data import IMAGES, PHOTOS, DataSet, describe, load_dataset
from ..data.augment import Augmentation, Normalisation, named_policy
from ..data.loader import TrainingBatches
from ..errors import CheckpointError, ConfigError
from ..models import get_model
from ..models.normalisation import use_norm_layer
from . import checkpoint
from .config import model_keywords
from .distributed import ALONE, Workers
from .gradients import clip_before_updates
from .photo_training import photo_batches, photo_options
from .precision import cast_network
from .settings import Settings, count_outputs

_INITIALIZERS = {"xavier": mx.init.Xavier, "msraprelu": mx.init.MSRAPrelu}

#: The ends of the names of parameters that `decay_norm_and_bias: false` spares.
_UNDECAYED = ("gamma", "beta", "bias")


def model_title(settings: Settings) -> str:
    """The model as tables and log lines name it."""
    model = settings.model
    return f"{model.name} ({model.fusion})" if model.fusion else model.name


def load_split(settings: Settings, split: str) -> DataSet:
    """One split of the data set, 'train' or 'test'."""
    data = settings.data
    options = {"labels": data.labels, "url": data.url, "size": data.size, "fit": data.fit, **photo_options(settings)}
    return load_dataset(data.name, split, data.dir, **options)


def load_data(settings: Settings) -> Tuple[DataSet, DataSet]:
    """The training and test images."""
    return load_split(settings, "train"), load_split(settings, "test")


def load_initial_parameters(net: Any, settings: Settings) -> None:
    """Put the weights of train.initial_parameters, where it is set, into a network whose weights have started.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or another network's.
    """
    path = settings.train.initial_parameters
    if path is None:
        return
    try:
        checkpoint.load_started(Path(path).expanduser(), net)
    except CheckpointError as error:
        raise CheckpointError(
            f"train.initial_parameters: {error}\nA run that starts from another needs that one's checkpoint: train "
            "it first (the config's header says with what), or name another file"
        ) from None


def build_network(settings: Settings, classes: int) -> Any:
    """The network, its weights not yet started.

    Raises
    ------
    ConfigError
        If the model section asks for something impossible, or for batch norm over a single vector.
    """
    try:
        net = get_model(settings.model.name, classes=count_outputs(settings, classes), **model_keywords(settings))
        use_norm_layer(net, settings.model.norm_layer)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    if settings.data.batch_size == 1 and normalises_over_images(net):
        raise ConfigError(
            "data.batch_size is 1 a device: the batch norm of the fusion blocks' global branch would normalise a "
            "single value, so that its output is a constant and the branch learns nothing. Use a larger "
            "data.batch_size, or model.norm=group, or model.norm=none"
        )
    return net


def start_weights(net: Any, settings: Settings, devices: Sequence[Any]) -> None:
    """Initialise a network from the run's seed, and compile it."""
    mx.random.seed(settings.train.seed)
    initializer = _INITIALIZERS.get(settings.model.initializer)
    net.initialize(initializer() if initializer else None, ctx=list(devices))
    cast_network(net, settings, devices)
    if settings.runtime.hybridize:
        net.hybridize(static_alloc=True, static_shape=True)


def build_twin(net: Any, settings: Settings, devices: Sequence[Any]) -> Any:
    """A network like another, to be evaluated in its place.

    Inference leaves oneDNN's blocked layout in the weights of the network that it runs on, at a moment that varies;
    training then takes other kernels, whose rounding differs, and is no longer the same from run to run.
    """
    twin = build_network(settings, net.classes)
    twin.initialize(mx.init.Zero(), ctx=list(devices))
    if settings.runtime.hybridize:
        twin.hybridize(static_alloc=True, static_shape=True)
    return twin


def copy_parameters(source: Any, target: Any) -> None:
    """Give a network the parameters of another of the same structure, running statistics averaged over devices."""
    parameters = source._collect_params_with_prefix()
    for name, parameter in target._collect_params_with_prefix().items():
        parameter.set_data(parameters[name]._reduce().astype(parameter.dtype))


def build_trainer(net: Any, settings: Settings, workers: Workers = ALONE) -> Any:
    """The optimizer of a network whose weights have started."""
    optimizer = settings.optimizer
    if not optimizer.decay_norm_and_bias:
        for name, parameter in net._collect_params_with_prefix().items():
            if name.endswith(_UNDECAYED):
                parameter.wd_mult = 0.0
    arguments = {
        "learning_rate": settings.schedule.lr,
        "momentum": optimizer.momentum,
        "wd": optimizer.weight_decay,
        "multi_precision": True,  # float32 master weights of those that are float16
    }
    trainer = workers.trainer(net.collect_params(), optimizer.name, arguments)
    clip_before_updates(trainer, optimizer.clip_gradient_norm)
    return trainer


def build_normalisation(settings: Settings) -> Normalisation:
    """From stored images to the network's input."""
    return Normalisation(settings.augment.mean, settings.augment.std)


def build_batches(settings: Settings, data: Any, devices: Sequence[Any], shard: Tuple[int, int] = (0, 1)) -> Any:
    """The training batches of every epoch, or of them the part of one worker among several.

    Raises
    ------
    ConfigError
        If a batch is more than the data set.
    """
    total = settings.data.batch_size * len(devices) * shard[1]
    make = _BATCHES[describe(settings.data.name).kind]
    try:
        return make(settings, data, build_normalisation(settings), total, shard)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _image_batches(
    settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
) -> TrainingBatches:
    augment = settings.augment
    augmentation = Augmentation(
        normalise=normalise,
        classes=count_outputs(settings, len(data.classes)),
        crop_padding=augment.crop_padding,
        flip=augment.flip,
        policy=named_policy(augment.auto_augment, augment.randaugment_layers, augment.randaugment_magnitude),
        mixup_alpha=augment.mixup_alpha,
        cutmix_alpha=augment.cutmix_alpha,
        mixup_epochs=settings.train.epochs - augment.mixup_off_epochs,
        smoothing=settings.train.label_smoothing,
    )
    return TrainingBatches(data, augmentation, batch_size, settings.train.seed, settings.data.workers, shard)


#: What makes the batches of each kind of data set.
_BATCHES = {IMAGES: _image_batches, PHOTOS: photo_batches}


def split_over(devices: Sequence[Any], array: Any, dtype: str = "float32") -> List[Any]:
    """A NumPy batch in equal parts, one on each device."""
    return mx.gluon.utils.split_and_load(mx.nd.array(array, dtype=dtype), list(devices))
