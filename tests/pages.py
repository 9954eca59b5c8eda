"""What the pages of the documentation tell a reader to type: their commands and their Python."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "fusion" / "models" / "pretrained" / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), CARDS]
SCRIPTS = sorted(ROOT.glob("train_*.py"))

#: What stands in a command for something of the reader's own.
PLACEHOLDERS = {"FILE": "quickstart", "configs/CONFIG.yaml": "configs/imagenet_sample.yaml"}

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEREDOC = re.compile(r"^python - <<'(\w+)'\n(.*?)^\1\n", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"python -m fusion(\.launch| \w+)")
_VARIABLE = re.compile(r"[A-Z_]+=")

#: Lines of a shell block that do nothing with this project: they install, set variables or write a line.
_SHELLS_OWN = ("pip", "echo", "export")


@dataclass(frozen=True)
class Command:
    """A command of a page: `make`, or Python with its words."""

    page: str
    words: Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(page: Path, language: str) -> List[str]:
    """The blocks of a page in a language; in Python also those that a shell block gives to it."""
    found = _FENCED.findall(page.read_text(encoding="utf-8"))
    own = [text for name, text in found if name == language]
    if language == "python":
        own += [text for name, block in found if name == "sh" for _, text in _HEREDOC.findall(block)]
    return own


def languages(page: Path) -> Dict[str, int]:
    """How many blocks a page has in each language."""
    names = [name for name, _ in _FENCED.findall(page.read_text(encoding="utf-8"))]
    return {name: names.count(name) for name in names}


def block_commands(page: Path) -> List[Command]:
    """The commands in the shell blocks of a page, in order."""
    return [command for block in blocks(page, "sh") for command in _of_block(page.name, block)]


def inline_commands(page: Path) -> List[Command]:
    """The commands that a page names in its text and tables; those with … are no commands but kinds of them.

    One that is only named, without its words, is given `--help`.
    """
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    found = [" ".join(words.split()) for words in re.findall(r"`((?:python|make) [^`]+)`", text)]
    named = [f"{words} --help" if _NAME.fullmatch(words) else words for words in found if not words.endswith("…")]
    return [command for words in named for command in _of_line(page.name, words)]


def header_commands(script: Path) -> List[Command]:
    """The commands in the docstring of a script, each behind what it is for."""
    docstring = script.read_text(encoding="utf-8").split('"""')[1]
    lines = re.findall(r"  (python .+)$", docstring, re.MULTILINE)
    return [command for line in lines for command in _of_line(script.name, line)]


def _of_block(page: str, block: str) -> List[Command]:
    lines = _HEREDOC.sub("", block).replace("\\\n", " ").splitlines()
    return [command for line in lines for command in _of_line(page, line)]


def _of_line(page: str, line: str) -> List[Command]:
    words = shlex.split(line, comments=True)
    while words and _VARIABLE.match(words[0]):
        del words[0]
    if words[-1:] == ["&"]:
        del words[-1]
    if not words or words[0] in _SHELLS_OWN:
        return []
    if words[0] == "horovodrun":
        if "sh" in words:
            return _of_line(page, words[-1])
        words = words[words.index("python") :]
    assert words[0] in ("python", "make"), f"{page}: nobody checks {line!r}"
    return [Command(page, tuple(PLACEHOLDERS.get(word, word) for word in words))]
