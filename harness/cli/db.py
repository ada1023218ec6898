"""`bench db`: keep the store in order."""

from __future__ import annotations

import click

from bench.harness.cli.db_care import gc, relocate, sql
from bench.harness.cli.db_moving import export, import_
from bench.harness.cli.options import store_option, store_url, tracking_option


@click.group("db", epilog="Example: bench db sync --store sqlite:///mlruns/bench.db")
def command() -> None:
    """Move the store, ask it, keep it in order, and copy it into MLflow."""


@command.command(epilog="Example: bench db upgrade")
@store_option
def upgrade(store: str | None) -> None:
    """Bring bench's tables to this version; MLflow's have `mlflow db upgrade`."""
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        click.echo(f"bench's tables in {opened.shown_url} are up to date.")


@command.command(epilog="Example: bench db sync --tracking-uri https://mlflow.example.org")
@store_option
@tracking_option
def sync(store: str | None, tracking_uri: str | None) -> None:
    """Copy into MLflow what it does not have; where it has everything, nothing happens."""
    from bench.harness.store.mlflow.mirror import sync as copy
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        done = copy(opened, tracking_uri=tracking_uri)
    click.echo(f"MLflow is up to date: {done.runs} runs and {done.points} points were written.")


command.add_command(export)
command.add_command(import_)
command.add_command(sql)
command.add_command(relocate)
command.add_command(gc)
