"""A person opens the report: on a desk or a phone, in the dark, by a screen reader, offline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.harness.report.page.budget_page import budget_page
from bench.harness.report.page.page import BACKGROUNDS, ReportData, page
from bench.harness.report.style import contrast
from tests.harness.analysis.test_budget_curve import AMOUNTS, at, curve
from tests.harness.browser import FLAGS

DRAWN = "html[data-drawn]"
PHONE = {"width": 360, "height": 740}
PHONE_SETTINGS: dict[str, Any] = {
    **{"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
}
HOSTILE = "<img src=x onerror=alert(1)>\u202e"
# The least contrast of all texts with what is behind them, and where it is. Transparent
# backgrounds let through what is behind them; none here are translucent.
CONTRAST = """() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    throw new Error("there is no background");
  };
  let least = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const fore = element instanceof SVGElement ? style.fill : style.color;
    const [low, high] = [luminance(rgb(fore)), luminance(behind(element))].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least[0]) least = [contrast, texts.currentNode.data];
  }
  return least;
}"""

# Pairs of numbers along one axis that overlap.
OVERLAPS = """() => [...document.querySelectorAll('.xaxislayer-above, .yaxislayer-above')]
  .flatMap((axis) => {
    const boxes = [...axis.querySelectorAll('[class$=tick] text')]
      .map((text) => [text.textContent, text.getBoundingClientRect()]);
    return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
      .filter(([, b]) => a.left < b.right && b.left < a.right)
      .filter(([, b]) => a.top < b.bottom && b.top < a.bottom)
      .map(([other]) => `${one} ${other}`));
  })"""


@dataclass
class Opened:
    """A page, and what it asked for and complained of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Browse = Callable[..., Any]


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        yield running.chromium


@pytest.fixture
def open_page(started: Any, chromium: str) -> Iterator[Browse]:
    """Return a function that opens a file as a person's browser does."""
    browser = started.launch(executable_path=chromium, args=list(FLAGS))

    @contextmanager
    def opened(file: Path, **settings: Any) -> Iterator[Opened]:
        context = browser.new_context(**{"reduced_motion": "reduce", **settings})
        # What it would ask for is refused, and noted.
        seen = Opened(context.new_page())
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.on("pageerror", lambda error: seen.failures.append(str(error)))
        seen.page.on("console", lambda message: seen.failures.append(message.text))
        seen.page.goto(file.as_uri())
        if settings.get("java_script_enabled", True):
            seen.page.wait_for_selector(DRAWN, timeout=60_000)
        yield seen
        assert seen.failures == []
        assert [a for a in seen.asked if not a.startswith("data:")] == [file.as_uri()]
        context.close()

    yield opened
    browser.close()


@pytest.fixture
def browse(open_page: Browse, compared: Any, tmp_path: Path) -> Browse:
    """Return a function that opens the report of a comparison."""
    summary, trials, measurements = compared("nag", "nag[lr=0.02]", "hf", diverged={("nag", 1)})
    summary["methods"][0]["tuning"] = {"trials": 4, "chosen": {}, "expected_best": [2.0, 1.5]}
    summary["methods"][0]["hyperparameters"] = {"lr": 0.01}
    summary["methods"][1]["hyperparameters"] = {"lr": 0.02}
    summary["methods"][1]["method"] = HOSTILE
    trials = [replace(t, method=HOSTILE) if "[" in t.method else t for t in trials]
    summary["profiles"]["methods"][HOSTILE] = summary["profiles"]["methods"].pop("nag[lr=0.02]")
    summary["reproduce"] = "bench compare --optimizers " + ",".join(["'nag[lr=0.02]'"] * 40)
    picture = BytesIO()
    Image.new("RGB", (900, 300)).save(picture, "PNG")
    pictures = dict.fromkeys(
        ("learning_curves", "diagnostics", "reconstructions"), picture.getvalue()
    )
    contexts = {"context": {"threads": 1}}
    file = tmp_path / "report.html"
    file.write_text(page(ReportData(summary, trials, measurements, contexts, pictures)), "utf-8")
    return partial(open_page, file)


@pytest.mark.slow
def test_a_cell_of_the_matrix_opens_its_evidence(
    open_page: Browse, compared: Any, tmp_path: Path
) -> None:
    summary, trials, measurements = compared("sgd", "cm", "nag", "hf", seeds=10)
    file = tmp_path / "report.html"
    file.write_text(page(ReportData(summary, trials, measurements, {}, {})), "utf-8")
    dark = {"color_scheme": "dark"}
    for settings in ({}, dark, {"viewport": {"width": 360, "height": 740}}):
        with open_page(file, **settings) as opened:
            look = opened.page
            evidence = look.locator("#pair-3")
            assert not evidence.is_visible()
            look.locator("a[href='#pair-3']").first.click()
            evidence.wait_for(state="visible")
            assert look.evaluate("document.documentElement.scrollWidth <= innerWidth")
            least, where = look.evaluate(CONTRAST)
            assert least >= 4.5, where


