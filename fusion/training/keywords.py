"""The arguments of a model as words of a command line."""

from __future__ import annotations

from typing import Any, Dict, Sequence

from ..errors import ConfigError
from ..words import shortened
from .typed_yaml import YamlError, compose, read_freely


def keyword_values(words: Sequence[str]) -> Dict[str, Any]:
    """The keyword arguments that words such as `fusion=iaff` give, each value read as YAML.

    Raises
    ------
    ConfigError
        If a word is none of these.
    """
    keywords: Dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"command line, {word!r}: expected key=value, such as classes=10")
        try:
            node = compose(value)
        except YamlError as error:
            raise ConfigError(f"command line, {shortened(repr(word))}: {error}") from None
        keywords[key] = None if node is None else read_freely(node)
    return keywords
