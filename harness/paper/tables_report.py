"""A table of the paper beside what was run, from the plain values of `reproduce_table`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.core.published import TABLES as SOURCE
from bench.harness.core.text import all_visible
from bench.harness.report.table import number

Plain = Mapping[str, Any]

_ABSENT = "–"
SELECTIONS = {"by_tuning_seeds": "by tuning seeds", "by_reported_seeds": "by reported seeds"}
NOTES = (
    "by tuning seeds: ε has the best worst result on seeds that are not reported, and the error is "
    "of fresh ones; by reported seeds: ε has the lowest error on the seeds of that error, as the "
    "paper chooses, which is too low by the luck of the choice. Errors are means over seeds. "
    "*: ε is the smallest or largest that was tried.",
    f"published: {SOURCE}, at its own sizes, data and budget, which preset paper has.",
)
OF_TABLE_2 = (
    "before: the same trials with a budget that ends where the final phase begins. Table 2 does "
    "not print μ_max: the column is that of Table 1 with the same error after the phase."
)


def render_table(result: Plain) -> RenderableType:
    """Return each task with its columns, both selections and what is published."""
    result = all_visible(result)
    parts: list[RenderableType] = []
    for task in result["tasks"]:
        parts += [_head(result, task), _columns(result, task), *_beside(task), Text()]
    notes = [*NOTES, *([OF_TABLE_2] if result["table"] == 2 else [])]
    parts += [Text(note, style="dim") for note in notes]
    return Group(*parts)


def _head(result: Plain, task: Plain) -> Text:
    protocol = task["protocol"]
    budget = protocol["budget"]
    head = Text(f"Table {result['table']}: {task['task']} / {result['preset']}", style="bold")
    facts = [
        protocol["metric"].replace("_", " "),
        f"{number(budget['amount'])} {budget['currency']} a trial",
        f"seeds: {result['seeds']} reported, {result['tuning_seeds']} of tuning",
    ]
    return head.append(f"  data: {protocol['data']}\n{' · '.join(facts)}", style="not bold")


def _columns(result: Plain, task: Plain) -> Table:
    has_before = result["table"] == 2
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("\ncolumn")
    for head in SELECTIONS.values():
        table.add_column(f"{head}\nε", justify="right")
        if has_before:
            table.add_column("\nbefore", justify="right")
        table.add_column("\nerror", justify="right")
    if has_before:
        table.add_column("published\nbefore", justify="right")
    table.add_column("\npublished", justify="right")
    for column in task["columns"]:
        cells = [cell for name in SELECTIONS for cell in _selection(column, name, has_before)]
        printed = [column["published_before"]] if has_before else []
        cells += [_ABSENT if v is None else f"{v:g}" for v in (*printed, column["published"])]
        table.add_row(Text(column["column"], style="bold"), *map(Text, cells))
    return table


def _selection(column: Plain, name: str, has_before: bool) -> list[str]:
    """Write ε and what it reached."""
    before = [_ABSENT] if has_before else []
    if "not_run" in column:
        return ["not run", *before, _ABSENT]
    if "untuned" in column:
        return [_ABSENT, *before, _error(column["untuned"])]
    found = column[name]
    if has_before:
        before = [number(found["before"])]
    return [f"{found['lr']:g}{'*' if found['edge'] else ''}", *before, _error(found)]


def _error(found: Plain) -> str:
    return "diverged" if found["mean"] is None else number(found["mean"])


def _beside(task: Plain) -> list[Text]:
    """Say why columns were not run, what has no ε, and where the rest is."""
    lines = [
        f"{column['column']} is not run: {column['not_run']}."
        for column in task["columns"]
        if "not_run" in column
    ]
    if untuned := [column["column"] for column in task["columns"] if "untuned" in column]:
        lines.append(f"{', '.join(untuned)}: no ε is chosen; by the defaults of `bench compare`.")
    ids = dict.fromkeys(id for column in task["columns"] for id in column.get("comparisons", ()))
    lines.append(f"Comparisons (bench show ID): {', '.join(ids)}")
    return [Text(line, style="dim") for line in lines]
