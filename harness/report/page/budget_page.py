"""The report of results at the ends of several budgets: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.harness.core.text import all_visible
from bench.harness.report.budget_table import amount, facts, means, pair_matrix
from bench.harness.report.curves import CURRENCIES
from bench.harness.report.page import figures
from bench.harness.report.page.page import picture_uri, rendered
from bench.harness.report.page.parts import KIND, Table, headline, shown_matrix
from bench.harness.report.style import color
from bench.harness.report.table import (
    claim,
    evidence,
    hyperparameter,
    judged,
    mean_text,
    number,
    title,
)

Plain = Mapping[str, Any]


def budget_page(curve: Plain, picture: bytes) -> str:
    """Return the report of curves over budgets as HTML; `picture` is for those without JavaScript.

    All texts that users can write are escaped, as on the page of a comparison.
    """
    curve = all_visible(curve)
    words = judged(curve)["words"]
    verdicts, matrices = _verdicts(curve)
    ids = ", ".join(each["comparison"] for each in curve["budgets"])
    return rendered(
        "budgets.html.jinja",
        title=title(curve["protocol"]),
        comparisons=ids,
        verdicts=verdicts,
        matrices=matrices,
        facts_line=" · ".join([f"data: {curve['protocol']['data']}", *facts(curve)]),
        results=_results(curve),
        notes=curve["notes"],
        figures={
            "budgets": {
                "title": f"{words.capitalize()} at the end of each budget: the mean of each method "
                "and the band of its 95 % interval. Every point is of runs that ended there.",
                "plot": figures.budgets(curve),
                "picture": picture_uri(picture),
            }
        },
        hyperparameters=[_hyperparameters(row, curve) for row in curve["methods"]],
        commands=[
            ("Repeat it:", curve["reproduce"]),
            *(
                (f"Repeat {amount(each, curve)} ({each['comparison']}):", each["reproduce"])
                for each in curve["budgets"]
            ),
        ],
        foot=f"Comparisons {ids}, written by bench. Everything on this page is in this file.",
    )


def _verdicts(curve: Plain) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what the page says first, and a matrix with its pairs for each budget that has one."""
    first: list[dict[str, Any]] = []
    matrices = []
    words = judged(curve)["words"]
    for each in curve["budgets"]:
        at = f"At {amount(each, curve)}"
        pairs = [
            {
                "kind": KIND.get(pair["verdict"], "open"),
                "claim": claim(pair, curve),
                "evidence": evidence(pair, curve),
            }
            for pair in each["pairs"]
        ]
        if matrix := pair_matrix(each, curve):
            shown = shown_matrix(matrix, f"{words}, at {amount(each, curve)}")
            matrices.append({"matrix": shown, "pairs": pairs})
            pairs = [headline(matrix, words)]
        first += [{**pair, "claim": f"{at}: {pair['claim']}"} for pair in pairs]
    alone = "There is no other method to compare it with."
    return first or [{"kind": "open", "claim": "No verdict.", "evidence": alone}], matrices


def _results(curve: Plain) -> dict[str, Any]:
    heads = [("Method", ""), ("Seeds", "n")]
    unit = CURRENCIES[curve["currency"]]
    heads += [(number(each["amount"]), unit) for each in curve["budgets"]]
    rows = []
    for row in curve["methods"]:
        counts = dict.fromkeys(str(point["n"]) for point in row["points"])
        cells = [(", ".join(counts), "")]
        for point in row["points"]:
            between = f"{number(point['low'])} to {number(point['high'])}"
            cells.append((mean_text(point), "" if point["low"] is None else between))
        rows.append({"method": row["method"], "color": color(row["name"]), "cells": cells})
    caption = f"{means(curve).capitalize()}, with the 95 % t interval; "
    return {
        "caption": f"{caption}{judged(curve)['direction']} is better.",
        "heads": heads,
        "rows": rows,
    }


def _hyperparameters(row: Plain, curve: Plain) -> Table:
    """Return what a method was run with at each budget, and how it was chosen."""
    names = dict.fromkeys(name for point in row["points"] for name in point["hyperparameters"])
    rows = [
        [name, *(_value(point["hyperparameters"], name) for point in row["points"])]
        for name in names
    ]
    trials = [number(point["tuning"]["trials"]) for point in row["points"]]
    return Table(
        f"{row['method']}: hyperparameters at each budget, and the number of tuning trials",
        ["Hyperparameter", *(number(each["amount"]) for each in curve["budgets"])],
        [*rows, ["tuning trials", *trials]],
    )


def _value(given: Mapping[str, Any], name: str) -> str:
    return hyperparameter(given[name]) if name in given else "–"
