"""How Sphinx builds the site: `make docs` writes it to docs/_build/html.

The build needs no network. A page, a heading or a name of `bench` that a link names and that
does not exist is a warning, and every warning ends the build.
"""

from __future__ import annotations

import logging
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes

# MLflow, once it is loaded, has Alembic tell of its plugins.
logging.getLogger("alembic").setLevel(logging.WARNING)

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
sys.path[:0] = [str(ROOT), str(DOCS)]

project = "bench"
author = "The bench authors"
copyright = author
release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
# Docstrings write code between single backticks.
default_role = "code"
# Blocks without a language are terminal output and commands.
highlight_language = "text"
# Two hyphens in front of an option stay two hyphens.
smartquotes = False

html_theme = "furo"
html_title = f"bench {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
# Every heading down to this level can be the target of a link.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88

nitpicky = True
# The documentation of other packages is not at hand without a network; within `bench` a type that
# is not on the site is shown by its name.
nitpick_ignore_regex = [("py:.*", ".*")]


def link_to_the_site(app: Any, name: str, source: list[str]) -> None:
    """Let links that leave docs/ lead somewhere on the site too.

    A link to the measured results leads to their page. A file becomes a download, which MyST does
    by itself. A folder has no page: only its name stays.
    """
    page = DOCS / f"{name}.md"

    def moved(match: re.Match[str]) -> str:
        target = (page.parent / match["path"]).resolve()
        if target == RESULTS:
            return f"[{match['text']}]({'../' * name.count('/')}results.md{match['anchor']}"
        return match["text"] if target.is_dir() else match[0]

    link = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#\s]+)(?P<anchor>(?:#[^)\s]*)?\))")
    source[0] = link.sub(moved, source[0])


def read_docstring(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Make reStructuredText of a docstring."""
    from docstrings import as_rst

    lines[:] = as_rst(lines)


def without_protocol_arguments(
    app: Any, what: str, name: str, thing: Any, options: Any, arguments: str, returns: str
) -> tuple[str, str] | None:
    """Leave out the arguments of a protocol's constructor, which nobody calls."""
    return ("", "") if what == "class" and getattr(thing, "_is_protocol", False) else None


def example_as_code(app: Any, context: Any, lines: list[str]) -> None:
    """Show the examples at the end of a command's help as code."""
    lines[:] = [re.sub(r"(bench [a-z].*?)(?= {3}or|$)", r"``\1``", line) for line in lines]


def name_commands(app: Any, doctree: nodes.document) -> None:
    """Head each command of the reference with all of its words: `bench db sql`, not `sql`."""
    if app.env.docname == "cli":
        for section in doctree.findall(nodes.section):
            words, parent = [section[0].astext()], section.parent
            while isinstance(parent, nodes.section) and words[0].split()[0] != "bench":
                words.insert(0, parent[0].astext())
                parent = parent.parent
            if words[0].split()[0] == "bench":
                section[0].children = [nodes.Text(" ".join(words))]


def setup(app: Any) -> None:
    """Register the functions above."""
    app.connect("source-read", link_to_the_site)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", without_protocol_arguments)
    app.connect("sphinx-click-process-epilog", example_as_code)
    # Before the tables of contents are made.
    app.connect("doctree-read", name_commands, priority=400)
