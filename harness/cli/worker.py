"""`bench worker`: lease fleets from the store and train them, on any machine."""

from __future__ import annotations

import click

from bench.harness.cli.options import data_dir_option, plugin_option, store_option, store_url


@click.command("worker", epilog="Example: bench worker --exit-when-empty --store postgresql://…")
@click.option(
    "--exit-when-empty",
    is_flag=True,
    help="Stop when no fleet is waiting; otherwise wait for more.",
)
@plugin_option
@data_dir_option
@store_option
def command(
    exit_when_empty: bool, plugins: tuple[str, ...], data_dir: str | None, store: str | None
) -> int:
    """Lease fleets of comparisons that were planned with --plan, and train them.

    A worker skips a comparison with a method or a problem that is not built in, unless --plugin
    names it. Otherwise anybody who can write to the store could run their code on this machine.
    """
    from bench.harness.comparison.resume import work

    return work(store_url(store), exit_when_empty, data_dir, plugins)
