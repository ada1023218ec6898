"""Results at the ends of several budgets: a curve for each method, and verdicts at each budget.

Every budget was run to its own end, as a comparison of its own. So a schedule that depends on the
end of the budget has reached it at every point of the curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.harness.analysis import statistics
from bench.harness.analysis.other_data import ratio
from bench.harness.analysis.verdict import Pair, Results, joint_verdicts

SCHEMA_VERSION = 1

Plain = Mapping[str, Any]
"""The summary of a comparison, as `bench.harness.analysis.summary.summarize` returns it."""


def budget_curve(summaries: Sequence[Plain], written: Sequence[str], reproduce: str) -> Plain:
    """Return the curves over the budgets of comparisons that differ in nothing else.

    `summaries` are in the order of rising budgets, and have their methods in one order; `written`
    are the methods as they were asked for, which name those whose labels differ between budgets.
    p-values are adjusted by Holm over all pairs of all budgets.
    """
    first = summaries[0]
    labels = [
        names.pop() if len(names := {row["method"] for row in rows}) == 1 else text
        for rows, text in zip(
            zip(*(each["methods"] for each in summaries), strict=True), written, strict=True
        )
    ]
    pairs = joint_verdicts(
        [results_of(each, labels) for each in summaries],
        direction=first["metric"]["direction"],
        log_scale=first["scale"] == "log",
        margin=first["margin"],
        alpha=first["alpha"],
        is_share=first["is_share"],
    )
    count = sum(map(len, pairs))
    return {
        "schema_version": SCHEMA_VERSION,
        "protocol": {
            name: value
            for name, value in first["protocol"].items()
            if name not in ("key", "budget")
        },
        "metric": first["metric"],
        "scale": first["scale"],
        "margin": first["margin"],
        "alpha": first["alpha"],
        "is_share": first["is_share"],
        "currency": first["protocol"]["budget"]["currency"],
        "seeds": sorted({trial["seed"] for row in first["methods"] for trial in row["trials"]}),
        "needed_seeds": statistics.seeds_needed(max(1, count), first["alpha"]),
        "budgets": [
            {
                "amount": each["protocol"]["budget"]["amount"],
                "comparison": each["comparison"],
                "budget_end": each["budget_end"],
                "pairs": [
                    _pair(pair, old) for pair, old in zip(of_one, each["pairs"], strict=True)
                ],
                "reproduce": each["reproduce"],
            }
            for each, of_one in zip(summaries, pairs, strict=True)
        ],
        "methods": [
            {
                "method": label,
                "name": rows[0]["name"],
                "points": [_point(row, each) for row, each in zip(rows, summaries, strict=True)],
            }
            for label, rows in zip(
                labels, zip(*(each["methods"] for each in summaries), strict=True), strict=True
            )
        ],
        "notes": _notes(summaries, count),
        "reproduce": reproduce,
    }


def _pair(pair: Pair, old: Plain) -> dict[str, Any]:
    """Return a verdict of the curves; cautions and the other data are those of one budget."""
    other = old["other_data"]
    if other is not None:
        names = {old["a"]: pair.a, old["b"]: pair.b}
        other = {**other, "better": names.get(other["better"])}
    return {**old, **asdict(pair), "ratio": ratio(pair), "other_data": other}


def results_of(summary: Plain, labels: Sequence[str]) -> Results:
    """Return the judged values of a comparison by label and seed; None: the trial diverged."""
    split = summary["metric"]["split"]
    found: dict[str, dict[int, float | None]] = {}
    for label, row in zip(labels, summary["methods"], strict=True):
        final = row["final"] if split == "train" else row["final"]["test"]
        ended = [t for t in row["trials"] if t["status"] in ("budget", "diverged")]
        found[label] = {
            trial["seed"]: value
            for trial, value in zip(ended, final["values"], strict=True)
            # Without test cases a trial has no value there, and has not diverged.
            if value is not None or trial["status"] == "diverged" or split == "train"
        }
    return found


def _point(row: Plain, summary: Plain) -> dict[str, Any]:
    final = row["final"]
    judged = final if summary["metric"]["split"] == "train" else final["test"]
    names = ("mean", "low", "high", "values", "diverged", "scale", "interval_kind")
    return {
        "amount": summary["protocol"]["budget"]["amount"],
        "comparison": summary["comparison"],
        "label": row["method"],
        "n": row["n"],
        **{name: judged[name] for name in names},
        "updates": row["ledger"]["updates"],
        "hyperparameters": row["hyperparameters"],
        "tuning": row["tuning"],
    }


def _notes(summaries: Sequence[Plain], pairs: int) -> list[str]:
    """Return what holds for all budgets, and what was said of some of them with their amounts."""
    budgets = [each["protocol"]["budget"] for each in summaries]
    ids = ", ".join(each["comparison"] for each in summaries)
    found = [f"Each budget was run to its own end, as a comparison of its own: {ids}."]
    if pairs > 1:
        found.append(
            f"p-values are corrected for {pairs} pairs over all budgets. Each comparison by itself "
            "has the correction for its own pairs."
        )
    if any(row["tuning"]["trials"] for row in summaries[0]["methods"]):
        found.append("The hyperparameters were tuned for each budget by itself.")
    said: dict[str, list[str]] = {}
    for each, budget in zip(summaries, budgets, strict=True):
        # The curves have no times to targets, so a note on them would speak of nothing.
        refusals = each["budget_end"].get("refusals", ())
        for note in (note for note in each["notes"] if note not in refusals):
            said.setdefault(note, []).append(f"{budget['amount']:,g}")
    for note, amounts in said.items():
        everywhere = len(amounts) == len(summaries)
        found.append(note if everywhere else f"At {' and '.join(amounts)}: {note}")
    return found
