"""A reproduced table with the published values, from the plain values of `reproduce_table`."""

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
    "by tuning seeds: ε is chosen by its worst error on the tuning seeds, and the error is "
    "measured on other seeds. by reported seeds: ε has the lowest error on the same seeds, as the "
    "paper chooses it; luck makes this error too low. Errors are means over seeds. *: ε is the "
    "smallest or largest value tried.",
    f"published: {SOURCE}, at its own sizes, data and budget, which are those of preset paper.",
)
TABLE_2_NOTE = (
    "before: the same trials with a budget that ends when the final phase begins. Table 2 does not "
    "give μ_max; the column is that of Table 1 with the same error after the phase."
)


def render_table(result: Plain) -> RenderableType:
    """Return each task with its columns, both selections and the published values."""
    result = all_visible(result)
    parts: list[RenderableType] = []
    for task in result["tasks"]:
        parts += [_head(result, task), _columns(result, task), *_footnotes(task), Text()]
    notes = [*NOTES, *([TABLE_2_NOTE] if result["table"] == 2 else [])]
    parts += [Text(note, style="dim") for note in notes]
    return Group(*parts)


def _head(result: Plain, task: Plain) -> Text:
    protocol = task["protocol"]
    budget = protocol["budget"]
    head = Text(f"Table {result['table']}: {task['task']} / {result['preset']}", style="bold")
    facts = [
        protocol["metric"].replace("_", " "),
        f"{number(budget['amount'])} {budget['currency']} per trial",
        f"seeds: {result['seeds']} reported, {result['tuning_seeds']} for tuning",
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
    """Write ε and its result."""
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


def _footnotes(task: Plain) -> list[Text]:
    """Return lines on columns that were not run or have no ε, and the ids of comparisons."""
    lines = [
        f"{column['column']} is not run: {column['not_run']}."
        for column in task["columns"]
        if "not_run" in column
    ]
    if untuned := [column["column"] for column in task["columns"] if "untuned" in column]:
        lines.append(f"{', '.join(untuned)}: run with the defaults of bench compare, without an ε.")
    ids = dict.fromkeys(id for column in task["columns"] for id in column.get("comparisons", ()))
    lines.append(f"Comparisons (bench show ID): {', '.join(ids)}")
    return [Text(line, style="dim") for line in lines]
