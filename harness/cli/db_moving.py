"""`bench db export` and `bench db import`: results from one store to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.harness.cli.options import store_option, store_url

_WORDS = {
    "comparison": "comparison",
    "trial": "trial",
    "measurement": "measurement",
    "claim": "decision on a claim",
    "baseline": "baseline",
    "file": "file",
}
"""What people know of; the other tables belong to these."""
_PLURALS = {"decision on a claim": "decisions on claims"}


@click.command(
    "export",
    epilog="Example: bench db export results-of-node7 --comparison 3f2a9b1c",
)
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
@click.option(
    "--comparison",
    "comparisons",
    multiple=True,
    metavar="ID",
    help="Only this comparison and what belongs to it; may be given several times.",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    show_default=True,
    help="Parquet is small and typed; JSON lines are read by anything.",
)
def export(folder: Path, store: str | None, comparisons: tuple[str, ...], format: Any) -> None:
    """Write results, with their reports and pictures, into a new FOLDER for `bench db import`."""
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.export import export as write

    with Store.open(store_url(store), create=False) as opened:
        done = write(opened, folder, comparisons, format)
        what = _listed({**done.rows, "file": done.files}) or "Nothing: the store is empty"
        click.echo(f"{what} of {opened.shown_url} are in {folder}.")
    if done.running:
        click.echo(
            f"{_count(done.running, 'trial')} still running, in the export as interrupted: export "
            "again later for the rest."
        )


@click.command("import", epilog="Example: bench db import results-of-node7")
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
def import_(folder: Path, store: str | None) -> None:
    """Bring the results in FOLDER, which `bench db export` wrote, into this store.

    What is here already stays, unless it has come further in FOLDER. A second time changes
    nothing.
    """
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.importer import import_folder

    url = store_url(store)
    done = import_folder(folder, lambda: Store.open(url))
    added = _listed({**done.added, "file": done.files})
    if added:
        click.echo(f"New here: {added}.")
    if further := _listed(done.updated):
        click.echo(f"Further in {folder} than here, and updated: {further}.")
    for former, id in done.renamed.items():
        click.echo(f"Comparison {former} is {id} here: {former} is the id of another one.")
    if done.renumbered:
        click.echo(
            f"{_count(done.renumbered, 'trial')} got another attempt number, since the store has "
            "that attempt already."
        )
    if done.running:
        click.echo("What runs here was left as it is: import again when it has ended.")
    if done.nothing:
        click.echo(f"Nothing new: everything in {folder} is here already.")
    else:
        click.echo("`bench db sync` shows it in MLflow.")


def _listed(counts: Mapping[str, int]) -> str:
    """Write `2 comparisons, 54 trials and 3,000 measurements`."""
    parts = [_count(counts[name], word) for name, word in _WORDS.items() if counts.get(name)]
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, word: str) -> str:
    return f"{number:,} {word if number == 1 else _PLURALS.get(word, word + 's')}"
