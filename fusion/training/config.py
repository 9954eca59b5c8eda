"""Reads an experiment: YAML files that inherit from each other, then words of the command line, checked one by one.

A file may start with `base: other.yaml` (a path from its own folder, or a list of them), whose settings it then
overrides. Every complaint names where the value came from: a file and line, or the word on the command line.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import omegaconf
import yaml
from omegaconf import OmegaConf

from ..data import describe
from ..errors import ConfigError, nearest
from ..models.zoo import model_arguments
from .photo_training import photo_problems
from .settings import Settings

_SECTIONS = {section.name: section.default_factory for section in dataclasses.fields(Settings)}
_KEYS = {
    f"{name}.{key.name}": key
    for name, section in _SECTIONS.items()
    for key in dataclasses.fields(section)  # type: ignore[arg-type]
}

#: Settings of the run, not of the network.
_NOT_ARGUMENTS = ("name", "outputs", "initializer", "norm_layer", "sync_batch_norm")

#: The words of `OmegaConf`'s types, for people.
_TYPE_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


@dataclass(frozen=True)
class Word:
    """One setting as it was written: its key, its value, and where."""

    key: str
    value: Any
    place: str


def read_config(path: Optional[Union[str, Path]], overrides: Sequence[str] = ()) -> Settings:
    """Resolve a config file and command-line words into settings.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file; None starts from the defaults.
    overrides : sequence of str
        Words such as `schedule.lr=0.1`, which win over the file.

    Returns
    -------
    Settings
        Typed and checked.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type or an impossible value: where it stands, what was expected, and the nearest
        known key.
    """
    words = [*(_words_of_file(Path(path), ()) if path is not None else ()), *map(_word_of_argument, overrides)]
    config = OmegaConf.structured(Settings)
    places: Dict[str, str] = {}
    for word in words:
        _apply(config, word)
        places[word.key] = word.place
    settings: Settings = OmegaConf.to_object(config)  # type: ignore[assignment]
    _check_limits(settings, places)
    _check_together(settings, places)
    return settings


def to_yaml(settings: Settings, reasons: bool = False) -> str:
    """The settings as a YAML file that `read_config` reads back.

    Parameters
    ----------
    settings : Settings
        Resolved.
    reasons : bool, default False
        Write beside each setting what it is.
    """
    lines = []
    for name, section in dataclasses.asdict(settings).items():
        lines.append(f"{name}:")
        for key, value in section.items():
            text = f"{key}: {yaml.safe_dump([value], default_flow_style=True, width=1000).strip()[1:-1]}"
            reason = _KEYS[f"{name}.{key}"].metadata["reason"]
            lines.append(f"  {text:<40}  # {reason}" if reasons and reason else f"  {text}")
    return "\n".join(lines) + "\n"


# --- Reading ---------------------------------------------------------------------------------------------------------


def _words_of_file(path: Path, above: Tuple[Path, ...]) -> Iterator[Word]:
    """The settings of a file in order, after those of its bases."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: inherits from itself by way of {above[-1]}")
    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this config ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; a config is YAML in UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if document is None:
        return
    if not isinstance(document, yaml.MappingNode):
        raise ConfigError(f"{path}: expected sections such as 'model:' and 'data:'")
    for key, node in document.value:
        if key.value == "base":
            bases = _plain(node, f"{path}, line {key.start_mark.line + 1}: base")
            bases = [bases] if isinstance(bases, str) else bases
            if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
                raise ConfigError(f"{path}, line {key.start_mark.line + 1}: base is a file, or a list of files")
            for base in bases:
                yield from _words_of_file(path.parent / base, (*above, path.resolve()))
    for key, node in document.value:
        if key.value != "base":
            yield from _words_of_section(path, key, node)


