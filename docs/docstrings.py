"""Docstrings as reStructuredText: prose is meant literally, and what is indented is code.

Sections ("Args:", "Raises:" and the like) become fields, as Sphinx writes them.
"""

from __future__ import annotations

import re

FIELDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}
"""Sections with an entry for each name: `name: text`, further lines indented."""
SECTIONS = (*FIELDS, "Returns", "Example")


def as_rst(lines: list[str]) -> list[str]:
    r"""Return the lines of a docstring as reStructuredText.

    >>> as_rst(["Return x*.", "", "Args:", "    x: an x, or", "        a y."])
    ['Return x\\*.', '', ':param x: an x, or', '    a y.']
    >>> as_rst(["A formula:", "", "    x**2"])
    ['A formula:', '', '::', '', '    x**2']
    """
    found: list[str] = []
    section, code, session = "", False, False
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        session = bool(text) and (session or text.startswith(">>>"))
        if session:
            found.append(line.removeprefix("    ") if section else line)
        elif not text:
            found.append("")
        elif not indent:
            code = False
            section = text[:-1] if text[-1] == ":" and text[:-1] in SECTIONS else ""
            heading = {"Example": [".. rubric:: Example", ""], "Returns": [":returns:"]}
            found += heading.get(section, []) if section else [literally(line)]
        elif section in FIELDS and indent == 4:
            name, _, said = text.partition(": ")
            found.append(f":{FIELDS[section]} {literally(name)}: {literally(said)}")
        elif section in FIELDS or section == "Returns":
            found.append(f"    {literally(text)}")
        else:
            # Without a blank line before it, what is indented belongs to an item of a list.
            if not code and not found[-1]:
                found += ["::", ""]
                code = True
            found.append(line if code else literally(line))
    return found


def literally(line: str) -> str:
    """Escape what reStructuredText reads as markup, except code between backticks."""
    parts = re.split(r"(``?[^`]+``?)", line)
    parts[::2] = [re.sub(r"[*|](?=\S)|_(?=\W|$)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)
