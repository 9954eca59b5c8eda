"""Every setting of a training run, with its type, default, limits and reason.

`fusion.training.config` fills these from YAML files and the command line; nothing else defines a setting.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import reduce
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, get_type_hints

from ..data import list_datasets
from ..data.augment import POLICY_NAMES
from ..data.autoaugment import RANDAUGMENT_HIGHEST
from ..data.imagenet import SOURCES
from ..data.masks.augment import PADDINGS
from ..data.masks.maskset import MISMATCHES
from ..norms import NORM_LAYERS, NORMS
from .typed_yaml import Kind

DATA_SETS = tuple(list_datasets())
DTYPES = ("float32", "float16", "float64")
EVAL_PADDINGS = ("reflect", "zeros")

_ONE_CLASS = "with one class there is nothing to tell apart, and every answer is right"

#: Mean and standard deviation of CIFAR's channels as the original normalised by them, for pixels between 0 and 1.
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)

#: The same of ImageNet: (123.68, 116.779, 103.939) and (58.393, 57.12, 57.375) of pixels from 0 to 255.
IMAGENET_MEAN = (0.48501961, 0.45795686, 0.40760392)
IMAGENET_STD = (0.22899216, 0.224, 0.225)

#: The optimizers that have momentum, those that have betas, and all of them.
WITH_MOMENTUM = ("nag", "sgd")
WITH_BETAS = ("adam", "adamw", "lamb")
OPTIMIZERS = (*WITH_MOMENTUM, "adagrad", *WITH_BETAS)

DISTRIBUTED = ("none", "dist_sync", "horovod")

#: A float32 keeps 24 bits, so that adding less than 2 ** -25 of a weight leaves it as it is: 3e-10 for one of 0.01,
#: which is small for a network. A single weight's gradient is rarely above 0.1, of which a momentum of 0.9 makes a step
#: as large as the learning rate. Below this rate such steps are lost; only weights at 0 move, by too little to matter.
LEAST_RATE = 1e-10

_NO_STEP = "steps of a smaller rate are lost in the rounding of float32 weights, so that nothing would be learnt"


def setting(default: Any, reason: str, **limits: Any) -> Any:
    """A field with its documentation and limits.

    Parameters
    ----------
    default : object
        A list is copied for each instance.
    reason : str
        What it is, in one line.
    **limits
        `choices`, `low` and `high` (inclusive), `above` and `below` (exclusive), and `why` there is a limit, where it
        is not plain.
    """
    metadata = {"reason": reason, **limits}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class ModelSettings:
    """What is trained; a setting left at null is the family's own default."""

    name: str = setting("aff_resnet32", "a family or a named model; python -m fusion models lists them")
    fusion: Optional[str] = setting(None, "how skip connections are fused; python -m fusion models lists the ways")
    blocks: Optional[int] = setting(None, "residual blocks per stage (CIFAR families, fpn, unet)", low=1)
    channel_times: Optional[int] = setting(None, "factor of the widths (CIFAR families, fpn, unet)", low=1)
    layers: Optional[int] = setting(None, "depth of the network (ImageNet families)", choices=(50, 101, 152))
    start_layer: Optional[int] = setting(None, "stages before this one fuse by addition", low=1)
    cardinality: Optional[int] = setting(None, "groups of the 3x3 convolutions (ResNeXt)", low=1)
    bottleneck_width: Optional[int] = setting(None, "channels per group at width 64 (ResNeXt)", low=1)
    deep_stem: Optional[bool] = setting(None, "begin with three convolutions in place of one")
    avg_down: Optional[bool] = setting(None, "where a shortcut shrinks the image, do it by average pooling")
    dilated: Optional[bool] = setting(
        None, "stages 3 and 4 have stride 1 and dilated convolutions (resnet, also as an encoder)"
    )
    as_released: Optional[bool] = setting(None, "inner width of blocks as in the first release (cifar_inception)")
    last_gamma: Optional[bool] = setting(None, "initialise the gamma of each block's last batch norm at 0")
    final_drop: Optional[float] = setting(None, "dropout before the classifier: share that is set to 0", low=0, below=1)
    use_se: Optional[bool] = setting(None, "squeeze-and-excitation in each block (ResNeXt)")
    encoder: Optional[str] = setting(None, "a classifier whose stages are fused in place of the basic ones (fpn, unet)")
    decoder_width: Optional[int] = setting(None, "channels of every map of the decoder (fpn, unet)", low=1)
    join: Optional[str] = setting(None, "fuse levels in pairs, or all at once (fpn)", choices=("pairs", "all"))
    tiny: Optional[bool] = setting(None, "the finest level has the size of the image (fpn, unet)")
    stages: Optional[int] = setting(None, "levels of the basic encoder (fpn, unet)", choices=(3, 4))
    head_drop: Optional[float] = setting(None, "dropout before the last layer (fpn, unet)", low=0, below=1)
    r: Optional[int] = setting(None, "the bottlenecks of fusion blocks have this many times fewer channels", low=1)
    norm: Optional[str] = setting(None, "normalisation in the global branches of fusion blocks", choices=NORMS)
    outputs: Optional[int] = setting(None, "number of logits, if there are to be more than classes", low=2)
    norm_layer: str = setting("batch", "group puts group norm in place of every batch norm", choices=NORM_LAYERS)
    sync_batch_norm: bool = setting(False, "batch norm over the whole batch of all devices, not over each one's part")
    initializer: str = setting(
        "auto", "how weights are initialised; auto is the family's way", choices=("auto", "xavier", "msraprelu")
    )
    prior: Optional[float] = setting(
        None,
        "probability of the target in each pixel before the first step (one output)",
        above=0,
        below=1,
    )


