"""`bench baseline`: the comparisons that later nights are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.list_recorded import baselines
from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import Usage

if TYPE_CHECKING:
    from bench.harness.core.records import BaselineRecord, ComparisonRecord


@click.group("baseline", epilog="Example: bench baseline accept 3f2a9b1c --name main")
def command() -> None:
    """Accept a comparison as the baseline of later nights, and show accepted baselines."""


command.add_command(baselines, "list")


@command.command(
    epilog="Example: bench baseline accept 3f2a9b1c --name main --note 'momentum in float32'"
)
@click.argument("comparisons", nargs=-1, required=True, metavar="COMPARISON...")
@click.option(
    "--name", default="main", show_default=True, metavar="NAME", help="Name of the baseline."
)
@click.option("--note", metavar="TEXT", help="Record TEXT as the reason.")
@store_option
def accept(comparisons: tuple[str, ...], name: str, note: str | None, store: str | None) -> None:
    """Compare later nights with these comparisons; each starts a new series of nights.

    COMPARISON is an id or its first characters. It replaces the comparison that was accepted under
    the same protocol and name; the earlier one stays on record.
    """
    from bench.harness.core.spec import problem_text
    from bench.harness.core.text import visible
    from bench.harness.nightly.baseline import accept as accept_all
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        accepted = accept_all(opened, comparisons, name, note)
    for record, previous in accepted:
        protocol = record.protocol
        problem = problem_text(protocol.problem, protocol.parameters)
        replaces = f", replaces {previous.comparison_id}" if previous else ""
        click.echo(
            visible(
                f"{record.id} is now in baseline {name}: {problem} / {protocol.preset}{replaces}"
            )
        )


@command.command(epilog="Example: bench baseline show main")
@click.argument("name", default="main")
@store_option
def show(name: str, store: str | None) -> None:
    """Show a baseline: for every protocol the comparison in use, and those it replaced."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.nightly.baseline import with_protocol
    from bench.harness.store.results import Store
    from bench.optim.hyperparameters import nearest

    with Store.open(store_url(store), create=False) as opened:
        records = with_protocol(opened, opened.baselines(name))
        if not records:
            names = sorted({record.name for record in opened.baselines()})
            hint = f"{nearest(name, names)} The baselines are: {', '.join(names)}."
            hint = hint if names else ". Accept one with `bench baseline accept ID`."
            raise Usage(f"There is no baseline {name!r} in {opened.redacted_url}{hint}")
        ids = {record.comparison_id for _, record in records}
        comparisons = {each.id: each for each in opened.comparisons(ids=ids)}
    by_protocol: dict[str, list[BaselineRecord]] = {}
    for key, record in records:
        by_protocol.setdefault(key, []).append(record)
    out = console(PAGE)
    for newest, *earlier in by_protocol.values():
        for part in _render(comparisons[newest.comparison_id], newest, earlier):
            out.print(part)


def _render(
    comparison: ComparisonRecord, newest: BaselineRecord, earlier: Sequence[BaselineRecord]
) -> Iterator[Any]:
    from rich.text import Text

    from bench.harness.cli.console import add_row, table
    from bench.harness.core.spec import problem_text
    from bench.harness.core.text import visible
    from bench.harness.report.table import number

    protocol, summary = comparison.protocol, comparison.summary
    assert summary is not None
    problem = problem_text(protocol.problem, protocol.parameters)
    yield Text(visible(f"{problem} / {protocol.preset}, {protocol.budget.text}"), style="bold")
    why = f": {newest.note}" if newest.note else ""
    yield Text(visible(f"{newest.comparison_id}, accepted {_when(newest)}{why}"))
    yield Text(visible(f"command: {comparison.command}"), style="dim", overflow="fold")
    for record in earlier:
        yield Text(f"earlier: {record.comparison_id}, accepted {_when(record)}", style="dim")
    shown = table("method", "n", protocol.metric.replace("_", " "), "95 %", right=("n",))
    for row in summary["methods"]:
        final = row["final"]
        interval = "" if final["low"] is None else f"{number(final['low'])}–{number(final['high'])}"
        add_row(shown, row["method"], row["n"], number(final["mean"]), interval)
    yield shown
    yield Text()


def _when(record: BaselineRecord) -> str:
    return f"{record.accepted:%Y-%m-%d %H:%M} UTC"
