"""The page's part on tuning: hyperparameters, tuning effort, and sensitivity of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness.analysis.grids import Edge
from bench.harness.analysis.sensitivity import (
    Grid,
    Point,
    grid,
    published,
    reported,
    tried,
    varied,
)
from bench.harness.core.published import NOTE
from bench.harness.report.curves import metric_in_words
from bench.harness.report.heat_maps import Colors, value_in_words
from bench.harness.report.page.parts import Table
from bench.harness.report.table import hyperparameter, number

Plain = Mapping[str, Any]


def part(summary: Plain) -> Plain:
    """Return all hyperparameters, with heat maps if ε and μ_max varied, or else with tables."""
    maps, tables = [], []
    for caption, name, points in _studies(summary):
        found = grid(points)
        if found is not None:
            maps.append(_map(summary, caption, name, found))
        elif varied(points):
            tables.append(_table(summary, caption, points))
    beside = any(each["published"] for each in maps)
    return {
        "hyperparameters": _hyperparameters(summary["methods"]),
        "edges": [edge for row in summary["methods"] for edge in _edges(row)],
        "maps": maps,
        "tables": tables,
        "published_note": f"{NOTE[0].upper()}{NOTE[1:]}" if beside else None,
    }


def grids(summary: Plain) -> list[tuple[str, Grid]]:
    """Return the grids with heat maps, each with its caption."""
    found = [(caption, grid(points)) for caption, _, points in _studies(summary)]
    return [(caption, each) for caption, each in found if each is not None]


def effort(summary: Plain) -> Table:
    """Return the expected best of k tuning points, one row for each method."""
    rows = [(r["method"], r["tuning"].get("expected_best") or []) for r in summary["methods"]]
    most = max((len(values) for _, values in rows), default=0)
    return Table(
        "Expected best on the tuning seeds, by number of tuning points",
        ["Method", *map(str, range(1, most + 1))],
        [
            [method, *map(number, [*values, *[None] * (most - len(values))])]
            for method, values in rows
            if values
        ],
    )


def _studies(summary: Plain) -> list[tuple[str, str, list[Point]]]:
    """Return sets of tuning points and of reported points, each with caption and method's name."""
    direction, metric = (
        summary["protocol"]["direction"],
        metric_in_words(summary["protocol"]["metric"]),
    )
    studies = [
        (
            f"{row['method']}: training {metric} on the worst of its tuning seeds",
            row["name"],
            tried(row, direction),
        )
        for row in summary["methods"]
    ]
    for name in dict.fromkeys(row["name"] for row in summary["methods"]):
        alike = [row for row in summary["methods"] if row["name"] == name]
        caption = f"{name}: training {metric}, mean over its seeds"
        studies.append((caption, name, reported(alike)))
    return [study for study in studies if len(study[2]) > 1]


def _hyperparameters(rows: Sequence[Plain]) -> Table:
    """Return a table with a column for each method; a dash means: no such hyperparameter."""
    names = dict.fromkeys(name for row in rows for name in row["hyperparameters"])
    return Table(
        "Hyperparameters of each method, and the number of tuning trials",
        ["Hyperparameter", *(row["method"] for row in rows)],
        [
            *([name, *(_value(row["hyperparameters"], name) for row in rows)] for name in names),
            ["backend", *(row["backend"] for row in rows)],
            ["tuning trials", *(_tuned(row["tuning"]) for row in rows)],
        ],
    )


def _tuned(tuning: Plain) -> str:
    trials = str(tuning["trials"]) if tuning["trials"] else "not tuned here"
    added = tuning.get("extended")
    return f"{trials}, including {added} points added by --extend" if added else trials


def _edges(row: Plain) -> list[str]:
    """Return a sentence for every chosen value at the edge of its grid or range."""
    return [f"{row['method']}: {Edge(**edge).advice}." for edge in row["tuning"].get("edges", ())]


def _map(summary: Plain, caption: str, name: str, found: Grid) -> Plain:
    protocol = summary["protocol"]
    points = list(found.points.values())
    colors = Colors.of(points, protocol["direction"], summary["scale"] == "log")
    printed = [published(protocol, name, momentum) for momentum in found.momenta]
    rows = [
        {
            "momentum": "none" if momentum is None else f"{momentum:g}",
            "cells": [_cell(found.points.get((momentum, x)), colors) for x in found.step_sizes],
            "published": "–" if value is None else f"{value:g}",
        }
        for momentum, value in zip(found.momenta, printed, strict=True)
    ]
    beside = any(value is not None for value in printed)
    sizes = [f"{size:g}" for size in found.step_sizes]
    return {"caption": caption, "sizes": sizes, "rows": rows, "published": beside}


def _cell(point: Point | None, colors: Colors) -> Plain | None:
    if point is None:
        return None
    background, ink = colors(point.value)
    value = value_in_words(point)
    return {"value": value, "background": background, "ink": ink, "chosen": point.chosen}


def _table(summary: Plain, caption: str, points: Sequence[Point]) -> Table:
    """Return points from best to worst, by the hyperparameters in which they differ."""
    names = varied(points)
    sign = 1 if summary["protocol"]["direction"] == "lower" else -1
    ranked = sorted(points, key=lambda p: (p.value is None, sign * (p.value or 0)))
    rows = [
        [value_in_words(p) + (" (chosen)" if p.chosen else "")]
        + [_value(p.hyperparameters, name) for name in names]
        for p in ranked
    ]
    return Table(f"{caption}, best first", ["Value", *names], rows)


def _value(given: Plain, name: str) -> str:
    return hyperparameter(given[name]) if name in given else "–"
