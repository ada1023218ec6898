"""`bench baseline`: what nights are held against."""

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
    """Accept a comparison as what nights are held against, and see what is accepted."""


command.add_command(baselines, "list")


@command.command(
    epilog="Example: bench baseline accept 3f2a9b1c --name main --note 'momentum in float32'"
)
@click.argument("comparisons", nargs=-1, required=True, metavar="COMPARISON...")
@click.option(
    "--name", default="main", show_default=True, metavar="NAME", help="Name of the baseline."
)
@click.option("--note", metavar="TEXT", help="Why it is accepted.")
@store_option
def accept(comparisons: tuple[str, ...], name: str, note: str | None, store: str | None) -> None:
    """Hold later nights against these comparisons; a series of nights begins anew with each.

    A COMPARISON is an id or its beginning. It takes the place of what was accepted under the same
    protocol and name, which stays on record.
    """
    from bench.harness.core.spec import with_parameters
    from bench.harness.core.text import visible
    from bench.harness.nightly.baseline import accept as accept_all
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        done = accept_all(opened, comparisons, name, note)
    for record, before in done:
        protocol = record.protocol
        problem = with_parameters(protocol.problem, protocol.parameters)
        instead = f", in place of {before.comparison_id}" if before else ""
        click.echo(
            visible(f"{record.id} is accepted in {name}: {problem} / {protocol.preset}{instead}")
        )


@command.command(epilog="Example: bench baseline show main")
@click.argument("name", default="main")
@store_option
def show(name: str, store: str | None) -> None:
    """Show what is accepted under a name: of every protocol the newest, and what it replaced."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.nightly.baseline import with_protocol
    from bench.harness.store.results import Store
    from bench.optim.hyperparameters import nearest

    with Store.open(store_url(store), create=False) as opened:
        records = with_protocol(opened, opened.baselines(name))
        if not records:
            names = sorted({record.name for record in opened.baselines()})
            hint = f"{nearest(name, names)} There are: {', '.join(names)}." if names else "."
            raise Usage(f"There is no baseline {name!r} in {opened.shown_url}{hint}")
        ids = {record.comparison_id for _, record in records}
        comparisons = {each.id: each for each in opened.comparisons(ids=ids)}
    by_protocol: dict[str, list[BaselineRecord]] = {}
    for key, record in records:
        by_protocol.setdefault(key, []).append(record)
    out = console(PAGE)
    for newest, *earlier in by_protocol.values():
        for part in _shown(comparisons[newest.comparison_id], newest, earlier):
            out.print(part)


def _shown(
    comparison: ComparisonRecord, newest: BaselineRecord, earlier: Sequence[BaselineRecord]
) -> Iterator[Any]:
    from rich.text import Text

    from bench.harness.cli.console import add, table
    from bench.harness.core.spec import with_parameters
    from bench.harness.core.text import visible
    from bench.harness.report.table import number

    protocol, summary = comparison.protocol, comparison.summary
    assert summary is not None
    problem = with_parameters(protocol.problem, protocol.parameters)
    yield Text(visible(f"{problem} / {protocol.preset}, {protocol.budget.text}"), style="bold")
    why = f": {newest.note}" if newest.note else ""
    yield Text(visible(f"{newest.comparison_id}, accepted {_when(newest)}{why}"))
    yield Text(visible(f"made by: {comparison.command}"), style="dim", overflow="fold")
    for record in earlier:
        yield Text(f"before: {record.comparison_id}, accepted {_when(record)}", style="dim")
    shown = table("method", "n", protocol.metric.replace("_", " "), "95 %", right=("n",))
    for row in summary["methods"]:
        final = row["final"]
        interval = "" if final["low"] is None else f"{number(final['low'])}–{number(final['high'])}"
        add(shown, row["method"], row["n"], number(final["mean"]), interval)
    yield shown
    yield Text()


def _when(record: BaselineRecord) -> str:
    return f"{record.accepted:%Y-%m-%d %H:%M} UTC"
