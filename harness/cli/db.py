"""`bench db`: query, move and clean the store."""

from __future__ import annotations

import click

from bench.harness.cli.db_maintenance import gc, relocate, sql
from bench.harness.cli.db_transfer import export, import_
from bench.harness.cli.options import store_option, store_url, tracking_option


@click.group("db", epilog="Example: bench db sync --store sqlite:///mlruns/bench.db")
def command() -> None:
    """Query, move and clean the store, and copy it to MLflow."""


@command.command(epilog="Example: bench db upgrade")
@store_option
def upgrade(store: str | None) -> None:
    """Upgrade bench's tables to this version of bench.

    MLflow's tables in the same database are upgraded by `mlflow db upgrade`.
    """
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        click.echo(f"bench's tables in {opened.redacted_url} are up to date.")


@command.command(epilog="Example: bench db sync --tracking-uri https://mlflow.example.org")
@store_option
@tracking_option
def sync(store: str | None, tracking_uri: str | None) -> None:
    """Copy the results that MLflow does not have yet to MLflow."""
    from bench.harness.store.mlflow.mirror import sync as copy
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        copied = copy(opened, tracking_uri=tracking_uri)
    click.echo(f"MLflow is up to date: {copied.runs} runs and {copied.points} points were written.")


command.add_command(export)
command.add_command(import_)
command.add_command(sql)
command.add_command(relocate)
command.add_command(gc)
