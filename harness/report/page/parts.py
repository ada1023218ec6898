"""Verdicts, results, curves and times to targets, in the form that the page's template needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.report.curves import CURRENCIES, Scale, metric, metric_in_words, profiled, spent
from bench.harness.report.style import color
from bench.harness.report.table import (
    claim,
    evidence,
    judged,
    mean_text,
    means,
    number,
    pair_matrix,
    seconds_of,
)
from bench.harness.report.verdict_matrix import Cell, VerdictMatrix

Plain = dict[str, Any]
KIND = {"a better": "better", "b better": "better", "equivalent": "equivalent"}
_SHARES = [tenth / 10 for tenth in range(1, 11)]
_NEVER = "not reached"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row is its head."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def parts(
    summary: Plain,
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
    open_reason: str | None,
) -> Plain:
    """Return the contents of the first half of the page."""
    matrix = None if open_reason else pair_matrix(summary)
    verdicts = _verdicts(summary, open_reason)
    words = judged(summary)["words"]
    return {
        "verdicts": [headline(matrix, words)] if matrix else verdicts,
        "matrix": matrix and shown_matrix(matrix, words),
        "pairs": verdicts if matrix else [],
        "results": _results(summary),
        "curve_tables": _curves(summary, trials, measurements),
        "targets": _targets(summary),
        "profile_tables": _profiles(summary),
    }


def _verdicts(summary: Plain, open_reason: str | None) -> list[Plain]:
    if open_reason:
        return [{"kind": "open", "claim": "No verdict yet.", "evidence": open_reason}]
    if summary["pairs"]:
        return [
            {
                "kind": KIND.get(pair["verdict"], "open"),
                "claim": claim(pair, summary),
                "evidence": evidence(pair, summary),
            }
            for pair in summary["pairs"]
        ]
    return [
        {
            "kind": "open",
            "claim": f"{row['method']} alone: {mean_text(row['final'])} "
            f"{metric_in_words(judged(summary)['quantity'])} on training data",
            "evidence": f"n={row['n']}; there is no other method to compare it with.",
        }
        for row in summary["methods"]
    ] or [{"kind": "open", "claim": "No verdict.", "evidence": "No trial was recorded."}]


def headline(matrix: VerdictMatrix, words: str) -> Plain:
    """Return what many pairs tell together: who is unbeaten."""
    claim, evidence = matrix.headline(words)
    wins = [cell and cell.verdict == "better" for cell in matrix.cells[0]]
    kind = "better" if sum(map(bool, wins)) == len(wins) - 1 else "open"
    return {"kind": kind, "claim": claim, "evidence": evidence}


def shown_matrix(matrix: VerdictMatrix, words: str) -> Plain:
    """Return the cells of a matrix as a word and a figure, with the index of their pair."""
    units = {cell.unit for row in matrix.cells for cell in row if cell}
    told = {
        "ratio": "× the row's mean as a multiple of the column's",
        "difference": "± the row's mean minus the column's",
    }
    figures = "; ".join(text for unit, text in told.items() if unit in units)
    return {
        "caption": f"What a row is in comparison with a column in {words}; {figures}. The best "
        "mean comes first. A cell leads to its evidence.",
        "rows": [
            {"method": method, "cells": [cell and _cell(cell) for cell in row]}
            for method, row in zip(matrix.methods, matrix.cells, strict=True)
        ],
    }


def _cell(cell: Cell) -> Plain:
    amount = number(cell.amount)
    if cell.amount is not None:
        sign = "+" if cell.amount > 0 else ""
        amount = f"× {amount}" if cell.unit == "ratio" else f"{sign}{amount}".replace("-", "−")
    return {
        "kind": {"better": "better", "worse": "worse", "equivalent": "equivalent"}.get(
            cell.verdict, "open"
        ),
        "word": cell.verdict,
        "amount": amount,
        "pair": cell.pair,
    }


def _results(summary: Plain) -> Plain:
    with_published = any(row["published"] is not None for row in summary["methods"])
    error = metric_in_words(judged(summary)["quantity"])
    heads = [
        ("Method", ""),
        (f"Training {error}", "95 % t interval"),
        (f"Test {error}", "95 % t interval"),
        ("Seeds", "n"),
        ("Updates", "mean per trial"),
        ("Examples", "mean per trial"),
        ("Gradient-equivalents", "mean per trial"),
        ("Seconds", "share per trial"),
    ]
    rows = []
    for row in summary["methods"]:
        ledger = row["ledger"]
        cells = [
            (mean_text(row["final"]), _interval(row["final"])),
            (mean_text(row["final"]["test"]), _interval(row["final"]["test"])),
            (str(row["n"]), ""),
            *((number(ledger[name]), "") for name in ("updates", "examples", "gradients")),
            seconds_of(ledger),
        ]
        if with_published:
            cells.append((number(row["published"]), ""))
        rows.append({"method": row["method"], "color": color(row["name"]), "cells": cells})
    better = f"{judged(summary)['direction']} is better"
    return {
        "caption": f"{means(summary).capitalize()}; {better}.",
        "error": error,
        "heads": heads + ([("Published", "preset paper")] if with_published else []),
        "rows": rows,
    }


def _interval(final: Plain) -> str:
    return "" if final["low"] is None else f"{number(final['low'])} to {number(final['high'])}"


def _curves(
    summary: Plain,
    trials: Sequence[TrialRecord],
    measurements: Mapping[int, Sequence[Measurement]],
) -> list[Table]:
    """Return a table for each method with its measurements, over the trials that got so far."""
    worst = Scale.of_summary(summary, ()).worst
    error, tables = metric_in_words(summary["protocol"]["metric"]), []
    for row in summary["methods"]:
        own = [t for t in trials if t.method == row["method"]]
        mine = [measurements.get(t.id, ()) for t in own]
        rows = []
        for index in range(max(map(len, mine), default=0)):
            taken = [each[index] for each in mine if index < len(each)]
            # A trial that diverged earlier counts as worst; other missing trials still run.
            pairs = zip(own, mine, strict=True)
            gone = [worst for t, m in pairs if t.status == "diverged" and index >= len(m)]
            ledgers = [m.ledger for m in taken]
            rows.append(
                [number(float(np.median([spent(x, name) for x in ledgers]))) for name in CURRENCIES]
                + [_spread([metric(m, "train") for m in taken] + gone, worst)]
                + [_spread([metric(m, "test") for m in taken] + gone, worst)]
            )
        heads = [*(label.capitalize() for label in CURRENCIES.values()), "Training", "Test"]
        count = f"{len(mine)} seeds" if len(mine) != 1 else "1 seed"
        caption = (
            f"{row['method']}: {error} at each measurement, median of {count} (least to greatest), "
            "over the trials that got so far; amounts spent are medians too"
        )
        tables.append(Table(caption, heads, rows))
    return tables


def _spread(values: Sequence[float], worst: float) -> str:
    ranked = [v if math.isfinite(v) else worst for v in values]
    middle, low, high = (float(f(ranked)) for f in (np.median, min, max))
    return f"{_figure(middle)} ({_figure(low)} to {_figure(high)})"


def _figure(value: float) -> str:
    return number(value) if math.isfinite(value) else "diverged"


def _targets(summary: Plain) -> Plain | None:
    if not summary["targets"]:
        return None
    sign = "≤" if summary["protocol"]["direction"] == "lower" else "≥"
    # Comparisons recorded by earlier versions of bench have no restricted mean.
    times = [time for row in summary["methods"] for time in row["times_to_targets"]]
    restricted = any("restricted_mean" in time for time in times)
    groups = []
    for i, target in enumerate(summary["targets"]):
        rows = [
            {
                "method": row["method"],
                "color": color(row["name"]),
                "cells": _time(row["times_to_targets"][i], restricted),
            }
            for row in summary["methods"]
        ]
        groups.append((f"{sign} {number(target)}", rows))
    horizon = next((t["horizon"]["gradients"] for t in times if "horizon" in t), None)
    within = f"; means are restricted to {number(horizon)}" if horizon else ""
    refused = any(time.get("refused") for time in times)
    late = ", or that updates which depend on where the budget ends reached it (see the notes)"
    return {
        "caption": "Median amount that trials spent to reach a target, estimated by Kaplan–Meier: "
        f"trials that did not reach it are censored{within}. – means that fewer than half reached "
        f"it{late if refused else ''}.",
        "restricted": restricted,
        "groups": groups,
    }


def _time(time: Plain, restricted: bool) -> list[str]:
    cells = [f"{time['reached']} of {time['of']}", number(time["gradients"])]
    if restricted:
        cells.append(number(time.get("restricted_mean", {}).get("gradients")))
    return [*cells, number(time["seconds"])]


def _profiles(summary: Plain) -> list[Table]:
    """Return a table for each method: the least amount spent for every tenth of the targets."""
    heads = ["Share", *(label.capitalize() for label in CURRENCIES.values())]
    return [
        Table(
            f"{method}: amount spent until a share of the targets was reached",
            heads,
            [
                [f"{share:.0%}", *(_least(steps[name], share) for name in CURRENCIES)]
                for share in _SHARES
            ],
        )
        for method, steps in profiled(summary).items()
    ]


def _least(steps: Sequence[Sequence[float]], share: float) -> str:
    # Shares are sums of fractions, so rounding may leave them slightly below a tenth.
    return next((number(x) for x, reached in steps if reached >= share - 1e-9), _NEVER)
