"""What Sphinx is told beside `conf.py`: directives that write the reference, and what is changed on the way."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import Any, Dict, List, Optional, Sequence

from docutils import nodes
from docutils.statemachine import StringList
from rooms import entry_points, modules_by_room, public_classes, with_blocks, with_sections
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

#: The list of all pages beside the first one.
CONTENTS = """
```{toctree}
:hidden:
:caption: Pages
:glob:

docs/*
fusion/models/pretrained/README
SECURITY
CHANGELOG
```

```{toctree}
:hidden:
:caption: Reference

docs/reference/index
```
"""


class _Written(SphinxDirective):
    """A directive that stands for the lines of reStructuredText that it makes."""

    def lines(self) -> List[str]:
        raise NotImplementedError

    def run(self) -> List[nodes.Node]:
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(self.lines(), source=self.env.docname), section)
        return section.children


class EntryPoints(_Written):
    """What `import fusion` gives, each with its whole docstring."""

    def lines(self) -> List[str]:
        found: List[str] = []
        for name, value in entry_points().items():
            kind = "autoclass" if isinstance(value, type) else "autofunction"
            found += [f".. {kind}:: fusion.{name}", ""]
        return found


class Room(_Written):
    """All modules of a room, without what `import fusion` gives: that has a page of its own."""

    required_arguments = 1

    def lines(self) -> List[str]:
        found: List[str] = []
        for module in modules_by_room()[self.arguments[0]]:
            elsewhere = [name for name, value in entry_points().items() if value.__module__ == module]
            found += [module, "=" * len(module), "", f".. automodule:: {module}", "   :ignore-module-all:"]
            if elsewhere:
                links = ", ".join(f":py:obj:`fusion.{name}`" for name in elsewhere)
                found += [f"   :exclude-members: {', '.join(elsewhere)}", "", f"Also here: {links}."]
            found.append("")
        return found


def _with_contents(app: Any, docname: str, source: List[str]) -> None:
    """Give the first page the list of all others, which would be a riddle in README.md itself."""
    if docname == app.config.root_doc:
        source[0] += CONTENTS


def _without_aliases(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> Optional[bool]:
    """Leave out the fields of named tuples, which their class describes."""
    return True if "Alias for field number" in (getattr(value, "__doc__", None) or "") else None


def _made_fit(app: Any, what: str, name: str, value: Any, options: Any, lines: List[str]) -> None:
    """Show the indented lines in a module's docstring as they are, and Gluon's sections as the others."""
    make = with_blocks if what == "module" else with_sections
    lines[:] = make("\n".join(lines)).split("\n")


def _with_whole_names(app: Any, document: nodes.document) -> None:
    """Have each type of a docstring lead to the class of that name in its own module, or to the only one there is.

    Sphinx would look for anything of that name in the package, also for an attribute, and take the first.
    """
    for reference in document.findall(pending_xref):
        if reference.get("refspecific"):
            del reference["refspecific"]  # Sphinx asks only whether it is there
            reference["reftarget"] = _whole_name(reference["reftarget"], reference.get("py:module"))


_classes = lru_cache(maxsize=None)(public_classes)


def _whole_name(name: str, module: Optional[str]) -> str:
    """The whole name of a class as a module knows it or as only one module has it; any other name as it is."""
    places = _classes().get(name, [])
    known = getattr(vars(import_module(module)).get(name), "__module__", None) if module else None
    if known in places:
        return f"{known}.{name}"
    return f"{places[0]}.{name}" if len(places) == 1 else name


#: The link beside a line of source code that leads back to what the reference says of it.
_BACK = re.compile(r'(<a class="viewcode-back" href=")[^"#]*#([^"]+)"')


def _with_right_ways_back(app: Any, page: str, template: str, context: Dict[str, Any], document: Any) -> None:
    """Have source code lead back to where its objects are described, also those that `import fusion` gives.

    Sphinx takes the first module in which it met one of a page's objects for that of all of them.
    """
    if not page.startswith("_modules/"):
        return
    module = page[len("_modules/") :].replace("/", ".")
    objects = app.env.domaindata["py"]["objects"]

    def right(found: re.Match[str]) -> str:
        parts = found.group(2).split(".")
        places = [place for place in (module, "fusion") for place in _within(place, parts) if place in objects]
        if not places:
            return found.group()
        entry = objects[places[0]]
        return f'{found.group(1)}{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"'

    context["body"] = _BACK.sub(right, context["body"])


def _within(module: str, parts: Sequence[str]) -> List[str]:
    """What an object may be called as one of a module, if its first parts are those of another: the longest first."""
    return [".".join([module, *parts[start:]]) for start in range(1, len(parts))]


def setup(app: Any) -> Dict[str, bool]:
    """Give all that to Sphinx."""
    app.add_directive("entry-points", EntryPoints)
    app.add_directive("room", Room)
    app.connect("source-read", _with_contents)
    app.connect("autodoc-skip-member", _without_aliases)
    app.connect("autodoc-process-docstring", _made_fit, priority=400)  # before napoleon
    app.connect("doctree-read", _with_whole_names)
    app.connect("html-page-context", _with_right_ways_back)
    return {"parallel_read_safe": True}
