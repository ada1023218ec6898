"""A night as a table for a terminal, as Markdown for the summary of a CI job, and as JSON."""

from __future__ import annotations

import html
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.core.records import MetricState, NightMetric, NightRecord
from bench.harness.core.text import visible
from bench.harness.report.table import number

SCHEMA_VERSION = 1
_ABSENT = "–"
_STYLE = {"worse": "red", "changed": "red", "better": "yellow", "not judged": "yellow"}
_HEADS = ("", "method", "metric", "better", "tonight", "reference", "change", "allowed", "n")
_FIGURES = _HEADS[4:]
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_LARGEST = 700.0
"""The exponential of a larger number overflows."""


def verdict(night: NightRecord) -> str:
    """Return the result of a night as a sentence."""
    counts = Counter(metric.state for metric in night.metrics)
    total = f"{len(night.metrics)} metric" + ("" if len(night.metrics) == 1 else "s")
    if night.status == "running":
        return "The night has not ended."
    if night.status == "changed":
        found = _counted(counts, ("worse", "better", "changed"))
        return f"Something has changed: {found} of {total}."
    others = _counted(counts, ("not judged", "new"))
    if night.status == "failed":
        return f"Not everything could be judged: {others or 'nothing was found'} of {total}."
    return f"Nothing has changed: {total}" + (f", of which {others}." if others else ".")


def describe(metric: NightMetric) -> str:
    """Return the judgement of a metric as a sentence with all its figures."""
    parts = [f"{_words(metric.metric)} of {metric.method} on {metric.problem}: {metric.state}"]
    if metric.value is not None and metric.reference is not None:
        parts.append(
            f"{figure(metric, metric.value)} instead of {figure(metric, metric.reference)}, "
            f"{change(metric)}"
        )
    if metric.threshold is not None:
        parts.append(f"allowed {allowed(metric)}")
    if metric.n is not None:
        parts.append(f"n={metric.n}")
    parts.append(_is_better(metric))
    return "; ".join(parts) + "." + (f" {metric.reason}" if metric.reason else "")


def figure(metric: NightMetric, value: float | None) -> str:
    """Write a value on its metric's scale in the measured unit."""
    if value is None or metric.scale == "plain":
        return number(value)
    return number(math.exp(min(value, _LARGEST)))


def change(metric: NightMetric) -> str:
    """Write the difference of a value from its reference, in per cent if the scale is "log"."""
    if metric.value is None or metric.reference is None:
        return _ABSENT
    return _difference(metric, metric.value - metric.reference)


def allowed(metric: NightMetric) -> str:
    """Write the range of changes that are no finding."""
    if metric.threshold is None:
        return _ABSENT
    low, high = (_difference(metric, end) for end in (-metric.threshold, metric.threshold))
    return f"{low} to {high}"


def accept_command(night: NightRecord) -> str | None:
    """Return the command that accepts this night as the baseline; None if that changes nothing."""
    asking = {m.protocol_key for m in night.metrics if m.is_finding or _has_no_reference(m)}
    ids = dict.fromkeys(
        m.comparison_id for m in night.metrics if m.comparison_id and m.protocol_key in asking
    )
    if not ids:
        return None
    return shlex.join(["bench", "baseline", "accept", *ids, "--name", visible(night.baseline)])


def render(night: NightRecord) -> RenderableType:
    """Return the verdict, the findings, the unjudged metrics with reasons, and all metrics."""
    style = {"clean": "green", "changed": "red"}.get(night.status, "yellow")
    parts: list[RenderableType] = [
        Text.assemble((verdict(night), f"bold {style}")),
        Text(visible(_subject(night)), style="dim"),
    ]
    if night.reason:
        parts.append(Text(f"A part of the night failed: {visible(night.reason)}"))
    parts += [Text(f"• {visible(describe(m))}", style=_STYLE[m.state]) for m in findings(night)]
    parts += [Text(f"• {visible(line)}", style="dim") for line in _unjudged(night)]
    for problem, metrics in by_problem(night):
        parts += [Text(), Text(visible(problem), style="bold"), _table(metrics)]
    if command := accept_command(night):
        parts += [Text(), Text(_MAY_ACCEPT, style="dim"), Text(command, style="cyan")]
    return Group(*parts)


