"""python -m fusion configs: the configs that come with the package, by name, with what each of them is."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ..errors import FusionError
from ..lookup import is_pattern, matching
from ..training.config import read_config, to_yaml
from ..training.config_header import Header, read_header
from ..training.configs import packaged_config, packaged_configs
from ..training.settings import KEYS, value_of
from .rows import ROWS

_WIDTH = 118
_INDENT = " " * 4

#: The fields of a header that a list of configs shows. A single config shows all.
_EXPECTED = ("Published", "Expect", "Measured")

#: The headings of the list, each with how the names below it begin; the first that fits is taken.
_GROUPS = (
    ("The embedded digits", "quickstart"),
    ("CIFAR-10", "cifar10_"),
    ("CIFAR-100, 20 superclasses", "cifar100_coarse_"),
    ("CIFAR-100, 100 fine labels", "cifar100_"),
    ("ImageNet and other photos", "imagenet_"),
    ("Images with masks", ""),
)


class _Listed(NamedTuple):
    """A config of the package: its name, its file, its heading, its header, and the published rows that it trains."""

    name: str
    file: Path
    group: str
    header: Header
    rows: Tuple[str, ...]


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `configs`."""
    parser = commands.add_parser("configs")
    parser.add_argument("config", nargs="?", metavar="NAME", help="a name, or a shell pattern such as 'cifar100_*'")
    parser.add_argument(
        "--resolved", action="store_true", help="every setting of one config, with what it inherits, as YAML"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.resolved:
        _print_resolved(arguments.config, arguments.json)
        return
    word = arguments.config
    if word is not None and not is_pattern(word):
        word = packaged_config(word).stem  # which takes configs/ before the name and .yaml behind it
    found = [_listed(name) for name in matching(word, packaged_configs(), "configs of the package")]
    if arguments.json:
        print(json.dumps({"configs": [_as_dict(listed) for listed in found]}))
    else:
        print(_list(found, all_fields=word is not None and not is_pattern(word)))


def _print_resolved(name: Any, as_json: bool) -> None:
    """Every setting of one config."""
    if name is None:
        raise FusionError("say which config: python -m fusion configs NAME --resolved")
    if is_pattern(name):
        names = matching(name, packaged_configs(), "configs of the package")
        if len(names) > 1:
            raise FusionError(
                f"{name!r} matches {len(names)} configs, and --resolved shows one: name it, as {names[0]}"
            )
        name = names[0]
    settings = read_config(packaged_config(name))
    if as_json:
        print(json.dumps({key: value_of(settings, key) for key in KEYS}))
    else:
        print(to_yaml(settings, reasons=True), end="")


def _listed(name: str) -> _Listed:
    file = packaged_configs()[name]
    group = next(heading for heading, beginning in _GROUPS if name.startswith(beginning))
    rows = tuple(row.id for row in ROWS if f"{name}.yaml" in map(_file_name, row.configs))
    return _Listed(name, file, group, read_header(file), rows)


def _file_name(path: str) -> str:
    return Path(path).name


def _as_dict(listed: _Listed) -> Dict[str, Any]:
    header = {field: "\n".join(lines) for field, lines in listed.header.fields.items()}
    facts = {"name": listed.name, "file": str(listed.file), "group": listed.group, "about": listed.header.about}
    return {**facts, "header": header, "rows": listed.rows}


def _list(found: Sequence[_Listed], all_fields: bool) -> str:
    """The configs below their headings."""
    lines: List[str] = []
    for heading, _ in _GROUPS:
        below = [listed for listed in found if listed.group == heading]
        if below:
            lines += ["", heading]
        for listed in below:
            lines += _entry(listed, all_fields)
    return "\n".join(lines[1:])


def _entry(listed: _Listed, all_fields: bool) -> List[str]:
    fields = {name: lines for name, lines in listed.header.fields.items() if all_fields or name in _EXPECTED}
    if all_fields and listed.rows:
        fields["Row ids"] = tuple(textwrap.wrap(", ".join(listed.rows), _WIDTH - 2 * len(_INDENT)))
    width = max(map(len, fields), default=0) + 2
    lines = [
        f"  {listed.name}",
        *textwrap.wrap(listed.header.about, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT),
    ]
    for name, (first, *rest) in fields.items():
        lines.append(f"{_INDENT}{f'{name}:':<{width}}{first}")
        lines += [f"{_INDENT}{'':<{width}}{line}" for line in rest]
    return lines
