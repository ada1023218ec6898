"""Options that several commands have, each defined once."""

from __future__ import annotations

from pathlib import Path

import click

from bench.harness.core.errors import Usage

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


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    envvar="BENCH_PLUGIN",
    metavar="NAME",
    help="A method or problem of your own that may be loaded, written as in --optimizers or "
    "--problem without brackets. May be given again.",
)

allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="FIELD",
    help="A field of the protocol that may differ; the verdict says so. May be given again.",
)


def _tracking_uri(ctx: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """Refuse what MLflow would take for a folder."""
    if given and "://" not in given:
        raise Usage(
            f"--tracking-uri {given}: write the address of a tracking server, as in "
            "https://mlflow.example.org, or the URL of a database."
        )
    return given or None


tracking_option = click.option(
    "--tracking-uri",
    envvar="BENCH_TRACKING_URI",
    metavar="URI",
    callback=_tracking_uri,
    help="Another MLflow than the one in the store's own database.",
)


def store_url(given: str | None) -> str:
    """Return the store that was given, or the file in the working directory."""
    return given or f"sqlite:///{Path('mlruns/bench.db').absolute()}"
