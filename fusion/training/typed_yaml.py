"""YAML for settings: read within limits, and each value as the type that its setting declares.

PyYAML splits the text into scalars, lists and mappings. What a scalar stands for is decided here and only once its type
is known, so that text is taken as it is written: a folder may be called `0123`, `on` or `2020-01-01`. Numbers, `true`,
`false` and `null` are spelt as in YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `010` is ten, and `1:30`
and `yes` are text.

No library does this part. OmegaConf, cattrs and pydantic are given values whose types PyYAML has guessed (it makes 83
of `0123`), have rules of their own by which one type becomes another, know neither the line of a value nor a limit on
what is read, and OmegaConf's `${}` and `???` have to be guarded against. Such guards are longer than this reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Dict, Optional, get_args, get_origin

import yaml

from ..errors import FusionError
from ..words import shortened

#: A config of ours has less than 3,000 bytes. A file of this size is read in a second, or in four at the worst.
MOST_BYTES = 100_000

#: Section, list and number are three levels.
MOST_NESTED = 10

#: The longest number, in characters. Python refuses to read some thousands of digits, and older versions take minutes.
_LONGEST_NUMBER = 60

_NULL = ("", "~", "null", "Null", "NULL")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_WHOLE_WITH_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_LISTS = {int: "a list such as [300, 450]", float: "a list such as [0.5, 0.5, 0.5]", str: "a list such as [one, two]"}


class YamlError(FusionError):
    """Text that is not YAML, or goes beyond what is read of YAML here.

    Attributes
    ----------
    line : int, optional
        Where, from 1.
    """

    def __init__(self, message: str, line: Optional[int] = None):
        super().__init__(message)
        self.line = line


# --- Composing -------------------------------------------------------------------------------------------------------


class _Refused(yaml.YAMLError):
    """YAML that is valid and not read here."""

    def __init__(self, problem: str, line: int):
        super().__init__(problem)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes without a guess at their types, and refuses what no config needs."""

    yaml_implicit_resolvers: Dict[str, Any] = {}

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            name = shortened(str(event.anchor))
            self._refuse(f"an alias such as *{name} is not read here: write out what it stands for", event)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(f"a tag such as {shortened(tag)} is not read here: leave it out", event)
        if self._depth == MOST_NESTED:
            self._refuse(f"there are more than {MOST_NESTED} levels of lists and sections in each other", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: Dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                where = f"in line {line}" if first == line else f"in line {first} and in line {line}"
                self._refuse(f"{shortened(repr(key.value))} is there twice, {where}: leave one of them out", key)
            lines[key.value] = line
        return node

    def _refuse(self, problem: str, where: Any) -> None:
        raise _Refused(problem, where.start_mark.line + 1)


def compose(text: str) -> Optional[yaml.Node]:
    """The nodes of a YAML document, without their types; None for a document without any.

    Raises
    ------
    YamlError
        For text that is not YAML, a second document, a tag, an alias, a key that is there twice, or more than
        `MOST_NESTED` levels.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise YamlError(f"not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return loader.get_single_node()
    except _Refused as error:
        raise YamlError(str(error), error.line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise YamlError(f"not valid YAML: {reason}", mark.line + 1 if mark else None) from None
    except (ValueError, OverflowError):  # of chr()
        raise YamlError("not valid YAML: there is no character of that number", loader.line + 1) from None
    finally:
        loader.dispose()


def text_node(text: str) -> yaml.ScalarNode:
    """Text as it is written on a command line, where a setting is given back its default by `null`, or by nothing."""
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=None if text in ("", "null") else '"')


def flow_node(text: str) -> yaml.Node:
    """A number, truth value or list as it is written on a command line; text that is no YAML stays text."""
    try:
        return compose(text) or text_node("")
    except YamlError:
        return yaml.ScalarNode("tag:yaml.org,2002:str", text, style='"')


# --- Values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What a setting holds.

    Attributes
    ----------
    item : type
        str, int, float or bool.
    many : bool
        Whether it is a list of them.
    optional : bool
        Whether it may be null.
    """

    item: type
    many: bool = False
    optional: bool = False

    @classmethod
    def of(cls, annotation: Any) -> Kind:
        """The kind that a type annotation declares: one of the four types, a List of one, or an Optional of these."""
        inner = [argument for argument in get_args(annotation) if argument is not type(None)]
        if get_origin(annotation) is list:
            return cls(inner[0], many=True)
        return replace(cls.of(inner[0]), optional=True) if inner else cls(annotation)

    @property
    def is_text(self) -> bool:
        """Whether it is one text."""
        return self.item is str and not self.many

    @property
    def words(self) -> str:
        """What is expected, for people."""
        words = (_LISTS if self.many else _WORDS)[self.item]
        return f"{words}, or null for the default" if self.optional else words


def read_value(node: yaml.Node, kind: Kind) -> Any:
    """What a node stands for where a kind is expected.

    Raises
    ------
    ValueError
        If it is of another kind.
    """
    if kind.optional and _is_null(node):
        return None
    if not kind.many:
        return _read_scalar(node, kind.item)
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError("not a list")
    return [_read_scalar(item, kind.item) for item in node.value]


def read_freely(node: yaml.Node) -> Any:
    """What a node stands for where nothing in particular is expected, as for a message."""
    if isinstance(node, yaml.SequenceNode):
        return [read_freely(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_hashable(read_freely(key)): read_freely(value) for key, value in node.value}
    if _is_null(node):
        return None
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return node.value
    for item in (bool, int, float):
        try:
            return _read_scalar(node, item)
        except ValueError:
            pass
    return node.value


def shown(node: yaml.Node) -> str:
    """A node in a message."""
    return shortened(repr(read_freely(node)))


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL


def _read_scalar(node: yaml.Node, item: type) -> Any:
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        raise ValueError("not a single value")
    text: str = node.value
    if item is str:
        if "\0" in text:
            raise ValueError("no file and no name has a NUL character")
        return text
    if item is bool and text in _TRUTHS:
        return _TRUTHS[text]
    if len(text) <= _LONGEST_NUMBER:
        if item is int and _WHOLE.fullmatch(text):
            return int(text)
        if item is int and _WHOLE_WITH_BASE.fullmatch(text):
            return int(text, 0)
        if item is float and _NUMBER.fullmatch(text):
            return float(text)
        if item is float and _WHOLE_WITH_BASE.fullmatch(text):
            return float(int(text, 0))
        if item is float and _NOT_FINITE.fullmatch(text):
            return float(text.replace(".", ""))
    raise ValueError(f"not {_WORDS[item]}")


def _hashable(key: Any) -> Any:
    return str(key) if isinstance(key, (list, dict)) else key


def plain(value: Any) -> str:
    """A value as one writes it on a command line.

    Parameters
    ----------
    value : None, str, int, float, bool or list
        Of a setting.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)[:-2] if repr(value).endswith(".0") else repr(value)
    if isinstance(value, list):
        return f"[{','.join(map(plain, value))}]"
    return str(value)
