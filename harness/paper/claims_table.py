"""The paper's claims and their decisions as tables, from recorded plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.harness.paper.claims import Rule, other_column
from bench.harness.report.table import number

Plain = Mapping[str, Any]

_STYLE = {"holds": "green", "does not hold": "red", "cannot tell": "yellow"}
_ABSENT = "–"


def render_claims(results: Sequence[Plain]) -> RenderableType:
    """Return every claim with its decision, its statements, and the comparisons behind them."""
    parts: list[RenderableType] = []
    for result in results:
        parts += [_head(result), _statements(result), *_notes(result), Text()]
    parts.append(
        Text(
            "n: number of seeds. estimate: the mean over seeds; with an ×, a ratio of geometric "
            "means. 95 % interval: the interval of the estimate, which decides. paper: the same "
            "estimate from the published values, at the published size, data and budget.",
            style="dim",
        )
    )
    return Group(*parts)


def render_rules(rules: Sequence[Rule]) -> RenderableType:
    """Return the experiment and the criteria of each claim."""
    parts: list[RenderableType] = []
    for rule in rules:
        head = Text(f"{rule.claim}. {rule.title}", style="bold")
        head.append(
            f"\n{rule.source}\n{rule.preset}, rule version {rule.version}, SHA-256 {rule.digest}",
            style="not bold dim",
        )
        parts.append(head)
        for run in rule.runs:
            budget = f", {run.budget}" if run.budget else ""
            seeds = _count(run.seeds, "seed")
            is_tuned = any("|" in text for text in run.arms.values())
            tuned = f", chosen on {_count(run.tune_seeds, 'tuning seed')}" if is_tuned else ""
            parts.append(Text(f"  run {run.name}: {run.problem}{budget}, {seeds}{tuned}"))
            parts += [Text(f"    {arm}: {text}", style="dim") for arm, text in run.arms.items()]
        for each in rule.statements:
            plain = asdict(each.statement)
            parts.append(Text(f"  {each.statement.says}: {each.value} {threshold(plain)}"))
        if beside := other_column(rule.claim):
            parts.append(Text(f"  {beside}", style="dim"))
        parts.append(Text())
    return Group(*parts)


def one_line(result: Plain) -> str:
    """Return a decision in one line, for logs."""
    return f"claim {result['claim']} ({result['preset']}): {result['decision']}"


def in_unit(statement: Plain, value: float | None) -> str:
    """Write a value in a statement's unit: a factor, or a plain value."""
    if value is None:
        return _ABSENT
    return f"{value:.3g}×" if statement["scale"] == "log" else number(value)


def interval(statement: Plain) -> str:
    """Write a statement's interval, or a dash if it has none."""
    if statement["low"] is None and statement["high"] is None:
        return _ABSENT
    least = "0×" if statement["scale"] == "log" else "−∞"
    low, high = (in_unit(statement, statement[end]) for end in ("low", "high"))
    return f"{least if low == _ABSENT else low} to {'∞' if high == _ABSENT else high}"


def threshold(statement: Plain) -> str:
    """Write the criterion of a statement."""
    sign = ">" if statement["side"] == "above" else "<"
    return f"{sign} {in_unit(statement, statement['threshold'])}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _head(result: Plain) -> Text:
    decision = result["decision"]
    head = Text.assemble(
        (f"{result['claim']}. {result['title']}: ", "bold"), (decision, _STYLE[decision])
    )
    data = dict.fromkeys(each["data"] for each in result["comparisons"].values())
    return head.append(
        f"\n{result['preset']}, rule version {result['version']} "
        f"(SHA-256 {result['rule_digest'][:12]}…), data: {', '.join(data)}",
        style="dim",
    )


def _statements(result: Plain) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("statement", overflow="fold")
    for head in ("demanded", "n", "estimate", "95 % interval", "paper", "decision"):
        table.add_column(head, justify="right", no_wrap=head != "decision")
    for each in result["statements"]:
        decision = each["decision"]
        table.add_row(
            Text(each["says"]),
            threshold(each),
            str(each["n"]),
            in_unit(each, each["estimate"]),
            interval(each),
            in_unit(each, each["published"]),
            Text(decision, style=_STYLE[decision]),
        )
    return table


def _notes(result: Plain) -> list[Text]:
    lines = [
        f"{each['says']}: {each['reason']}"
        for each in result["statements"]
        if each["reason"] and each["estimate"] is None
    ]
    if result["at_the_edge"]:
        lines.append(
            "Chosen values at the edge of their grid; values beyond it may be better: "
            f"{', '.join(result['at_the_edge'])}."
        )
    if beside := other_column(result["claim"]):
        lines.append(beside)
    shown = ", ".join(
        f"{name} {each['comparison']}" for name, each in result["comparisons"].items()
    )
    lines.append(f"Comparisons (bench show ID): {shown}")
    return [Text(line, style="dim") for line in lines]
