"""`bench worker`: lease fleets from the store and train them, here or on any machine."""

from __future__ import annotations

import click

from bench.harness.cli.options import data_dir_option, plugin_option, store_option, store_url


@click.command("worker", epilog="Example: bench worker --exit-when-empty --store postgresql://…")
@click.option(
    "--exit-when-empty", is_flag=True, help="End when no fleet waits; else wait for more."
)
@plugin_option
@data_dir_option
@store_option
def command(
    exit_when_empty: bool, plugins: tuple[str, ...], data_dir: str | None, store: str | None
) -> int:
    """Lease fleets of comparisons that were planned for workers, and train them.

    A comparison with a method or a problem that is not built in is left out, unless --plugin
    names it: whoever can write to the store has written what it names.
    """
    from bench.harness.comparison.resume import work

    return work(store_url(store), exit_when_empty, data_dir, plugins)
