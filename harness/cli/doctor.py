"""`bench doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import click

from bench.harness.cli.options import data_dir_option, store_option, store_url
from bench.harness.core.errors import Infrastructure

_STYLE = {"ok": "green", "missing": "yellow", "problem": "red"}


@click.command("doctor", epilog="Example: bench doctor --data-dir ~/data")
@store_option
@data_dir_option
def command(store: str | None, data_dir: str | None) -> None:
    """Report what this machine has, what is missing, and how to install it.

    The exit code is 0 if this machine has everything that a comparison on the CPU needs.
    """
    from rich.text import Text

    from bench.harness.cli.console import PAGE, add_row, console, table
    from bench.harness.cli.doctor_checks import examine

    findings = examine(store_url(store), data_dir)
    shown = table("", "", "", whole=("",))
    shown.show_header = False
    shown.columns[2].no_wrap = False
    for finding in findings:
        add_row(
            shown, Text(finding.state, style=_STYLE[finding.state]), finding.name, finding.detail
        )
    console(PAGE).print(shown)
    wrong = [finding.name for finding in findings if finding.needed and finding.state != "ok"]
    if wrong:
        raise Infrastructure(
            f"Comparisons on the CPU cannot run here. Fix this first: {', '.join(wrong)}."
        )
