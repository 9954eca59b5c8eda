"""The documentation holds together: its links lead somewhere, its docstrings can be shown, and their examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from pages import ROOT

import fusion

sys.path.insert(0, str(ROOT / "docs"))
from rooms import all_modules, modules_by_room, with_blocks, with_sections

sys.path.pop(0)

NO_SPHINX = "Sphinx is not installed: pip install '.[docs]'"

PACKAGE = ROOT / "fusion"
DOCS = ROOT / "docs"
MODULES = sorted(PACKAGE.rglob("*.py"))
MARKDOWN = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), PACKAGE / "models" / "pretrained" / "README.md"]

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TITLE = re.compile(r"^#{1,4} (.+)$", re.MULTILINE)


# --- Pages -----------------------------------------------------------------------------------------------------------


def prose(page):
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """The anchors of a page's titles, as a forge and MyST make them."""
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _TITLE.findall(prose(page)))
    return {title.strip().replace(" ", "-") for title in kept}


LINKS = [
    (page, link) for page in MARKDOWN for link in sorted(set(_LINK.findall(prose(page)))) if not urlsplit(link).scheme
]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_link_of_a_page_leads_somewhere(page, link):
    place, _, anchor = link.partition("#")
    target = (page.parent / unquote(place)).resolve() if place else page
    assert target.is_file()
    assert ROOT in target.parents
    if anchor:
        assert anchor in anchors(target)


def test_links_and_anchors_are_found():
    assert len(LINKS) > 50
    assert any("#" in link for _, link in LINKS)
    assert "cifar-10-on-a-laptop" in anchors(ROOT / "README.md")
    assert "laptop" not in anchors(ROOT / "README.md")


# --- Docstrings ------------------------------------------------------------------------------------------------------