def to_markdown(night: NightRecord) -> str:
    """Return a night as GitHub's Markdown: verdict and findings, then folded tables.

    Names and reasons are shown literally: they cannot open a tag, link, row or emphasis.
    """
    lines = [f"## {_escaped(verdict(night))}", "", _escaped(_subject(night)), ""]
    if night.reason:
        lines += [f"**A part of the night failed:** {_escaped(night.reason)}", ""]
    lines += [f"* {_escaped(describe(metric))}" for metric in findings(night)]
    lines += ["", *(f"* {_escaped(line)}" for line in _unjudged(night))]
    if command := accept_command(night):
        lines += ["", _MAY_ACCEPT, "", f"    {command}"]
    for problem, metrics in by_problem(night):
        # Markdown is not interpreted within a line of HTML.
        folded = f"{html.escape(visible(problem))}: {len(metrics)} metrics"
        lines += ["", f"<details><summary>{folded}</summary>"]
        lines += ["", _row(_HEADS), _row(["---"] * 4 + ["---:"] * len(_FIGURES))]
        lines += [_row([_escaped(cell) for cell in _cells(metric)]) for metric in metrics]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def as_dict(night: NightRecord) -> dict[str, Any]:
    """Return plain values for JSON; values, references and thresholds have the metric's scale."""
    ended = night.ended.isoformat() if night.ended else None
    times = {"created": night.created.isoformat(), "ended": ended}
    return {"schema_version": SCHEMA_VERSION, "verdict": verdict(night), **asdict(night), **times}


def findings(night: NightRecord) -> list[NightMetric]:
    """Return the metrics that cause exit code 1: worse, changed, then better ones."""
    order: Sequence[MetricState] = ("worse", "changed", "better")
    return [metric for state in order for metric in night.metrics if metric.state == state]


def by_problem(night: NightRecord) -> list[tuple[str, list[NightMetric]]]:
    """Return the metrics of each problem, problems in order of appearance."""
    found: dict[str, list[NightMetric]] = {}
    for metric in night.metrics:
        found.setdefault(metric.problem, []).append(metric)
    return list(found.items())


_MAY_ACCEPT = "If tonight's results are right, accept them as the baseline of later nights:"


def _counted(counts: Counter[MetricState], states: Sequence[MetricState]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in states if counts[state])


def _subject(night: NightRecord) -> str:
    ended = "" if night.ended is None else f"–{night.ended:%H:%M}"
    parts = [
        f"{night.suite} against {night.baseline}",
        f"{night.created:%Y-%m-%d %H:%M}{ended} UTC",
        f"commit {night.commit[:12]}" if night.commit else "no commit",
        f"night {night.uuid[:8]}",
    ]
    return " · ".join(parts)


def _unjudged(night: NightRecord) -> Iterator[str]:
    """Yield the reasons for unjudged metrics, with the methods that share a reason in one line."""
    methods: dict[tuple[str, str, str, str], list[str]] = {}
    for m in night.metrics:
        if m.state in ("not judged", "new"):
            methods.setdefault((m.state, m.metric, m.problem, m.reason), []).append(m.method)
    for (state, metric, problem, reason), of in methods.items():
        yield f"{state}: {_words(metric)} of {', '.join(of)} on {problem}: {reason}"


def _has_no_reference(metric: NightMetric) -> bool:
    return metric.kind == "quality" and metric.state == "not judged" and metric.reference is None


def _table(metrics: Sequence[NightMetric]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for head in _HEADS:
        right = head in _FIGURES
        table.add_column(head, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for metric in metrics:
        state, *others = (visible(cell) for cell in _cells(metric))
        table.add_row(Text(state, style=_STYLE.get(state, "")), *map(Text, others))
    return table


def _cells(metric: NightMetric) -> list[str]:
    """Return a metric's row under the heads; a digest is shown by its first digits."""
    tonight = figure(metric, metric.value) if metric.digest is None else metric.digest[:8]
    return [
        metric.state,
        metric.method,
        _words(metric.metric),
        metric.direction,
        tonight,
        figure(metric, metric.reference),
        change(metric),
        allowed(metric),
        number(metric.n),
    ]


def _difference(metric: NightMetric, difference: float) -> str:
    if metric.scale == "plain":
        return f"{difference:+.3g}"
    if abs(difference) < 1:
        return f"{100 * math.expm1(difference):+.3g} %"
    return f"×{number(math.exp(min(difference, _LARGEST)))}"


def _is_better(metric: NightMetric) -> str:
    equal = metric.direction == "equal"
    return "must be equal" if equal else f"{metric.direction} is better"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text with all Markdown characters escaped."""
    return _PUNCTUATION.sub(r"\\\1", visible(text))