@dataclass
class DataSettings:
    """What it is trained on."""

    name: str = setting("digits", "the data set", choices=DATA_SETS)
    dir: Optional[str] = setting(None, "folder of the data set; downloads go there")
    labels: str = setting("fine", "CIFAR-100's 100 classes, or its 20 superclasses", choices=("fine", "coarse"))
    url: Optional[str] = setting(None, "where to download from; null is the official site")
    size: int = setting(32, "height and width of the images in pixels", low=8)
    fit: str = setting("exact", "whether images of another size are refused, or resized", choices=("exact", "resize"))
    batch_size: int = setting(128, "images per device in one step", low=1)
    workers: int = setting(1, "threads that prepare batches; the batches do not depend on it", low=1)
    source: str = setting("auto", "imagenet: class folders or RecordIO files; auto is what is there", choices=SOURCES)
    pipeline: str = setting("python", "imagenet: native is MXNet's ImageRecordIter", choices=("python", "native"))
    classes: Optional[int] = setting(
        None, "imagenet: how many there must be; null is as many as are found", low=2, why=_ONE_CLASS
    )
    crop_share: float = setting(
        0.875, "imagenet: side of the test photos' centre crop by their shorter side", above=0, high=1
    )
    max_bad_images: Optional[int] = setting(
        None, "imagenet, image_folder: unreadable training images to skip at most; null is 10 (native: 0)", low=0
    )
    train_split: str = setting("train", "masks: the list of images to train on, such as trainval")
    test_split: str = setting("test", "masks: the list of images to test on; without a list test it is val")
    mask_suffix: str = setting(".png", "masks: what the name of a mask has after its image's, such as _pixels0.png")
    ignore: Optional[int] = setting(
        None, "masks: the value of pixels that do not count; null is none (voc_masks: 255)", low=0, high=255
    )
    mask_mismatch: str = setting(
        "error", "masks: whether a mask of another size than its image is refused, or resized", choices=MISMATCHES
    )