def _words_of_section(path: Path, section: Any, node: Any) -> Iterator[Word]:
    place = f"{path}, line {section.start_mark.line + 1}"
    if not isinstance(section, yaml.ScalarNode) or section.value not in _SECTIONS:
        name = _plain(section, place)
        raise ConfigError(f"{place}: no section is named {name!r}: {nearest(str(name), _SECTIONS)}")
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place}: {section.value} is a section; put its settings below it, indented")
    for key, value in node.value:
        place = f"{path}, line {key.start_mark.line + 1}"
        name = f"{section.value}.{key.value if isinstance(key, yaml.ScalarNode) else _plain(key, place)}"
        yield Word(name, _plain(value, f"{place}: {name}"), place)


def _plain(node: Any, place: str) -> Any:
    """What a piece of YAML stands for, in Python's own types."""
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "problem", None) or error
        raise ConfigError(f"{place}: not a value that YAML has ({reason})") from None


def _word_of_argument(argument: str) -> Word:
    key, equals, text = argument.partition("=")
    place = f"command line, {argument!r}"
    if not equals:
        raise ConfigError(f"{place}: expected section.key=value, such as schedule.lr=0.1")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # the second for a date that is not
        raise ConfigError(f"{place}: the value is not valid YAML") from None
    return Word(key, value, place)


def _apply(config: Any, word: Word) -> None:
    if word.key not in _KEYS:
        raise ConfigError(f"{word.place}: no setting is named {word.key!r}: {_nearest_key(word.key)}")
    try:
        OmegaConf.update(config, word.key, word.value)
        OmegaConf.select(config, word.key, throw_on_missing=True)  # resolves ${...}, and refuses ???
    except (omegaconf.errors.OmegaConfBaseException, ValueError):
        raise ConfigError(
            f"{word.place}: {word.key} is {word.value!r}; expected {_type_in_words(_KEYS[word.key])}"
        ) from None


def _nearest_key(key: str) -> str:
    """The closest setting, in whichever section it is."""
    leaf = key.rsplit(".", 1)[-1]
    namesakes = [known for known in _KEYS if known.rsplit(".", 1)[-1] == leaf]
    if namesakes:
        return f"did you mean {' or '.join(map(repr, namesakes))}?"
    section = key.split(".")[0]
    in_section = [known for known in _KEYS if known.startswith(f"{section}.")]
    return nearest(key, in_section or _KEYS)


def _type_in_words(key: Any) -> str:
    name = str(key.type)
    optional = name.startswith("Optional[")
    inner = name[len("Optional[") : -1] if optional else name
    if inner.startswith("List["):
        words = f"a list such as [{'300, 450' if 'int' in inner else '0.5, 0.5, 0.5'}]"
    else:
        words = _TYPE_WORDS[inner]
    return f"{words}, or null for the default" if optional else words


# --- Checking --------------------------------------------------------------------------------------------------------

_LIMITS = (
    ("low", lambda value, limit: value >= limit, "at least"),
    ("high", lambda value, limit: value <= limit, "at most"),
    ("above", lambda value, limit: value > limit, "more than"),
    ("below", lambda value, limit: value < limit, "less than"),
)


def _check_limits(settings: Settings, places: Dict[str, str]) -> None:
    for name, key in _KEYS.items():
        section, leaf = name.split(".")
        value = getattr(getattr(settings, section), leaf)
        if value is None:
            continue
        choices = key.metadata.get("choices")
        if choices and value not in choices:
            hint = nearest(str(value), map(str, choices))
            _refuse(places, name, value, f"expected one of {', '.join(map(str, choices))}; {hint}")
        for limit, holds, words in _LIMITS:
            # A comparison with NaN is false, so this refuses it too.
            if limit in key.metadata and not holds(value, key.metadata[limit]):
                _refuse(places, name, value, f"expected {words} {key.metadata[limit]}")
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            _refuse(places, name, value, "expected a finite number")


