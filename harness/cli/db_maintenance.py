"""`bench db sql`, `relocate` and `gc`: query the store in SQL, and clean it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import Infrastructure, Usage

if TYPE_CHECKING:
    from bench.harness.store.garbage import GarbageGroup
    from bench.harness.store.sql import Answer

MAX_ROWS = 1000
"""Rows that a table shows at most."""


@click.command(
    epilog="Example: bench db sql 'select status, count(*) as trials from bench_trial group by 1'"
)
@store_option
@click.argument("statement")
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    help="Write all rows to FILE as JSON objects; - writes them to stdout and prints no table.",
)
def sql(store: str | None, statement: str, json_path: str | None) -> None:
    """Run an SQL query; the database cannot be changed. docs/schema.md has examples."""
    from bench.harness.store.sql import ask

    with ask(store_url(store), statement) as answer:
        if json_path is None:
            rows = list(islice(answer.rows, MAX_ROWS + 1))
        else:
            rows = _write(answer, json_path)
    if json_path == "-":
        return
    _show(answer.columns, rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        click.echo(
            f"Only the first {MAX_ROWS:,} rows are shown; --json FILE writes all rows.", err=True
        )
    elif not rows:
        click.echo("The query returned no rows.", err=True)


def _show(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.text import Text

    from bench.harness.cli.console import UNFOLDED, add_row, console, table

    numeric = tuple(
        name
        for name, values in zip(columns, zip(*rows, strict=True), strict=False)
        if all(isinstance(value, int | float) for value in values if value is not None)
    )
    shown = table(*columns, right=numeric)
    for row in rows:
        add_row(shown, *(Text("NULL", style="dim") if v is None else _as_text(v) for v in row))
    console(UNFOLDED).print(shown)


def _as_text(value: Any) -> str:
    from bench.harness.store.sql import plain

    json_value = plain(value)
    if json_value is None:  # Infinite or NaN.
        return str(value)
    if isinstance(json_value, str):
        return json_value
    return json.dumps(json_value, ensure_ascii=False)


def _write(answer: Answer, path: str) -> list[Sequence[Any]]:
    """Write all rows as JSON; return the first ones for the table."""
    repeated = [name for name in dict.fromkeys(answer.columns) if answer.columns.count(name) > 1]
    if repeated:
        raise Usage(
            f"--json: several columns have the name {', '.join(repeated)}, but the names in a JSON "
            "object must differ. Rename the columns with AS."
        )
    first: list[Sequence[Any]] = []
    try:
        with click.open_file(path, "w", encoding="utf-8") as out:
            for text in _objects(answer, first):
                out.write(text)
            out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Infrastructure(f"--json {path} cannot be written: {error.strerror}.") from error
    return first


def _objects(answer: Answer, first: list[Sequence[Any]]) -> Iterator[str]:
    from bench.harness.store.sql import plain

    before = "[\n"
    for row in answer.rows:
        if len(first) <= MAX_ROWS:
            first.append(row)
        named = dict(zip(answer.columns, map(plain, row), strict=True))
        yield before + json.dumps(named, ensure_ascii=False, allow_nan=False)
        before = ",\n"
    yield "\n]\n" if first else "[]\n"


@click.command(epilog="Example: bench db relocate --store sqlite:///moved/mlruns/bench.db")
@store_option
@click.option("--from", "old", metavar="PLACE", help="Folder or URI where the files were.")
@click.option("--to", "new", metavar="PLACE", help="Folder or URI where the files are now.")
def relocate(store: str | None, old: str | None, new: str | None) -> None:
    """Tell MLflow where its files are after you moved mlruns/.

    With a SQLite store, --from and --to are not needed: bench finds the files beside the database.
    """
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.relocate import relocate as change

    with Store.open(store_url(store), create=False) as opened:
        moves = change(opened, old, new)
        if not moves:
            click.echo(
                f"Nothing to change: MLflow in {opened.redacted_url} already has these places."
            )
    for move in moves:
        counts = ", ".join(f"{name} {count:,}" for name, count in move.counts.items())
        click.echo(f"{move.old} -> {move.new}: {counts}")


@click.command(epilog="Example: bench db gc --dry-run")
@store_option
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
def gc(store: str | None, dry_run: bool) -> None:
    """Remove trials that belong to no comparison, and rows and files that nothing refers to."""
    from bench.harness.store.garbage import collect
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        found = collect(opened, _show_heaps, dry_run=dry_run)
    if not found:
        click.echo(f"There is nothing to remove in {opened.redacted_url}.")
    else:
        click.echo("--dry-run: nothing was removed." if dry_run else "All of this was removed.")


def _show_heaps(heaps: Sequence[GarbageGroup]) -> None:
    from bench.harness.cli.console import UNFOLDED, add_row, console, table

    shown = table("to remove", "count", "bytes", "why", right=("count", "bytes"))
    for heap in heaps:
        size = "" if heap.bytes is None else f"{heap.bytes:,}"
        add_row(shown, heap.kind, f"{heap.count:,}", size, heap.why)
    console(UNFOLDED).print(shown)