@dataclass
class AugmentSettings:
    """What is done to training images; all of it on whole batches except AutoAugment."""

    crop_padding: int = setting(4, "random crop after padding with this many pixels of zeros; 0 is no crop", low=0)
    flip: bool = setting(True, "mirror half of the images left to right")
    auto_augment: str = setting(
        "none", "policy of arXiv 1805.09501, or of arXiv 1909.13719, before the crop", choices=POLICY_NAMES
    )
    randaugment_layers: int = setting(2, "N of RandAugment: operations per image", low=1)
    randaugment_magnitude: int = setting(
        9, "M of RandAugment: 10 is the end of each operation's range", low=0, high=RANDAUGMENT_HIGHEST
    )
    mixup_alpha: float = setting(0.0, "mixup with lambda ~ Beta(alpha, alpha), arXiv 1710.09412; 0 is off", low=0)
    cutmix_alpha: float = setting(
        0.0, "CutMix likewise, arXiv 1905.04899; with both, each batch has one of them", low=0
    )
    mixup_off_epochs: int = setting(0, "number of last epochs without mixup and CutMix", low=0)
    mean: List[float] = setting(list(CIFAR_MEAN), "subtracted from pixels between 0 and 1: red, green, blue")
    std: List[float] = setting(list(CIFAR_STD), "by which pixels are divided after that: red, green, blue")
    crop_area: List[float] = setting([0.08, 1.0], "imagenet: least and greatest share of a photo in a crop")
    crop_aspect: List[float] = setting([3 / 4, 4 / 3], "imagenet: least and greatest width by height of a crop")
    colour_jitter: float = setting(
        0.0, "imagenet, masks: brightness, contrast and saturation change by up to this share", low=0, high=1
    )
    lighting: float = setting(0.0, "imagenet: standard deviation of the PCA lighting noise", low=0)
    crop_size: List[int] = setting([], "masks: height and width of training crops in pixels; [] is data.size for both")
    long_side: List[int] = setting(
        [], "masks: least and greatest length in pixels that an image's longer side is scaled to; [] uses scale"
    )
    scale: List[float] = setting([1.0, 1.0], "masks: least and greatest factor that an image is scaled by")
    padding: str = setting(
        "ignore",
        "masks: outside of the image a crop has the mean colour and does not count, or is black and background",
        choices=PADDINGS,
    )
    target_probability: float = setting(
        0.0, "masks: how often a crop is placed so that it has a target, each class as likely", low=0, high=1
    )
    blur_probability: float = setting(
        0.0, "masks: how often a crop is blurred, by a Gaussian of up to 1 pixel", low=0, high=1
    )


@dataclass
class OptimizerSettings:
    """How the weights move."""

    name: str = setting("nag", "nag is Nesterov's accelerated gradient, sgd is ordinary momentum", choices=OPTIMIZERS)
    momentum: float = setting(0.9, "share of the last step that is added to the next (nag, sgd)", low=0, below=1)
    betas: List[float] = setting(
        [0.9, 0.999], "share of the running means of the gradient and of its square that each step keeps (adam, ...)"
    )
    epsilon: Optional[float] = setting(
        None, "added to the root of the second of them; null is 1e-8, for lamb 1e-6 (adam, adamw, lamb)", above=0
    )
    weight_decay: float = setting(
        1e-4, "share of the weights added to their gradient, in every step; with adamw, taken off them by itself", low=0
    )
    decay_norm_and_bias: bool = setting(True, "weight decay on biases, gammas and betas too (false: original's no_wd)")
    clip_gradient_norm: float = setting(0.0, "largest length of the gradient of all weights together; 0 is off", low=0)
    lr_factors: List[str] = setting(
        [], "what the learning rate is multiplied by in some layers, such as [classifier=10, features=0.1]"
    )
    layer_decay: float = setting(
        1.0,
        "what it is multiplied by from each residual block to the one before; the last layer has 1",
        above=0,
        high=1,
    )
    accumulate: int = setting(
        1, "parts of a device's batch that go through the network one by one, in less memory, for one step", low=1
    )


@dataclass
class ScheduleSettings:
    """The learning rate over the run."""

    mode: str = setting("step", "how the learning rate falls", choices=("step", "cosine", "poly", "constant"))
    lr: float = setting(
        0.2, "the learning rate after the warm-up, for the total batch over all devices", low=LEAST_RATE, why=_NO_STEP
    )
    steps: List[int] = setting([], "epochs at whose start the learning rate is multiplied by factor (step)")
    factor: float = setting(0.1, "what the learning rate is multiplied by at each of the steps (step)", above=0, high=1)
    power: float = setting(2.0, "power of the share of the run that is left (poly)", above=0)
    final_lr: float = setting(0.0, "the learning rate at the end (cosine, poly)", low=0)
    warmup_epochs: float = setting(0.0, "linear rise from warmup_lr to lr in this many epochs, in every mode", low=0)
    warmup_lr: float = setting(0.0, "the learning rate at the start of the warm-up", low=0)


