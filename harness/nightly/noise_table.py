"""The noise of a suite's metrics as a table, from the recorded plain values."""

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
    """Return the record with each metric's threshold and smallest detectable change."""
    return {**body, "metrics": [_with_threshold(m, body["family"]) for m in body["metrics"]]}


def render_noise(body: Plain) -> RenderableType:
    """Return a line for each metric, and a legend with the duration of the measurement."""
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
        "sd: standard deviation of one night's value. threshold: larger changes from one night to "
        f"another are findings; in at most {FAMILY_WISE:.1%} of nights, any of the "
        f"{body['family']} metrics exceeds its threshold by chance. detectable: the true change "
        f"that is found with probability {POWER:g}. false alarms: how often two nights drawn from "
        f"these values differ significantly at the {rate['at']:.0%} level; on average "
        f"{_share(rate['quality'])} for quality, {_share(rate['time'])} for time. The measurement "
        f"took {body['seconds'] / 60:.1f} minutes.",
        style="dim",
    )


def _change(metric: Plain, name: str) -> str:
    """Write a difference of logarithms as a change in per cent, and other figures as they are."""
    value = metric[name]
    if value is None or metric["scale"] == "plain":
        return number(value)
    return _share(math.expm1(value) if value < 700 else None)


def _share(value: float | None) -> str:
    return _ABSENT if value is None else f"{number(100 * value)} %"
