"""Every setting of a training run, with its type, default, limits and reason.

`fusion.training.config` fills these from YAML files and the command line; nothing else defines a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, List, Optional

from ..attention import NORMS
from ..data import DESCRIPTIONS
from ..data.augment import POLICY_NAMES
from ..data.autoaugment import RANDAUGMENT_HIGHEST
from ..data.imagenet import SOURCES
from ..errors import ConfigError
from ..models.normalisation import NORM_LAYERS

DATA_SETS = tuple(DESCRIPTIONS)
DTYPES = ("float32", "float16")

#: Mean and standard deviation of CIFAR's channels as the original normalised by them, for pixels between 0 and 1.
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)

#: The same of ImageNet: (123.68, 116.779, 103.939) and (58.393, 57.12, 57.375) of pixels from 0 to 255.
IMAGENET_MEAN = (0.48501961, 0.45795686, 0.40760392)
IMAGENET_STD = (0.22899216, 0.224, 0.225)

DISTRIBUTED = ("none", "dist_sync", "horovod")


def setting(default: Any, reason: str, **limits: Any) -> Any:
    """A field with its documentation and limits.

    Parameters
    ----------
    default : object
        A list is copied for each instance.
    reason : str
        What it is, in one line.
    **limits
        `choices`, `low` and `high` (inclusive), `above` and `below` (exclusive).
    """
    metadata = {"reason": reason, **limits}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class ModelSettings:
    """What is trained; a setting left at null is the family's own default."""

    name: str = setting("aff_resnet32", "a family or a named model: python -m fusion models lists them")
    fusion: Optional[str] = setting(None, "what fuses the skip connections: python -m fusion models lists them")
    blocks: Optional[int] = setting(None, "residual blocks a stage (CIFAR families)", low=1)
    channel_times: Optional[int] = setting(None, "multiplies the widths (CIFAR families)", low=1)
    layers: Optional[int] = setting(None, "depth (ImageNet families)", choices=(50, 101, 152))
    start_layer: Optional[int] = setting(None, "stages before this one fuse by addition", low=1)
    cardinality: Optional[int] = setting(None, "groups of the 3x3 convolutions (ResNeXt)", low=1)
    bottleneck_width: Optional[int] = setting(None, "channels a group at width 64 (ResNeXt)", low=1)
    deep_stem: Optional[bool] = setting(None, "three convolutions in place of one")
    avg_down: Optional[bool] = setting(None, "average-pool the shortcuts that shrink")
    dilated: Optional[bool] = setting(None, "keep the stride of stages 3 and 4 at 1 (resnet)")
    last_gamma: Optional[bool] = setting(None, "start the last batch norm of a block at 0")
    final_drop: Optional[float] = setting(None, "dropout before the classifier", low=0, below=1)
    use_se: Optional[bool] = setting(None, "squeeze-and-excitation in each block (ResNeXt)")
    r: Optional[int] = setting(None, "reduction of the fusion blocks' bottlenecks", low=1)
    norm: Optional[str] = setting(None, "of the fusion blocks' global branches", choices=NORMS)
    outputs: Optional[int] = setting(None, "logits, where there are to be more than classes", low=2)
    norm_layer: str = setting("batch", "group puts group norm for every batch norm of the network", choices=NORM_LAYERS)
    sync_batch_norm: bool = setting(False, "batch norm over the whole batch of several devices, not each one's part")
    initializer: str = setting("auto", "auto is the family's", choices=("auto", "xavier", "msraprelu"))


@dataclass
class DataSettings:
    """What it is trained on."""

    name: str = setting("digits", "the data set", choices=DATA_SETS)
    dir: Optional[str] = setting(None, "folder of the data set; downloads go there")
    labels: str = setting("fine", "of CIFAR-100: 100 classes, or its 20 superclasses", choices=("fine", "coarse"))
    url: Optional[str] = setting(None, "where to download from; null is the official site")
    size: int = setting(32, "height and width of the images in pixels", low=8)
    fit: str = setting("exact", "images of another size are refused, or resized", choices=("exact", "resize"))
    batch_size: int = setting(128, "images a device a step", low=1)
    workers: int = setting(1, "threads that prepare batches; the batches do not depend on it", low=1)
    source: str = setting("auto", "of imagenet: class folders or RecordIO; auto is what is there", choices=SOURCES)
    pipeline: str = setting("python", "of imagenet: native is MXNet's ImageRecordIter", choices=("python", "native"))
    classes: Optional[int] = setting(None, "of imagenet: how many there must be; null is as many as are found", low=1)
    crop_share: float = setting(0.875, "of imagenet's test photos: centre crop by shorter side", above=0, high=1)
    max_bad_images: Optional[int] = setting(
        None, "of imagenet: unreadable training photos passed over; null is 10, and native has 0", low=0
    )


