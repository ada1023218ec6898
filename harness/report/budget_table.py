"""Results at the ends of several budgets, as a table with the verdicts at each."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.core.text import all_visible
from bench.harness.report.commands import Command
from bench.harness.report.files import WIDTH
from bench.harness.report.table import (
    CURRENCY,
    Fitted,
    bullets,
    claim,
    evidence,
    header,
    judged,
    number,
    ranges,
    verdict,
    with_interval,
)
from bench.harness.report.verdict_matrix import VerdictMatrix, best_first, verdict_matrix

Plain = Mapping[str, Any]
"""Curves over budgets, as `bench.harness.analysis.budget_curve.budget_curve` returns them."""


def render(curve: Plain) -> RenderableType:
    """Return header, table, verdicts of each budget, notes and the command that repeats it."""
    curve = all_visible(curve)
    parts: list[RenderableType] = [
        header(curve["protocol"], facts(curve)),
        Text(),
        Fitted([_table(curve, gap) for gap in (2, 1)], [row["method"] for row in curve["methods"]]),
        Text(f"{means(curve)}, below it the 95 % t interval", style="dim"),
    ]
    for each in curve["budgets"]:
        if each["pairs"]:
            parts += [Text(), Text(f"At {amount(each, curve)}:", style="bold")]
            if matrix := pair_matrix(each, curve):
                parts += [" ".join(matrix.headline(judged(curve)["words"])), matrix]
            parts += [
                bullets("•", [verdict(pair, curve) for pair in each["pairs"]]),
            ]
    parts += [Text(), bullets("note:", [Text(note, style="dim") for note in curve["notes"]])]
    command = Command(curve["reproduce"])
    if command.exists:
        parts += [Text(), Text("Repeat with:", style="dim"), command]
    return Group(*parts)


def to_text(curve: Plain) -> str:
    """Return the table as plain text."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
    console.print(render(curve))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def facts(curve: Plain) -> list[str]:
    """Return metric, budgets, seeds, precision, and anytime or end-of-budget, of all budgets."""
    *most, last = (number(each["amount"]) for each in curve["budgets"])
    seeds = curve["seeds"]
    kinds = {each["budget_end"]["kind"] for each in curve["budgets"]}
    return [
        f"{judged(curve)['words']}, {judged(curve)['direction']} is better",
        f"budgets of {', '.join(most)} and {last} {CURRENCY[curve['currency']]} per trial",
        f"{'seed' if len(seeds) == 1 else 'seeds'} {ranges(seeds)}",
        curve["protocol"]["precision"],
        "end-of-budget" if "end-of-budget" in kinds else "anytime",
    ]


def amount(budget: Plain, curve: Plain) -> str:
    """Return a budget in words: "600,000 gradient-equivalents"."""
    return f"{number(budget['amount'])} {CURRENCY[curve['currency']]}"


def means(curve: Plain) -> str:
    """Return which mean the table shows."""
    kinds = {point["scale"] for row in curve["methods"] for point in row["points"]} - {None}
    by_name = {"log": "geometric mean", "plain": "arithmetic mean"}
    kind = " or ".join(by_name[scale] for scale in sorted(kinds)) or "mean"
    return f"{judged(curve)['words']} at the end of each budget: {kind} over n seeds"


def pair_matrix(budget: Plain, curve: Plain) -> VerdictMatrix | None:
    """Return the verdicts at a budget's end as a matrix; None where a list of them is short."""
    index = [each["amount"] for each in curve["budgets"]].index(budget["amount"])
    means = [(row["method"], row["points"][index]["mean"]) for row in curve["methods"]]
    return verdict_matrix(budget["pairs"], best_first(means, judged(curve)["direction"]))


def with_sentences(curve: Plain) -> dict[str, Any]:
    """Return the curves with the claim and the evidence of every pair in words."""
    budgets = [
        {
            **each,
            "pairs": [
                {**pair, "claim": claim(pair, curve), "evidence": evidence(pair, curve)}
                for pair in each["pairs"]
            ],
        }
        for each in curve["budgets"]
    ]
    return {**curve, "budgets": budgets}


def _table(curve: Plain, gap: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    unit = CURRENCY[curve["currency"]].replace("-", "-\n")
    lines = unit.count("\n")
    table.add_column("\n" * (lines + 1) + "method", overflow="fold", min_width=6)
    table.add_column("\n" * (lines + 1) + "n", justify="right")
    for each in curve["budgets"]:
        table.add_column(f"{number(each['amount'])}\n{unit}", justify="right", no_wrap=True)
    for row in curve["methods"]:
        counts = list(dict.fromkeys(str(point["n"]) for point in row["points"]))
        cells = [", ".join(counts), *(with_interval(point) for point in row["points"])]
        # Text, not str: rich would read a method's brackets as markup.
        table.add_row(Text(row["method"], style="bold"), *(Text(cell) for cell in cells))
    return table
