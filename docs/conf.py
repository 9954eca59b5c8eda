"""The site that `make docs` builds: all pages, and the reference from the docstrings. Its source is the whole project.

So each page is where its links expect the others to be: README.md is the first one, as in a checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # `directives`, and the package as it is in this checkout

import fusion  # noqa: E402

project = "Attentional feature fusion"
author = copyright = "The authors of attentional-feature-fusion"
version = release = fusion.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_parser", "directives"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/reference/*.rst", "fusion/models/pretrained/README.md"]

html_theme = "furo"
html_title = f"{project} {release}"
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]

#: Titles down to this level have the anchors that they have on a forge.
myst_heading_anchors = 4

#: What stands between single backquotes is a name of the package, with a link to it, or else code as it is.
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_inherit_docstrings = False  # what Gluon says of its own methods
autodoc_typehints = "none"  # the docstrings have them in words, with shapes
napoleon_google_docstring = False
napoleon_custom_sections = ["Inputs", "Outputs"]  # as in Gluon's docstrings
napoleon_use_ivar = True
napoleon_use_rtype = False
smartquotes = False  # a value in quotes is a value to type
toc_object_entries_show_parents = "hide"
