"""`bench db sql`, `relocate` and `gc`: ask the store anything, and keep it in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import Infrastructure, Usage

if TYPE_CHECKING:
    from bench.harness.store.garbage import Heap
    from bench.harness.store.sql import Answer

ROWS = 1000
"""At most so many are shown as a table."""


@click.command(
    epilog="Example: bench db sql 'select status, count(*) as trials from bench_trial group by 1'"
)
@store_option
@click.argument("statement")
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    help="Write all rows to FILE, a JSON object each; - writes them to stdout and shows no table.",
)
def sql(store: str | None, statement: str, json_path: str | None) -> None:
    """Answer a question in SQL, of which docs/schema.md has examples; nothing can be changed."""
    from bench.harness.store.sql import ask

    with ask(store_url(store), statement) as answer:
        if json_path is None:
            rows = list(islice(answer.rows, ROWS + 1))
        else:
            rows = _write(answer, json_path)
    if json_path == "-":
        return
    _show(answer.columns, rows[:ROWS])
    if len(rows) > ROWS:
        click.echo(f"Only the first {ROWS:,} rows are shown; --json FILE has all.", err=True)
    elif not rows:
        click.echo("No row.", err=True)


def _show(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.text import Text

    from bench.harness.cli.console import UNFOLDED, add, console, table

    numeric = tuple(
        name
        for name, values in zip(columns, zip(*rows, strict=True), strict=False)
        if all(isinstance(value, int | float) for value in values if value is not None)
    )
    shown = table(*columns, right=numeric)
    for row in rows:
        add(shown, *(Text("NULL", style="dim") if v is None else _word(v) for v in row))
    console(UNFOLDED).print(shown)


def _word(value: Any) -> str:
    from bench.harness.store.sql import plain

    made = plain(value)
    if made is None:  # Not finite.
        return str(value)
    return made if isinstance(made, str) else json.dumps(made, ensure_ascii=False)


def _write(answer: Answer, path: str) -> list[Sequence[Any]]:
    """Write all rows as JSON; return the first, for a table."""
    twice = [name for name in dict.fromkeys(answer.columns) if answer.columns.count(name) > 1]
    if twice:
        raise Usage(
            f"--json: several columns are called {', '.join(twice)}, and a JSON object can have "
            "one of a name; give them names with AS."
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
        if len(first) <= ROWS:
            first.append(row)
        named = dict(zip(answer.columns, map(plain, row), strict=True))
        yield before + json.dumps(named, ensure_ascii=False, allow_nan=False)
        before = ",\n"
    yield "\n]\n" if first else "[]\n"


@click.command(epilog="Example: bench db relocate --store sqlite:///moved/mlruns/bench.db")
@store_option
@click.option("--from", "old", metavar="PLACE", help="Folder or URI where files were.")
@click.option("--to", "new", metavar="PLACE", help="Folder or URI where they are.")
def relocate(store: str | None, old: str | None, new: str | None) -> None:
    """Have MLflow find its files after mlruns/ was moved; a SQLite store knows its place itself."""
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.relocate import relocate as change

    with Store.open(store_url(store), create=False) as opened:
        moves = change(opened, old, new)
        if not moves:
            click.echo(f"Nothing to change: MLflow in {opened.shown_url} knows no other place.")
    for move in moves:
        counts = ", ".join(f"{name} {count:,}" for name, count in move.counts.items())
        click.echo(f"{move.old} -> {move.new}: {counts}")


@click.command(epilog="Example: bench db gc --dry-run")
@store_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def gc(store: str | None, dry_run: bool) -> None:
    """Remove trials that no comparison has, and rows and files that nothing refers to."""
    from bench.harness.store.garbage import collect
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        found = collect(opened, _show_heaps, dry_run=dry_run)
    if not found:
        click.echo(f"There is nothing to remove in {opened.shown_url}.")
    else:
        click.echo("Nothing was removed: --dry-run." if dry_run else "All of it was removed.")


def _show_heaps(heaps: Sequence[Heap]) -> None:
    from bench.harness.cli.console import UNFOLDED, add, console, table

    shown = table("to remove", "count", "bytes", "why", right=("count", "bytes"))
    for heap in heaps:
        size = "" if heap.bytes is None else f"{heap.bytes:,}"
        add(shown, heap.kind, f"{heap.count:,}", size, heap.why)
    console(UNFOLDED).print(shown)