def docstrings(file):
    """The public docstrings of a module, each with the name of what it describes."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef)

    def below(node, name):
        text = ast.get_docstring(node)
        if text:
            yield name, text
        for child in node.body:
            if isinstance(child, kinds) and not child.name.startswith("_") and not isinstance(node, ast.FunctionDef):
                yield from below(child, f"{name}.{child.name}")

    return below(tree, file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))


def complaints(text):
    """What docutils says against a docstring as Sphinx would show it."""
    napoleon = pytest.importorskip("sphinx.ext.napoleon", reason=NO_SPHINX)
    from docutils.core import publish_doctree

    settings = {
        "napoleon_custom_sections": ["Inputs", "Outputs"],
        "napoleon_use_ivar": True,
        "napoleon_use_rtype": False,
    }
    said = io.StringIO()
    shown = napoleon.NumpyDocstring(text, napoleon.Config(**settings))
    publish_doctree(str(shown), settings_overrides={"report_level": 2, "warning_stream": said})
    return said.getvalue()


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_docstrings_can_be_shown(file):
    module, *parts = docstrings(file)
    fit = [(module[0], with_blocks(module[1])), *((name, with_sections(text)) for name, text in parts)]
    said = {name: complaints(text) for name, text in fit}
    assert {name: words for name, words in said.items() if words} == {}


def test_docstring_that_cannot_be_shown_is_found():
    assert "Unexpected indentation" in complaints("Does it.\n\nOne line\nand another\n    with more")
    assert "emphasis" in complaints("A pattern such as **/*.jpg.")
    assert complaints("Does `it`.\n\nParameters\n----------\nx : int\n    As *said*.") == ""


def test_blocks_of_a_module_are_shown_as_they_are():
    assert with_blocks("One::\n\n    a  b") == "One::\n\n    a  b"
    assert with_blocks("One:\n\n    a  b\n    c  d\n\nTwo.") == "One:\n\n::\n\n    a  b\n    c  d\n\nTwo."


def test_gluons_sections_are_sections():
    made = with_sections("Does it.\n\nInputs\n    - **x**: it.\nOutputs\n    - it.")
    assert made == "Does it.\n\n\nInputs\n------\n    - **x**: it.\n\nOutputs\n-------\n    - it."
    assert complaints(made) == ""


# --- Examples --------------------------------------------------------------------------------------------------------


def with_examples():
    """The modules that have an example in a docstring, by name."""
    having = [file for file in MODULES if any(">>> " in text for _, text in docstrings(file))]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in having]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


@pytest.mark.parametrize("name", with_examples())
def test_examples_of_docstrings_run_as_they_are_printed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]
    assert found
    for test in found:
        said = io.StringIO()
        doctest.DocTestRunner(verbose=False).run(test, out=said.write)
        assert said.getvalue() == ""


@pytest.mark.parametrize("name", fusion.__all__)
def test_public_name_has_an_example(name):
    """In its own docstring, or by this name in that of another one in its module or in its base."""
    value = getattr(fusion, name)
    texts = [base.__doc__ or "" for base in value.__mro__[:2]] if isinstance(value, type) else [value.__doc__]
    module = importlib.import_module(value.__module__)
    texts += [getattr(module, other).__doc__ or "" for other in fusion.__all__ if hasattr(module, other)]
    assert any(f"fusion.{name}(" in line for text in texts for line in text.splitlines() if ">>> " in line)


# --- The site --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The links and anchors of a page of the site."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.update(given[key] for key in ("id", "name") if given.get(key) and (key == "id" or tag == "a"))
        self.links += [given[key] for key in ("href", "src") if given.get(key)]


def dead_links(site):
    """The links within a site that lead nowhere, each with its page."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append((path.relative_to(site).as_posix(), link))
    return dead


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages and the whole reference, as `make docs` makes them; some minutes."""
    pytest.importorskip("sphinx", reason=NO_SPHINX)
    pytest.importorskip("myst_parser", reason=NO_SPHINX)
    pytest.importorskip("furo", reason=NO_SPHINX)
    folder = tmp_path_factory.mktemp("site").resolve()
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "-d"]
    done = subprocess.run(
        [*words, str(folder / "doctrees"), ".", str(folder / "html")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stdout) == (0, "")
    return folder / "html"


@pytest.mark.long
def test_site_has_every_page_and_no_dead_link(site):
    made = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert {page.relative_to(ROOT).with_suffix("").as_posix() for page in MARKDOWN} <= made
    assert {"index", "docs/reference/index", *(f"docs/reference/{room}" for room in modules_by_room())} <= made
    assert dead_links(site) == []


@pytest.mark.long
def test_site_shows_pictures_and_the_reference(site):
    front = Page((site / "README.html").read_text(encoding="utf-8"))
    assert any(link.endswith("quickstart.png") for link in front.links)
    reference = Page((site / "docs" / "reference" / "index.html").read_text(encoding="utf-8"))
    assert {f"fusion.{name}" for name in fusion.__all__} <= reference.anchors
    speed = Page((site / "docs" / "reference" / "speed.html").read_text(encoding="utf-8"))
    assert {"fusion.speed.measuring.Job", "fusion.speed.benchmark.measure"} <= speed.anchors


@pytest.mark.long
def test_site_needs_nothing_from_elsewhere(site):
    text = (site / "README.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?:[^"]*"', text) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="x"><a href="b.html#y">b</a><a href="#z"></a><a href="#x"></a>')
    (tmp_path / "b.html").write_text('<p id="y"><img src="c.png"><a href="https://example.org/d">d</a>')
    assert dead_links(tmp_path.resolve()) == [("a.html", "#z"), ("b.html", "c.png")]


def test_each_room_has_a_page_and_each_module_a_room():
    pages = {page.stem for page in (DOCS / "reference").glob("*.rst")} - {"index"}
    by_room = modules_by_room()
    assert set(by_room) == pages
    listed = (DOCS / "reference" / "index.rst").read_text(encoding="utf-8")
    for room in pages:
        assert f".. room:: {room}\n" in (DOCS / "reference" / f"{room}.rst").read_text(encoding="utf-8")
        assert f"   {room}\n" in listed
    assert sum(map(len, by_room.values())) == len(all_modules()) - 1  # all but the package itself
