"""The reference shows docstrings as they are meant."""

from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path

import bench

DOCS = Path(__file__).parents[2] / "docs"
FILE = DOCS / "docstrings.py"


def test_the_page_has_every_name_of_the_package() -> None:
    page = (DOCS / "api" / "python.md").read_text("utf-8")
    assert set(re.findall(r":: bench\.(\w+)", page)) == {*bench.__all__} - {"__version__"}


def test_a_docstring_becomes_restructuredtext() -> None:
    spec = importlib.util.spec_from_file_location("docstrings", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert doctest.testmod(module).failed == 0
    docstring = [
        *("Return a `b_` of K_.", "", "* one", "  two", ""),
        *("Returns:", "    What it is: a", "    b.", ""),
        *("Raises:", "    bench.Usage: where not.", ""),
        *("Example:", "    bench.load(*a)", "", "    >>> f(*a)", "    1_"),
    ]
    assert module.as_rst(docstring) == [
        *("Return a `b_` of K\\_.", "", "* one", "  two", ""),
        *(":returns:", "    What it is: a", "    b.", ""),
        *(":raises bench.Usage: where not.", ""),
        *(".. rubric:: Example", "", "::", "", "    bench.load(*a)", "", ">>> f(*a)", "1_"),
    ]
