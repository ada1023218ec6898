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
"""The tables whose counts are shown; the other tables hold parts of these."""
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
    help="Export only this comparison and what belongs to it. Repeat the option for more.",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(["parquet", "jsonl"]),
    default="parquet",
    show_default=True,
    help="Parquet is compact and typed; any program can read JSON lines.",
)
def export(folder: Path, store: str | None, comparisons: tuple[str, ...], format: Any) -> None:
    """Write results with their reports and pictures to a new FOLDER, for `bench db import`."""
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.export import export as write

    with Store.open(store_url(store), create=False) as opened:
        done = write(opened, folder, comparisons, format)
        counts = _listed({**done.rows, "file": done.files}) or "nothing, because the store is empty"
        click.echo(f"Exported from {opened.redacted_url} to {folder}: {counts}.")
    if done.running:
        click.echo(
            f"{_count(done.running, 'trial')} still running; marked as interrupted in the export. "
            "Export again later to get the rest."
        )


@click.command("import", epilog="Example: bench db import results-of-node7")
@click.argument("folder", type=click.Path(path_type=Path))
@store_option
def import_(folder: Path, store: str | None) -> None:
    """Import the results in a FOLDER that `bench db export` wrote.

    Results that are already in this store stay as they are, unless they have progressed further
    in FOLDER. A second import of the same folder changes nothing.
    """
    from bench.harness.store.results import Store
    from bench.harness.store.transfer.importer import import_folder

    url = store_url(store)
    done = import_folder(folder, lambda: Store.open(url))
    added = _listed({**done.added, "file": done.files})
    if added:
        click.echo(f"New in this store: {added}.")
    if further := _listed(done.updated):
        click.echo(f"Updated, because {folder} had later results: {further}.")
    for former, id in done.renamed.items():
        click.echo(
            f"Comparison {former} has the id {id} in this store, which has another comparison "
            f"{former}."
        )
    if done.renumbered:
        click.echo(
            f"{_count(done.renumbered, 'trial')} got another attempt number, because the store "
            "already has an attempt with the same number."
        )
    if done.running:
        click.echo(
            "Comparisons that run in this store were not changed. Import again when they have "
            "ended."
        )
    if done.is_empty:
        click.echo(f"Nothing new: this store already has everything in {folder}.")
    else:
        click.echo("`bench db sync` copies it to MLflow.")


def _listed(counts: Mapping[str, int]) -> str:
    """Write `2 comparisons, 54 trials and 3,000 measurements`."""
    parts = [_count(counts[name], word) for name, word in _WORDS.items() if counts.get(name)]
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    *first, last = list(parts) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, word: str) -> str:
    return f"{number:,} {word if number == 1 else _PLURALS.get(word, word + 's')}"