@dataclass
class TrainSettings:
    """How long, and from which random numbers."""

    epochs: int = setting(10, "passes over the training images", low=1)
    loss: Optional[str] = setting(
        None, "segmentation: what is minimised, such as soft_iou or soft_iou + 0.5 bce; null is the task's own"
    )
    focal_gamma: float = setting(2.0, "segmentation: power of the focal loss, at which sure pixels weigh less", low=1)
    label_smoothing: float = setting(0.0, "share of the target that is spread over all classes", low=0, below=1)
    initial_parameters: Optional[str] = setting(
        None, "the weights to begin from: a file, a run's folder, or a model that comes with weights"
    )
    fresh: List[str] = setting([], "layers that begin anew all the same, such as [classifier]; * is any letters")
    freeze: List[str] = setting([], "layers that stay as they are; * is any letters, and classifier the last layer")
    encoder_parameters: Optional[str] = setting(None, "a .params file that the encoder begins from (fpn, unet)")
    seed: int = setting(0, "of the weights, the order of images, crops, mixup and dropout", low=0)
    patience: int = setting(0, "epochs without a better test figure after which the run ends early; 0 is never", low=0)
    evaluate_every: int = setting(1, "epochs from one evaluation to the next; the last is always evaluated", low=1)
    ema_decay: float = setting(
        0.0, "of a moving average of the weights, which is evaluated as well; 0 is off", low=0, below=1
    )
    dtype: str = setting(
        "float32", "float16 has float32 master weights and needs a GPU; float64 is to compare", choices=DTYPES
    )
    teacher: Optional[str] = setting(None, "network to distil from: a run's folder, a model of ours, or GluonCV's name")
    teacher_checkpoint: Optional[str] = setting(None, "of a run as the teacher: best or last (null is best), or a file")
    distillation_weight: float = setting(0.5, "share of the teacher in the loss; labels have the rest", low=0, high=1)
    distillation_temperature: float = setting(
        4.0, "divides both networks' logits in the teacher's part of the loss", above=0
    )


@dataclass
class EvalSettings:
    """How a network that answers each pixel is shown an image (segmentation); by default whole and as it is."""

    resize: int = setting(0, "side of the square that image and mask are resized to; 0 is their own size", low=0)
    padding: str = setting("reflect", "what an image is padded with to the network's stride", choices=EVAL_PADDINGS)
    tile: int = setting(0, "side of windows that slide over larger images; 0 is the whole image at once", low=0)
    overlap: int = setting(32, "pixels that two neighbouring windows share, where their logits are averaged", low=0)
    flips: bool = setting(False, "average the logits with those of the mirrored image")


@dataclass
class RuntimeSettings:
    """Where it runs and what it reports; nothing here changes the result on one CPU context."""

    device: str = setting("cpu", "cpu, gpu, GPU numbers such as 0,1, or cpu:2 for two CPU contexts")
    distributed: str = setting(
        "none", "what adds up the gradients of several processes: see docs/scaling.md", choices=DISTRIBUTED
    )
    log_every: int = setting(100, "batches from one log line to the next where there is no terminal", low=1)
    pictures_every: int = setting(
        0, "segmentation: epochs from one picture of answers to test images to the next; 0 is none", low=0
    )
    keep_every: int = setting(
        0, "epochs from one checkpoint that is kept, besides the last, to the next; 0 is none", low=0
    )
    tensorboard: bool = setting(False, "write figures, fusion weights and pictures for TensorBoard as well")
    hybridize: bool = setting(True, "compile the network; false is slow, for debugging")


@dataclass
class Settings:
    """A whole run."""

    task: Optional[str] = setting(None, "what the network learns, such as classification; null: the data set's task")
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    eval: EvalSettings = field(default_factory=EvalSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


# --- All settings by name --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """What one setting may hold, with the reason and limits that `setting` gave it."""

    kind: Kind
    metadata: Mapping[str, Any]


def _keys(section: type, prefix: str = "") -> Iterator[Tuple[str, Key]]:
    types = get_type_hints(section)
    for key in fields(section):
        name, declared = f"{prefix}{key.name}", types[key.name]
        if is_dataclass(declared):
            yield from _keys(declared, f"{name}.")  # type: ignore[arg-type]
        else:
            yield name, Key(Kind.of(declared), key.metadata)


#: Every setting by its name: `section.key`, or `key` for those of the whole run.
KEYS = dict(_keys(Settings))

#: Settings of the model section that are not arguments of the network.
_NOT_ARGUMENTS = ("name", "outputs", "initializer", "prior", "norm_layer", "sync_batch_norm")


def value_of(settings: Settings, key: str) -> Any:
    """The value of a setting, or of a section, by its name in `KEYS`."""
    return reduce(getattr, key.split("."), settings)


def model_keywords(settings: Settings) -> Dict[str, Any]:
    """The keyword arguments that the model section sets, for `fusion.get_model`."""
    section = asdict(settings.model)
    return {key: value for key, value in section.items() if value is not None and key not in _NOT_ARGUMENTS}
