"""The section of RESULTS.md on a task's grid of a table, beside what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.machine import ran_on
from benchmarks.paper.grids import TABLES


def section(content: Mapping[str, Any]) -> str:
    """Return the best of each column beside what is published, as a section of RESULTS.md."""
    protocol = content["protocol"]
    # What is published is of the published protocol.
    published = TABLES[content["table"]].published[content["task"]]
    printed = published if protocol["preset"] == "paper" else {}
    rows, of = content["rows"], content["of"]
    seeds = len({row["seed"] for row in rows})
    metric = protocol["metric"].removeprefix("train_").replace("_", " ")
    ended = content["status"] == "finished"
    far = (
        f"ran to its end, {of:,} updates"
        if ended
        else f"**not finished**: stopped after {content['updates']:,} of {of:,} updates"
    )
    return "\n".join(
        [
            f"## Table {content['table']}: {protocol['problem']}/{protocol['preset']}",
            "",
            *ran_on(content),
            "",
            f"{protocol['data']}, {protocol['precision']}; {len(rows)} trials, {seeds} seed"
            f"{'s' if seeds > 1 else ''} each point, as one fleet; {far}, in "
            f"{content['seconds'] / 60:.1f} minutes of training.",
            "",
            f"| column | best ε | training {metric} | test | published | diverged |",
            "|---|---|---|---|---|---|",
            *(
                _row(column, printed.get(column), [r for r in rows if r["column"] == column])
                for column in dict.fromkeys(row["column"] for row in rows)
            ),
            "",
            "* The best ε is the one with the lowest training figure, the mean over seeds, among "
            "those under which no trial diverged; *edge*: it is the largest or smallest of those "
            "that were tried. Published: Sutskever et al. 2013, after all updates.",
            *(
                []
                if ended
                else [
                    "* What stands here is where the trials stood when they were stopped, before "
                    "the schedule's end: not what is published."
                ]
            ),
            "",
        ]
    )


def _row(column: str, published: float | None, rows: Sequence[Mapping[str, Any]]) -> str:
    lrs = sorted({row["lr"] for row in rows})
    means: dict[float, tuple[float, float]] = {}
    for lr in lrs:
        seeds = [row for row in rows if row["lr"] == lr]
        train, test = zip(*(row["curve"][-1][1:] for row in seeds), strict=True)
        if not any(row["status"] == "diverged" for row in seeds) and None not in (*train, *test):
            means[lr] = mean(train), mean(test)
    gone = sum(row["status"] == "diverged" for row in rows)
    shown = "–" if published is None else f"{published:g}"
    if not means:
        return f"| {column} | – | – | – | {shown} | {gone} of {len(rows)} |"
    best = min(means, key=lambda lr: means[lr])
    edge = " *edge*" if best in (lrs[0], lrs[-1]) else ""
    of_training, of_test = means[best]
    return (
        f"| {column} | {best:g}{edge} | **{of_training:.3g}** | {of_test:.3g} | {shown} "
        f"| {gone} of {len(rows)} |"
    )
