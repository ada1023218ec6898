"""`bench data`: which data sets exist, where their files are, and whether they are intact."""

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
    """List every data set with the place of its files and their checksum or digest."""
    _show(_states(DATASETS, data_dir))


@command.command(epilog="Example: bench data fetch mnist --to ~/data/mnist")
@click.argument("name")
@click.option("--to", metavar="DIR", help="Write the files to DIR; default: the user's cache.")
def fetch(name: str, to: str | None) -> None:
    """Download the missing or damaged files of a data set, and verify them."""
    from bench.harness.core.paths import cache_folder
    from bench.models.problem import DataError

    module = _module(name)
    console = _console()
    if not hasattr(module, "download"):
        console.print(f"{name} is generated when it is first used; there is nothing to download.")
        return
    folder = Path(to).expanduser().absolute() if to else cache_folder() / name
    try:
        for path, is_new in module.download(folder):
            console.print("downloaded   " if is_new else "already there", path, soft_wrap=True)
    except DataError as error:
        raise Infrastructure(str(error)) from error


@command.command(epilog="Example: bench data verify mnist")
@click.argument("name", required=False)
@data_dir_option
def verify(name: str | None, data_dir: str | None) -> None:
    """Verify the files of one data set, or of all that are on this machine.

    The exit code is 4 if a file is damaged, or if a file of the data set NAME is absent.
    """
    names = DATASETS if name is None else (name,)
    states = _states(names, data_dir)
    _show(states)
    # A data set that the user named has to be there; otherwise an absent file is no failure.
    failures = ("damaged",) if name is None else ("damaged", "absent")
    details = [state.detail for state in states if state.state in failures]
    if details:
        raise Infrastructure("\n".join(details))


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
            f"The data sets are: {', '.join(DATASETS)}."
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

    # Wide in a pipe, so that every file stays on one line.
    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
