"""Options that several commands have, each defined once."""

from __future__ import annotations

from pathlib import Path

import click

store_option = click.option(
    "--store",
    envvar="BENCH_STORE",
    metavar="URL",
    help="Where results are kept; default: sqlite:///mlruns/bench.db",
)

data_dir_option = click.option(
    "--data-dir",
    envvar="BENCH_DATA_DIR",
    metavar="DIR",
    help="Folder that is searched before the user's cache.",
)


def store_url(given: str | None) -> str:
    """Return the store that was given, or the file in the working directory."""
    return given or f"sqlite:///{Path('mlruns/bench.db').absolute()}"
