"""Every relative link of a page leads to a file, a picture or a heading that is there."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
    ]
)
FENCE = re.compile(r"^ *(`{3,}|:{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
DIRECTIVE = re.compile(r"^```\{(?:include|literalinclude)\} (\S+)", re.MULTILINE)


def prose(text: str) -> str:
    """The page without fenced blocks and code, whose brackets are no links."""
    return CODE.sub("code", FENCE.sub("", text))


def links(page: Path) -> list[str]:
    """What a page links to inside the project; includes count as links."""
    text = page.read_text("utf-8")
    found = [*LINK.findall(prose(text)), *DIRECTIVE.findall(text)]
    return [each for each in found if not re.match(r"[a-z]+:", each)]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names under which a page's headings can be linked to, as GitHub and MyST make them."""
    text = FENCE.sub("", page.read_text("utf-8"))
    seen: Counter[str] = Counter()
    found = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            wrong.append(f"{link}: there is no {path}")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            wrong.append(f"{link}: {target.name} has no heading {anchor}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not broken(page)


def test_every_picture_is_on_a_page() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    pictures = {picture for kind in ("png", "svg") for picture in DOCS.glob(f"*.{kind}")}
    assert pictures <= shown


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `name` here\n\n(own)=\n## Two\n\n## Two\n")
    page.write_text(
        "[a](other.md#a-name-here) [b](other.md#two-1) [c](other.md#own) `[d](no.md)`\n"
        "[e](no.md) ![f](no.png) [g](other.md#three) [h](#here)\n\n"
        "```\n[i](no.md)\n```\n\n## Here\n"
    )
    assert [each.split(":")[0] for each in broken(page)] == ["no.md", "no.png", "other.md#three"]