def axis(opened: Opened, figure: str, name: str = "xaxis") -> str:
    """What is written beside an axis of a figure, as it is drawn."""
    title = f"figure[data-figure={figure}] .{name[0]}title"
    return str(opened.page.text_content(title))


@pytest.mark.slow
def test_on_a_desk(browse: Browse) -> None:
    from playwright.sync_api import expect

    with browse() as opened:
        look = opened.page
        after = look.evaluate("document.querySelector('h1').nextElementSibling.innerText")
        assert after.split("\n")[0].startswith("nag and ")
        # A switch draws another currency, and test data in place of training data.
        assert axis(opened, "curves") == "gradient-equivalents"
        # Training and test data stand side by side, with every line in both.
        assert look.locator("figure[data-figure=curves] .x2title").count() == 1
        assert look.locator(".xaxislayer-above .x2tick text").count() > 1
        assert look.evaluate(OVERLAPS) == []
        look.get_by_label("updates", exact=True).first.check()
        assert axis(opened, "curves") == "updates"
        look.get_by_label("test data").check()
        assert "test data" in axis(opened, "curves", "yaxis")
        # Medians, bands and trials are there, and a click on a name takes them away.
        lines = look.locator("figure[data-figure=curves] path.js-line")
        before = lines.count()
        assert before > 15
        look.locator("figure[data-figure=curves] .legendtoggle").first.click()
        expect(lines).not_to_have_count(before)
        look.get_by_label("CG steps").check()
        assert axis(opened, "diagnostics", "yaxis") == "CG steps"
        # A name is text in the picture as well.
        assert (
            "<img src=x onerror=alert(1)>\\u202e"
            in look.locator("figure .legend").all_text_contents()[0]
        )
        least, where = look.evaluate(CONTRAST)
        assert least >= 4.5, where


@pytest.mark.slow
def test_commands_are_copied(browse: Browse) -> None:
    with browse(permissions=["clipboard-read", "clipboard-write"]) as opened:
        opened.page.get_by_role("button", name="Copy").first.click()
        opened.page.get_by_text("Copied").first.wait_for()
        copied = opened.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("bench compare --optimizers 'nag[lr=0.02]','nag")
        assert copied.endswith("'nag[lr=0.02]'")


@pytest.mark.slow
def test_on_a_phone_in_the_dark(browse: Browse) -> None:
    with browse(**PHONE_SETTINGS) as opened:
        look = opened.page
        # Nothing but what scrolls by itself is wider than the screen.
        assert look.evaluate("document.documentElement.scrollWidth <= innerWidth")
        look.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert look.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # A table that is wider says so, and only such a table does.
        for hint in look.locator(".hint").all():
            too_wide = hint.evaluate(
                "({nextElementSibling: of}) => of.scrollWidth > of.clientWidth + 1"
            )
            assert hint.is_visible() == too_wide
        assert look.locator(".hint").first.is_visible()
        # The first screen has the id and the figures of the first method.
        for words in (".stamp strong", ".glance td >> nth=1"):
            box = look.locator(words).bounding_box()
            assert box["y"] + box["height"] < PHONE["height"]
        # The panels are one below the other, and no numbers along their axes overlap.
        assert look.evaluate(OVERLAPS) == []
        sizes = look.evaluate(
            "[...document.querySelectorAll('nav a, fieldset label, summary, button')]"
            ".map(each => each.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 36
        ink = look.evaluate("getComputedStyle(document.querySelector('.xtitle')).fill")
        least, where = look.evaluate(CONTRAST)
        assert least >= 4.5, where
        # Lines are drawn in colours that can be seen there.
        lines = "each => each.map(line => getComputedStyle(line).stroke)"
        drawn = set(look.locator("figure path.js-line").evaluate_all(lines))
        found = [tuple(map(int, re.findall(r"\d+", shade)[:3])) for shade in drawn]
        assert len(found) >= 2
        assert min(contrast(f"#{bytes(rgb).hex()}", BACKGROUNDS["dark"]) for rgb in found) >= 3
        # The figures follow when the screen becomes bright.
        look.emulate_media(color_scheme="light")
        look.wait_for_function(
            "ink => getComputedStyle(document.querySelector('.xtitle')).fill !== ink", arg=ink
        )
        least, where = look.evaluate(CONTRAST)
        assert least >= 4.5, where


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "least", "most"), [(1200, 100, 22 * 16), (PHONE["width"], 100, 9.5 * 16)]
)
def test_a_long_label_is_broken_in_tables(
    open_page: Browse, compared: Any, tmp_path: Path, width: int, least: float, most: float
) -> None:
    long = "torch.optim.Muon[on=hidden,lr=0.02]+torch.optim.AdamW[on=rest,lr=0.003,clip_norm=2]"
    summary, trials, measurements = compared("nag", "hf")
    summary["methods"][0]["method"] = long
    trials = [replace(t, method=long) if t.method == "nag" else t for t in trials]
    summary["profiles"]["methods"][long] = summary["profiles"]["methods"].pop("nag")
    file = tmp_path / "report.html"
    file.write_text(page(ReportData(summary, trials, measurements)), "utf-8")
    with open_page(file, viewport={"width": width, "height": 900}) as opened:
        heads = opened.page.locator(".scroll:visible th[scope=row]").filter(has_text=long)
        sizes = heads.evaluate_all("all => all.map(each => each.offsetWidth)")
        # In the results, twice or more in the targets, and for each trial.
        assert len(sizes) > 8 and least < min(sizes) and max(sizes) <= most + 1
        if width == 1200:
            results = opened.page.locator(".scroll:has(> .results)")
            assert results.evaluate("of => of.scrollWidth <= of.clientWidth + 1")