@dataclass
class AugmentSettings:
    """What is done to training images; all of it on whole batches but for AutoAugment."""

    crop_padding: int = setting(4, "random crop after zero padding by this many pixels; 0 is none", low=0)
    flip: bool = setting(True, "mirror half of the images left to right")
    auto_augment: str = setting(
        "none", "policy of arXiv 1805.09501, or arXiv 1909.13719's, before the crop", choices=POLICY_NAMES
    )
    randaugment_layers: int = setting(2, "N of RandAugment: operations an image", low=1)
    randaugment_magnitude: int = setting(
        9, "M of RandAugment: 10 is the end of each operation's range", low=0, high=RANDAUGMENT_HIGHEST
    )
    mixup_alpha: float = setting(0.0, "mixup with lambda ~ Beta(alpha, alpha), arXiv 1710.09412; 0 is off", low=0)
    cutmix_alpha: float = setting(0.0, "CutMix likewise, arXiv 1905.04899; with mixup, one is drawn a batch", low=0)
    mixup_off_epochs: int = setting(0, "no mixup and no CutMix in this many last epochs", low=0)
    mean: List[float] = setting(list(CIFAR_MEAN), "subtracted from pixels between 0 and 1")
    std: List[float] = setting(list(CIFAR_STD), "what they are divided by then")
    crop_area: List[float] = setting([0.08, 1.0], "of imagenet: least and greatest share of a photo in a crop")
    crop_aspect: List[float] = setting([3 / 4, 4 / 3], "of imagenet: least and greatest width by height of a crop")
    colour_jitter: float = setting(0.0, "of imagenet: brightness, contrast, saturation by 1 ± this", low=0, high=1)
    lighting: float = setting(0.0, "of imagenet: standard deviation of the PCA lighting noise", low=0)


@dataclass
class OptimizerSettings:
    """How the weights move."""

    name: str = setting("nag", "Nesterov's accelerated gradient, or plain momentum", choices=("nag", "sgd"))
    momentum: float = setting(0.9, "", low=0, below=1)
    weight_decay: float = setting(1e-4, "on weights, every step, under every schedule", low=0)
    decay_norm_and_bias: bool = setting(True, "also on biases, gammas and betas (no_wd in the original is false)")
    clip_gradient_norm: float = setting(0.0, "largest length of the gradient of all weights together; 0 is off", low=0)


@dataclass
class ScheduleSettings:
    """The learning rate over the run."""

    mode: str = setting("step", "how it falls", choices=("step", "cosine", "poly", "constant"))
    lr: float = setting(0.2, "after the warm-up, for the total batch over all devices", above=0)
    steps: List[int] = setting([], "epochs at whose start the rate is multiplied by factor (step)")
    factor: float = setting(0.1, "(step)", above=0, high=1)
    power: float = setting(2.0, "(poly)", above=0)
    final_lr: float = setting(0.0, "where cosine and poly end", low=0)
    warmup_epochs: float = setting(0.0, "linear rise from warmup_lr, under every schedule", low=0)
    warmup_lr: float = setting(0.0, "where the warm-up starts", low=0)


@dataclass
class TrainSettings:
    """How long, and from which random numbers."""

    epochs: int = setting(10, "passes over the training images", low=1)
    label_smoothing: float = setting(0.0, "share of the target spread over all classes", low=0, below=1)
    initial_parameters: Optional[str] = setting(None, "a .params file or checkpoint whose weights to start from")
    seed: int = setting(0, "of the weights, order, crops, mixup and dropout", low=0)
    evaluate_every: int = setting(1, "epochs from one evaluation to the next; the last is always evaluated", low=1)
    ema_decay: float = setting(0.0, "of a moving average of the weights, evaluated besides; 0 is off", low=0, below=1)
    dtype: str = setting("float32", "float16 has float32 master weights, and needs a GPU", choices=DTYPES)
    teacher: Optional[str] = setting(None, "to distil from: a run's folder, a model of ours, or one of GluonCV")
    teacher_checkpoint: Optional[str] = setting(None, "of the teacher: best or last of a run (null is best), or a file")
    distillation_weight: float = setting(
        0.5, "of the teacher's part in the loss; the labels have the rest", low=0, high=1
    )
    distillation_temperature: float = setting(4.0, "both outputs are divided by it for the teacher's part", above=0)


@dataclass
class RuntimeSettings:
    """Where it runs and what it reports; nothing here changes the result on one CPU context."""

    device: str = setting("cpu", "cpu, gpu, GPU numbers such as 0,1, or cpu:2 for two CPU contexts")
    distributed: str = setting(
        "none", "several processes, and what adds up for them: see docs/scaling.md", choices=DISTRIBUTED
    )
    log_every: int = setting(100, "batches between two log lines where there is no terminal", low=1)
    hybridize: bool = setting(True, "compile the network; false is slow and for debugging")


@dataclass
class Settings:
    """A whole run."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


def count_outputs(settings: Settings, classes: int) -> int:
    """The network's logits for a data set's classes.

    Raises
    ------
    ConfigError
        If model.outputs is fewer.
    """
    outputs = settings.model.outputs
    if outputs is not None and outputs < classes:
        raise ConfigError(f"model.outputs is {outputs}, and the data has {classes} classes; expected at least as many")
    return outputs or classes
