"""`bench worker`: lease fleets from the store and train them, here or on any machine."""

from __future__ import annotations

import click

from harness.cli.options import data_dir_option, store_option, store_url


@click.command("worker", epilog="Example: bench worker --exit-when-empty --store postgresql://…")
@click.option(
    "--exit-when-empty", is_flag=True, help="End when no fleet waits; else wait for more."
)
@data_dir_option
@store_option
def command(exit_when_empty: bool, data_dir: str | None, store: str | None) -> int:
    """Lease fleets of comparisons that were planned for workers, and train them."""
    from harness.resuming import work

    return work(store_url(store), exit_when_empty, data_dir)
