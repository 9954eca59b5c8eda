"""What a run starts from: the weights of another network, which of its layers are new, and which stay as they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, FrozenSet, Iterator, List, Mapping, Sequence, Tuple

from ..compat import mx, nn
from ..data.identity import Classes
from ..errors import CheckpointError, ConfigError
from ..models.depth import layers_above
from ..models.network import describe_mismatches, learns, mismatches
from ..models.patterns import CLASSIFIER, names_matching
from ..models.pretrained import find_weights, list_pretrained
from ..words import counted
from . import checkpoint
from .logbook import RunDirectory
from .matching import arrays_by_name, classes_of_file
from .settings import Settings

logger = logging.getLogger("fusion")

#: The setting that leaves the last layer as it was initialised.
_ANEW = f"train.fresh=[{CLASSIFIER}]"

#: So many names are listed in a line of the log.
_MOST_NAMES = 8

_BATCH_NORMS = (nn.BatchNorm, mx.gluon.contrib.nn.SyncBatchNorm)


# --- The weights of another network ----------------------------------------------------------------------------------


def load_initial_parameters(net: Any, settings: Settings, classes: Classes) -> None:
    """Load `train.encoder_parameters` and `train.initial_parameters`, if set, into an initialised network.

    What `train.fresh` names keeps the values that it was initialised with, and is listed in the log. Where the second
    is of a run, its outputs are taken by the names of the classes, of the data of this run.

    Raises
    ------
    CheckpointError
        If a file is missing, is damaged, or belongs to another network.
    ConfigError
        If a class of the data is none of those that the weights were trained on.
    """
    if settings.train.encoder_parameters is not None:
        try:
            net.load_encoder(str(Path(settings.train.encoder_parameters).expanduser()))
        except CheckpointError as error:
            raise CheckpointError(f"train.encoder_parameters: {error}") from None
    if settings.train.initial_parameters is not None:
        _load(net, settings, classes, settings.train.initial_parameters)


def _load(net: Any, settings: Settings, classes: Classes, name: str) -> None:
    fresh = _names(net, "train.fresh", settings.train.fresh)
    file = weights_of(name)
    try:
        arrays = checkpoint.network_arrays(file)
    except CheckpointError as error:
        raise CheckpointError(
            f"train.initial_parameters: {error}\nThis run starts from the checkpoint of another run: train that "
            "run first (the header of the config gives the command), or name another file"
        ) from None
    stored = classes_of_file(file)
    if stored is not None and not _is_fresh(net.classifier, fresh):
        try:
            arrays = arrays_by_name(arrays, settings, classes, stored, net.classes)
        except ConfigError as error:
            raise ConfigError(f"{error}; to train the last layer anew, for other classes, add {_ANEW}") from None
    own = net._collect_params_with_prefix()
    arrays = {**arrays, **{part: own[part].list_data()[0].asnumpy() for part in fresh}}
    problems = mismatches(net, arrays)
    if problems:
        raise CheckpointError(f"train.initial_parameters: {_refusal(net, file, problems)}")
    checkpoint.load_arrays(file, net, arrays)
    if fresh:
        logger.info(
            "%s of the weights are from %s; fresh are %s", f"{len(own) - len(fresh):,}", file, _shown(net, fresh)
        )


def _is_fresh(layer: str, fresh: FrozenSet[str]) -> bool:
    return any(name.startswith(f"{layer}.") for name in fresh)


def _refusal(net: Any, file: Path, problems: List[str]) -> str:
    """Why the weights do not fit, and what helps where it is the number of classes alone."""
    message = describe_mismatches(str(file), problems)
    if all(line.startswith(f"{net.classifier}.") for line in problems):
        return f"{message}\nOnly the last layer differs: to train it anew, for other classes, add {_ANEW}"
    return message


def weights_of(name: str) -> Path:
    """The file of weights that `train.initial_parameters` names.

    Parameters
    ----------
    name : str
        A file, the folder of a run (its best epoch), or a model whose weights come with the package.

    Raises
    ------
    CheckpointError
        If it is none of them.
    """
    path = Path(name).expanduser()
    run = RunDirectory(path)
    if run.config.is_file():
        try:
            return run.weights("best")
        except CheckpointError as error:
            raise CheckpointError(f"train.initial_parameters: {error}") from None
    if name in list_pretrained() and not path.exists():
        return find_weights(name).file
    if path.is_dir():
        raise CheckpointError(
            f"train.initial_parameters: {path}: a folder without config.yaml; expected the folder of a run, a file of "
            "weights, or a model of python -m fusion models whose weights come with the package"
        )
    return path


# --- Layers that learn otherwise -------------------------------------------------------------------------------------


def hold_layers(net: Any, settings: Settings) -> None:
    """Freeze what `train.freeze` names, and scale the learning rate of layers.

    The rate falls by `optimizer.layer_decay` from each residual block to the one before, as in Clark et al., "ELECTRA",
    arXiv 2003.10555, and Bao et al., "BEiT", arXiv 2106.08254. What `optimizer.lr_factors` names has its factor, too.
    A frozen parameter gets no gradient and no weight decay. A batch norm whose scale and centre are frozen uses its
    running statistics in training, too, and they stay as they are.

    Parameters
    ----------
    net : Network
        Initialised, and not yet run.
    settings : Settings
        Of the run.

    Raises
    ------
    ConfigError
        If a pattern names nothing, a factor is no number of at least 0, or nothing is left to learn.
    """
    own = net._collect_params_with_prefix()
    learning = {name for name, one in own.items() if learns(one)}
    if settings.optimizer.layer_decay != 1:
        _decay_by_layer(own, layers_above(net), settings.optimizer.layer_decay)
    for pattern, factor in _factors(settings.optimizer.lr_factors):
        for name in _names(net, "optimizer.lr_factors", [pattern]):
            own[name].lr_mult *= factor
    frozen = _names(net, "train.freeze", settings.train.freeze)
    for name in frozen:
        own[name].grad_req = "null"
    net.frozen = frozenset(name for name in learning if not learns(own[name]))
    if not frozen:
        return
    if net.frozen == learning:
        raise ConfigError(f"train.freeze={settings.train.freeze}: nothing is left to learn; name fewer layers")
    net.apply(_keep_statistics)
    logger.info("frozen: %s of %s", len(net.frozen), counted(len(learning), "array of weights", "arrays of weights"))


def _decay_by_layer(parameters: Mapping[str, Any], above: Mapping[str, int], decay: float) -> None:
    for name, parameter in parameters.items():
        parameter.lr_mult *= decay ** above[name]
    deepest = max(above.values())
    logger.info("learning rate: in the first layers %.3g of the last one's, in %d steps", decay**deepest, deepest)


def _keep_statistics(block: Any) -> None:
    """Have a batch norm that is frozen use its running statistics in training, too; other blocks stay as they are."""
    if isinstance(block, _BATCH_NORMS) and block.gamma.grad_req == block.beta.grad_req == "null":
        block._kwargs["use_global_stats"] = True


def _factors(words: Sequence[str]) -> Iterator[Tuple[str, float]]:
    """(pattern, factor) of each word such as `classifier=10`."""
    for word in words:
        pattern, equals, factor = word.rpartition("=")
        try:
            number = float(factor)
        except ValueError:
            number = -1.0
        if not equals or not 0 <= number < float("inf"):
            raise ConfigError(
                f"optimizer.lr_factors: {word!r}: expected layers and what their learning rate is multiplied by, "
                "such as classifier=10"
            )
        yield pattern, number


def _names(net: Any, setting: str, patterns: Sequence[str]) -> FrozenSet[str]:
    try:
        return names_matching(net, patterns)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None


def _shown(net: Any, names: FrozenSet[str]) -> str:
    """The first few of some parameters with their shapes, in the network's order."""
    own = net._collect_params_with_prefix()
    parts = [f"{name} {tuple(own[name].shape)}" for name in own if name in names]
    more = f" and {len(parts) - _MOST_NAMES} more" if len(parts) > _MOST_NAMES else ""
    return ", ".join(parts[:_MOST_NAMES]) + more