def _check_together(settings: Settings, places: Dict[str, str]) -> None:
    """What no single setting shows: a schedule that does not fit the epochs, a data set without a folder, ..."""
    schedule, epochs, augment, data = settings.schedule, settings.train.epochs, settings.augment, settings.data
    steps, known = schedule.steps, describe(data.name)
    if steps != sorted(set(steps)) or any(step < 1 for step in steps):
        _refuse(places, "schedule.steps", steps, "expected rising epochs of at least 1, such as [300, 450]")
    if schedule.mode == "step" and steps and steps[-1] >= epochs:
        _refuse(places, "schedule.steps", steps, f"the run has {epochs} epochs (train.epochs), so the last never acts")
    if schedule.warmup_epochs >= epochs and schedule.warmup_epochs > 0:
        _refuse(places, "schedule.warmup_epochs", schedule.warmup_epochs, f"expected less than {epochs} epochs")
    if augment.mixup_off_epochs > epochs:
        _refuse(places, "augment.mixup_off_epochs", augment.mixup_off_epochs, f"the run has {epochs} epochs")
    for name, values in (("augment.mean", augment.mean), ("augment.std", augment.std)):
        if len(values) != 3 or (name == "augment.std" and min(values) <= 0):
            _refuse(places, name, values, "expected three numbers, red, green and blue; std above 0")
    if augment.crop_padding >= data.size:
        _refuse(places, "augment.crop_padding", augment.crop_padding, f"expected less than the images' {data.size}")
    if data.labels == "coarse" and "labels" not in known.options:
        _refuse(places, "data.labels", data.labels, f"only cifar100 has superclasses, and data.name is {data.name}")
    if known.needs_folder and data.dir is None:
        _refuse(places, "data.dir", None, f"{data.name} needs the folder it is in or is downloaded to: data.dir=PATH")
    if known.size not in (None, data.size):
        _refuse(places, "data.size", data.size, f"{data.name} has images of {known.size} pixels")
    for key, value, expected in photo_problems(settings):
        _refuse(places, key, value, expected)
    _check_recipe(settings, places)
    _check_model(settings, places)


def _check_recipe(settings: Settings, places: Dict[str, str]) -> None:
    """Settings that would have no effect, or that the platform cannot have together."""
    model, train = settings.model, settings.train
    if train.teacher is None and train.teacher_checkpoint is not None:
        _refuse(places, "train.teacher_checkpoint", train.teacher_checkpoint, "there is no teacher: set train.teacher")
    if model.sync_batch_norm and model.norm_layer != "batch":
        expected = f"there is no batch norm with model.norm_layer={model.norm_layer}"
        _refuse(places, "model.sync_batch_norm", model.sync_batch_norm, expected)
    if model.sync_batch_norm and train.dtype != "float32":
        expected = f"MXNet's has no {train.dtype}: set train.dtype=float32"
        _refuse(places, "model.sync_batch_norm", model.sync_batch_norm, expected)


def _check_model(settings: Settings, places: Dict[str, str]) -> None:
    try:
        known = model_arguments(settings.model.name)
    except ValueError as error:
        _refuse(places, "model.name", settings.model.name, str(error))
    for key, value in model_keywords(settings).items():
        if key not in known:
            takes = ", ".join(sorted(set(known) - {"classes"}))
            _refuse(places, f"model.{key}", value, f"{settings.model.name} takes {takes}")


def model_keywords(settings: Settings) -> Dict[str, Any]:
    """The keyword arguments that the model section sets, for `fusion.get_model`."""
    section = dataclasses.asdict(settings.model)
    return {key: value for key, value in section.items() if value is not None and key not in _NOT_ARGUMENTS}


def _refuse(places: Dict[str, str], key: str, value: Any, expected: str) -> None:
    place = places.get(key, "default")
    raise ConfigError(f"{place}: {key} is {value!r}; {expected}")


def differing_keys(one: Settings, other: Settings) -> List[str]:
    """The settings in which two runs differ, as `section.key`."""
    left, right = dataclasses.asdict(one), dataclasses.asdict(other)
    return [key for key in _KEYS if _value(left, key) != _value(right, key)]


def _value(sections: Dict[str, Any], key: str) -> Any:
    section, leaf = key.split(".")
    return sections[section][leaf]
