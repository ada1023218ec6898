"""The report of a comparison: one HTML file that needs no network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.text import all_visible, visible
from bench.harness.report.curves import metric_in_words, profiled
from bench.harness.report.hf_plots import reports_damping
from bench.harness.report.page import figures, parts, proof, tuning
from bench.harness.report.style import colors, readable
from bench.harness.report.table import facts, notes, title

Plain = dict[str, Any]
BACKGROUNDS = {"bright": "#ffffff", "dark": "#14171b"}
"""What is behind everything (--page in report.css)."""


@dataclass(frozen=True)
class ReportData:
    """The recorded data of a comparison from which its report is made."""

    summary: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    """The trials of the summary, with the summary's labels."""
    measurements: Mapping[int, Sequence[Measurement]]
    contexts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Contexts by digest."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG files by name without ending, for readers without JavaScript."""
    open_reason: str | None = None
    """Why there is no verdict; None: the comparison was judged."""


def page(recorded: ReportData) -> str:
    """Return the report as HTML.

    All texts that users can write are escaped. A content security policy forbids every connection,
    and every script except the page's own and plotly, which it names by their digests.
    """
    summary = all_visible(recorded.summary)
    # With the escaped labels that they now have in the summary.
    trials = [replace(trial, method=visible(trial.method)) for trial in recorded.trials]
    recorded = replace(recorded, summary=summary, trials=trials)
    return rendered(
        "report.html.jinja",
        title=title(summary["protocol"]),
        comparison=summary["comparison"],
        dates=_dates(trials),
        facts_line=" · ".join([f"data: {summary['protocol']['data']}", *facts(summary)]),
        notes=notes(summary),
        **parts.parts(summary, trials, recorded.measurements, recorded.open_reason),
        **proof.parts(summary, trials, recorded.contexts),
        tuning=tuning.part(summary),
        effort=tuning.effort(summary),
        **_figures(recorded),
    )


def rendered(template: str, **contents: Any) -> str:
    """Return a page with its contents, style and scripts."""
    script, plotly = _own("report.js"), _plotly()
    return (
        _environment()
        .get_template(template)
        .render(
            **contents,
            palettes=_palettes(),
            policy=_policy(script, plotly.digest),
            css=Markup(_own("report.css")),
            js=Markup(script),
            plotly=Markup(plotly.packed),
        )
    )


def _figures(recorded: ReportData) -> Plain:
    """Return the figures by name, the page's sections, and the reconstructions."""
    summary, trials, measurements = recorded.summary, recorded.trials, recorded.measurements
    metric = metric_in_words(summary["protocol"]["metric"])
    shown: Plain = {
        "curves": {
            "title": f"{metric.capitalize()}: for each method the median over seeds and the band "
            "from least to greatest; each trial is a thin line.",
            "plot": figures.learning_curves(summary, trials, measurements),
            "picture": _uri(recorded, "learning_curves"),
        },
        "profiles": None,
        "effort": None,
        "diagnostics": None,
    }
    if profiled(summary):
        shown["profiles"] = {
            "title": "Profile: the share of reached targets, over all trials and "
            f"{len(summary['profiles']['targets'])} targets that were fixed in advance.",
            "plot": figures.profiles(summary, trials),
            "picture": None,
        }
    if any(len(row["tuning"].get("expected_best", ())) > 1 for row in summary["methods"]):
        shown["effort"] = {
            "title": f"Expected best {metric} on the tuning seeds, by number of tuning points.",
            "plot": figures.expected_best(summary, trials),
            "picture": None,
        }
    damped = [t for t in trials if reports_damping(measurements.get(t.id, ()))]
    if damped:
        shown["diagnostics"] = {
            "title": "Diagnostics of Hessian-free at each measurement; x marks a rejected step.",
            "plot": figures.diagnostics(damped, measurements),
            "picture": _uri(recorded, "diagnostics"),
        }
    images = _uri(recorded, "reconstructions")
    sections = {
        "results": "Results",
        "curves": "Learning curves",
        "targets": "Time to targets" if summary["targets"] else None,
        "tuning": "Tuning",
        "diagnostics": "Diagnostics" if damped else None,
        "reconstructions": "Reconstructions" if images else None,
        "certificate": "Certificate",
        "commands": "Commands",
    }
    names = ", ".join(row["method"] for row in summary["methods"])
    return {
        "figures": shown,
        "sections": [(id, name) for id, name in sections.items() if name],
        "reconstructions": images
        and {
            "picture": images,
            "title": "Some training and test cases, and the network's reconstructions before "
            f"training and after training with {names}.",
        },
    }


def _dates(trials: Sequence[TrialRecord]) -> str:
    """Return when the trials were trained, in UTC; an empty text if none has begun."""
    begun = [t.started for t in trials if t.started]
    if not begun:
        return ""
    first, last = min(begun), max([*begun, *(t.ended for t in trials if t.ended)])
    begin, end = (f"{moment:%Y-%m-%d %H:%M}" for moment in (first, last))
    if begin == end:
        return f"trained {begin} UTC"
    return f"trained {begin} to {end[-5:] if first.date() == last.date() else end} UTC"


def _palettes() -> Plain:
    """Return for every colour of a method what it is on a bright and on a dark page."""
    return {
        name: [(shade[1:], readable(shade, background)) for shade in colors()]
        for name, background in BACKGROUNDS.items()
    }


def _uri(recorded: ReportData, name: str) -> str | None:
    picture = recorded.pictures.get(name)
    return None if picture is None else picture_uri(picture)


def picture_uri(picture: bytes) -> str:
    """Return a PNG as the source of an image in a page."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


@dataclass(frozen=True)
class _Library:
    packed: str
    """gzip in base64: 2 MB in place of 4.8."""
    digest: str


@cache
def _plotly() -> _Library:
    """Return plotly, compressed for the page."""
    source = files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    # Without a time stamp, so that equal reports are equal files.
    return _Library(base64.b64encode(gzip.compress(source, mtime=0)).decode(), _digest(source))


def _policy(script: str, plotly: str) -> str:
    """Return a policy that allows no connection and only these scripts.

    Inline styles are allowed, because plotly writes them into the page.
    """
    return (
        f"default-src 'none'; script-src '{_digest(script.encode())}' '{plotly}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(source: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode()}"


@cache
def _own(name: str) -> str:
    return files("bench.harness.report.page").joinpath(name).read_text("utf-8")


def breakable(label: str) -> Markup:
    """Return a label that a browser may break between names, values and parts of a route.

    >>> breakable("torch.SGD[lr=0.1,foreach=true]+nag")
    Markup('torch.<wbr>SGD<wbr>[lr=0.1,<wbr>foreach=true]+<wbr>nag')
    """
    # Not between digits: 1,000 and 0.1 stay whole.
    places = r"(?<=\+)|(?=\[)|(?<=[,.:])(?=[A-Za-z])"
    return Markup("<wbr>").join(map(escape, re.split(places, label)))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("bench.harness.report.page", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["json"] = lambda value: htmlsafe_json_dumps(value, separators=(",", ":"))
    made.filters["breakable"] = breakable
    return made
