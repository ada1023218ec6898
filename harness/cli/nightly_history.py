"""`bench nightly history`: every metric over the nights of its series, with its changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.options import json_option, store_option, store_url
from bench.harness.core.errors import Infrastructure

if TYPE_CHECKING:
    from bench.harness.core.records import NightRecord
    from bench.harness.nightly.history import ChangePoint, History
    from bench.harness.store.results import Store

SCHEMA_VERSION = 1
DEFAULT_LIMIT = 40
"""Nights that are drawn without --limit."""
_HEADS = ("problem", "method", "metric", "better", "nights", "latest", "reference", "change", "")


@click.command("history", epilog="Example: bench nightly history --metric update")
@click.option("--suite", metavar="NAME", help="Show only the suite of this name.")
@click.option(
    "--baseline", metavar="NAME", help="Show only nights that were compared with this baseline."
)
@click.option(
    "--metric", metavar="TEXT", default="", help="Show only lines that contain TEXT, such as nag."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="Draw the newest N nights; changes are searched for in all nights of a series.",
)
@json_option
@store_option
def history(
    suite: str | None,
    baseline: str | None,
    metric: str,
    limit: int,
    json_path: str | None,
    store: str | None,
) -> None:
    """Show every metric over the nights since its baseline was accepted, with its changes."""
    from bench.harness.cli.console import UNFOLDED, console
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        found = _find(opened, suite, baseline, metric.lower())
        redacted_url = opened.redacted_url
    if json_path is not None:
        _write(found, json_path)
    if json_path == "-":
        return
    if not found:
        click.echo(
            f"There is no such night in {redacted_url} yet. Run one with: bench nightly run "
            "SUITE.toml",
            err=True,
        )
    out = console(UNFOLDED)
    for nights, lines in found:
        for part in _render(nights, lines, limit, out.width):
            out.print(part)


def _write(found: Sequence[tuple[Sequence[NightRecord], Sequence[History]]], path: str) -> None:
    from bench.harness.report.files import to_json

    suites = [_suite_as_dict(nights, lines) for nights, lines in found]
    text = to_json({"schema_version": SCHEMA_VERSION, "suites": suites})
    try:
        with click.open_file(path, "w", encoding="utf-8") as file:
            file.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Infrastructure(f"--json {path} cannot be written: {error.strerror}.") from error


def _find(
    store: Store, suite: str | None, baseline: str | None, metric: str
) -> list[tuple[list[NightRecord], list[History]]]:
    """Return for every suite and baseline its nights, the newest first, and its histories."""
    from bench.harness.nightly.baseline import accepted
    from bench.harness.nightly.history import histories

    groups: dict[tuple[str, str], list[NightRecord]] = {}
    for night in store.nights(suite, baseline):
        groups.setdefault((night.suite, night.baseline), []).append(night)
    return [
        (
            nights,
            [
                line
                for line in histories(nights, accepted(store, name))
                if metric in " ".join(_names(line)).lower()
            ],
        )
        for (_, name), nights in groups.items()
    ]


def _render(
    nights: Sequence[NightRecord], lines: Sequence[History], limit: int, width: int
) -> Iterator[Any]:
    from rich.text import Text

    from bench.harness.cli.rows import render_rows
    from bench.harness.core.text import visible

    last = nights[0]
    head = (
        f"{last.suite} against {last.baseline}: {len(nights)} on record, the last from "
        f"{last.created:%Y-%m-%d %H:%M} UTC, {last.status}"
    )
    yield Text(visible(head), style="bold")
    if lines:
        rows = [_row(line, limit) for line in lines]
        yield from render_rows(
            _HEADS, rows, width, right=("nights", "latest", "reference", "change")
        )
    for line in lines:
        for turn in line.change_points:
            yield Text(visible(f"• {' '.join(_names(line))}: {_turn(line, turn)}"), style="yellow")
    if blind := [line for line in lines if not line.has_change_points]:
        yield Text(
            f"{len(blind)} of these metrics cannot show changes, because their noise is unknown. "
            "`bench noise` measures it.",
            style="dim",
        )
    yield Text()


def _names(line: History) -> tuple[str, str, str]:
    metric = line.latest
    return metric.problem, metric.method, metric.metric.replace("_", " ")


def _row(line: History, limit: int) -> list[object]:
    from dataclasses import replace

    from bench.harness.nightly.table import change, figure

    latest = line.latest
    if latest.digest is not None:
        return [*_names(line), latest.direction, len(line.nights), latest.digest[:8], "", "", ""]
    held = replace(latest, reference=line.reference)
    return [
        *_names(line),
        latest.direction,
        len(line.nights),
        figure(latest, latest.value),
        figure(latest, line.reference),
        change(held),
        _course(line, limit),
    ]


def _course(line: History, limit: int) -> str:
    """Return the newest values as bars; the axis contains reference ± threshold."""
    from bench.harness.cli.sparkline import bars

    values = [metric.value for _, metric in line.nights][-limit:]
    held = [value for value in values if value is not None]
    if not held or line.reference is None:
        return ""
    room = line.latest.threshold or 0.0
    low, high = min(*held, line.reference - room), max(*held, line.reference + room)
    return bars(values, low, high)


def _turn(line: History, turn: ChangePoint) -> str:
    what = "another digest"
    if turn.size is not None:
        is_better = (turn.size < 0) == (line.latest.direction == "lower")
        what = f"{'better' if is_better else 'worse'} by {abs(turn.size):.1f} standard deviations"
    commit = f"commit {turn.night.commit[:12]}" if turn.night.commit else "no commit"
    return f"{what} since {turn.night.created:%Y-%m-%d %H:%M} UTC, {commit}"


def _suite_as_dict(nights: Sequence[NightRecord], lines: Sequence[History]) -> dict[str, Any]:
    return {
        "suite": nights[0].suite,
        "baseline": nights[0].baseline,
        "nights": [
            {
                "night": night.uuid,
                "created": night.created.isoformat(),
                "status": night.status,
                "commit": night.commit,
            }
            for night in nights
        ],
        "metrics": [_line_as_dict(line) for line in lines],
    }


def _line_as_dict(line: History) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "latest": asdict(line.latest),
        "reference": line.reference,
        "series": [
            {"night": night.uuid, "value": metric.value, "digest": metric.digest}
            for night, metric in line.nights
        ],
        "changes": [
            {"night": turn.night.uuid, "commit": turn.night.commit, "size": turn.size}
            for turn in line.change_points
        ],
    }
