"""`bench data`: which data sets there are, where they are, and whether they are intact."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.harness.cli.options import data_dir_option
from bench.harness.core.errors import Infrastructure, Usage

if TYPE_CHECKING:
    from rich.console import Console

    from bench.models.data.files import FileState

DATASETS = ("curves", "mnist", "faces")


@click.group("data", epilog="Example: bench data fetch mnist")
def command() -> None:
    """List, fetch and verify data sets."""


@command.command("list", epilog="Example: bench data list --data-dir ~/data")
@data_dir_option
def list_(data_dir: str | None) -> None:
    """Show every data set, where it was found, and its checksum or digest."""
    _show(_states(DATASETS, data_dir))


@command.command(epilog="Example: bench data fetch mnist --to ~/data/mnist")
@click.argument("name")
@click.option("--to", metavar="DIR", help="Folder to write to; default: the user's cache.")
def fetch(name: str, to: str | None) -> None:
    """Download the files of a data set that are missing or damaged, and verify them."""
    from bench.harness.core.paths import cache_folder
    from bench.models.problem import DataError

    module = _module(name)
    console = _console()
    if not hasattr(module, "download"):
        console.print(f"{name} is generated when it is needed; there is nothing to fetch.")
        return
    folder = Path(to).expanduser().absolute() if to else cache_folder() / name
    try:
        for path, fresh in module.download(folder):
            console.print("downloaded   " if fresh else "already there", path, soft_wrap=True)
    except DataError as error:
        raise Infrastructure(str(error)) from error


@command.command(epilog="Example: bench data verify mnist")
@click.argument("name", required=False)
@data_dir_option
def verify(name: str | None, data_dir: str | None) -> None:
    """Check the files of one data set, or of all that are there; exit 4 if one is damaged."""
    names = DATASETS if name is None else (name,)
    states = _states(names, data_dir)
    _show(states)
    # A data set that was asked for by name has to be there; otherwise absence is no damage.
    bad = ("damaged",) if name is None else ("damaged", "absent")
    wrong = [state.detail for state in states if state.state in bad]
    if wrong:
        raise Infrastructure("\n".join(wrong))


def _states(names: Iterable[str], data_dir: str | None) -> list[FileState]:
    from bench.harness.core.paths import data_source

    modules = [_module(name) for name in names]
    source = data_source(data_dir)
    return [state for module in modules for state in module.states(source)]


def _module(name: str) -> Any:
    from bench.optim.hyperparameters import nearest

    if name not in DATASETS:
        raise Usage(
            f"There is no data set {name!r}{nearest(name, DATASETS)} "
            f"There are: {', '.join(DATASETS)}."
        )
    return import_module(f"bench.models.data.{name}")


def _show(states: list[FileState]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("data set", "file", "state", "where", "digest", box=None, pad_edge=False)
    for s in states:
        digest = s.detail if s.state == "verified" else ""
        row = (s.dataset, s.name, s.state, str(s.path or "-"), digest)
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    _console().print(table)


def _console() -> Console:
    from rich.console import Console

    # In a pipe nothing is folded: every file stays on one line.
    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
