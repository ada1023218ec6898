"""The noise of a suite's metrics as a table, from the plain values that are recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.analysis.noise import FAMILY_WISE, POWER, smallest_detectable, threshold
from bench.harness.core.text import all_visible
from bench.harness.report.table import number

Plain = Mapping[str, Any]

_ABSENT = "–"


def with_thresholds(body: Plain) -> dict[str, Any]:
    """Return what was recorded, with each metric's threshold and smallest detectable change."""
    return {**body, "metrics": [_with_threshold(m, body["family"]) for m in body["metrics"]]}


def render_noise(body: Plain) -> RenderableType:
    """Return a line for each metric, what the columns mean, and how long it took."""
    body = all_visible(with_thresholds(body))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for head in ("problem", "method", "metric"):
        table.add_column(head, overflow="fold")
    for head in ("n", "sd", "threshold", "detectable", "false\nalarms"):
        table.add_column(head, justify="right", no_wrap=True)
    for each in body["metrics"]:
        table.add_row(
            each["problem"],
            each["method"],
            each["metric"].replace("_", " "),
            str(each["n"]),
            *(_change(each, name) for name in ("sd", "threshold", "smallest_detectable")),
            _share(each["false_alarms"]),
        )
    notes = dict.fromkeys(
        f"{m['problem']}, {m['method']}, {m['metric']}: {m['reason']}"
        for m in body["metrics"]
        if m["reason"]
    )
    return Group(table, Text(), *(Text(note) for note in notes), _legend(body))


def _with_threshold(metric: Plain, family: int) -> dict[str, Any]:
    sd, df = metric["sd"], metric["df"]
    known = sd is not None
    return {
        **metric,
        "threshold": threshold(sd, df, family) if known else None,
        "smallest_detectable": smallest_detectable(sd, df, family) if known else None,
    }


def _legend(body: Plain) -> Text:
    rate = body["false_alarm_rate"]
    return Text(
        "sd: standard deviation of one night's value. threshold: the largest change from one night "
        f"to another that is no finding; in at most {FAMILY_WISE:.1%} of nights chance alone takes "
        f"any of the {body['family']} metrics beyond it. detectable: the true change that is found "
        f"with probability {POWER:g}. false alarms: how often two nights made up of these very "
        f"values differ at {rate['at']:.0%}; on average {_share(rate['quality'])} of quality, "
        f"{_share(rate['time'])} of time. It took {body['seconds'] / 60:.1f} minutes.",
        style="dim",
    )


def _change(metric: Plain, name: str) -> str:
    """Write a figure as a change in per cent where it is a difference of logarithms."""
    value = metric[name]
    if value is None or metric["scale"] == "plain":
        return number(value)
    return _share(math.expm1(value) if value < 700 else None)


def _share(value: float | None) -> str:
    return _ABSENT if value is None else f"{number(100 * value)} %"