@pytest.mark.slow
def test_by_a_screen_reader(browse: Browse) -> None:
    with browse() as opened:
        tree = opened.page.locator("body").aria_snapshot()
        lines = [line.strip() for line in tree.splitlines()]
        for name in ("banner", "main", "contentinfo", 'navigation "Sections"', 'list "Verdict"'):
            assert any(line.startswith(f"- {name}") for line in lines), name
        levels = opened.page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4')].map(each => Number(each.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        # No level is left out on the way down.
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
        named = [line for line in lines if re.match("- '?(table|figure|img)", line)]
        assert len(named) > 8 and [line for line in named if '"' not in line] == []
        for words in (
            'table "Training and test squared error: geometric mean',
            'columnheader "Seeds n"',
            'rowheader "nag"',
            'img "Squared error: for each method the median',
            'radio "gradient-equivalents" [checked]',
        ):
            assert any(words in line for line in lines), words
        # Where nothing can be heard, nothing can be reached.
        reached = "[aria-hidden] :is(a[href], button, input, [tabindex])"
        assert opened.page.locator(reached).count() == 0
        # The first stop of the keyboard leads past everything to the table.
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.innerText") == "Skip to the table"
        assert opened.page.evaluate("document.activeElement.getBoundingClientRect().left >= 0")


@pytest.mark.slow
def test_without_scripts(browse: Browse) -> None:
    with browse(java_script_enabled=False) as opened:
        look = opened.page
        assert look.get_by_role("list", name="Verdict").inner_text().startswith("nag and ")
        assert look.get_by_role("table").first.is_visible()
        assert look.locator("figure[data-figure=curves] img").is_visible()
        # What would do nothing is not there.
        assert look.locator("button:visible, input:visible, .plot:visible").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, PHONE_SETTINGS])
def test_curves_over_budgets(open_page: Browse, tmp_path: Path, settings: dict[str, Any]) -> None:
    found = curve(*(at(amount) for amount in AMOUNTS))
    found["methods"][1]["method"] = HOSTILE
    file, picture = tmp_path / "budgets.html", BytesIO()
    Image.new("RGB", (900, 300)).save(picture, "PNG")
    file.write_text(budget_page(found, picture.getvalue()), "utf-8")
    with open_page(file, **settings) as opened:
        look = opened.page
        assert axis(opened, "budgets") == "budget, gradient-equivalents"
        assert axis(opened, "budgets", "yaxis") == "training squared error"
        ticks = look.locator(".xaxislayer-above .xtick text").all_text_contents()
        assert ticks == ["100", "300", "1000"]
        # A line and the band around it for each method.
        assert look.locator("figure[data-figure=budgets] path.js-line").count() >= 2
        assert look.locator("figure[data-figure=budgets] path.js-fill").count() == 2
        assert look.evaluate(OVERLAPS) == []
        assert look.evaluate("document.documentElement.scrollWidth <= innerWidth")
        least, where = look.evaluate(CONTRAST)
        assert least >= 4.5, where
