"""`bench check`: what every problem and every optimizer must satisfy, a line a law."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import data_dir_option
from bench.harness.cli.output import write_text
from bench.harness.core.errors import BenchError

if TYPE_CHECKING:
    from bench.harness.check.subject import Checked

_STYLE = {"holds": "green", "fails": "red", "not applicable": "dim"}


@click.command("check", epilog="Example: bench check './mine.py:make[noise=0.2]'")
@click.argument("name")
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    metavar="quick|standard|paper",
    help="Of a problem.",
)
@data_dir_option
@click.option("--json", "json_path", metavar="FILE", help="Write it as JSON; -: to stdout.")
def command(name: str, preset: str, data_dir: str | None, json_path: str | None) -> None:
    """Try the laws on a problem or an optimizer, your own or a built-in one.

    NAME is what --problem or --optimizers take. Everything is computed on the CPU, in float64;
    batches are looked at on a CUDA device too, where there is one.
    The exit code is 1 where a law does not hold.
    """
    from bench.harness.check.subject import check

    checked = check(name, preset, data_dir)
    if json_path:
        _write(checked, json_path)
    if json_path != "-":
        _show(checked)
    if checked.broken:
        raise BenchError(
            f"{checked.broken} of {len(checked.findings)} laws do not hold for {name}."
        )


def _show(checked: Checked) -> None:
    from rich.text import Text

    from bench.harness.cli.console import UNFOLDED, add, console, table

    shown = table("", "", "", whole=("",))
    shown.show_header = False
    shown.columns[2].no_wrap = False
    for finding in checked.findings:
        add(shown, Text(finding.state, style=_STYLE[finding.state]), finding.law, finding.figure)
    console(UNFOLDED).print(shown)


def _write(checked: Checked, path: str) -> None:
    import json

    said = {
        "schema_version": 1,
        "name": checked.name,
        "kind": checked.kind,
        "preset": checked.preset,
        "holds": not checked.broken,
        "laws": [asdict(finding) for finding in checked.findings],
    }
    text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
    if path == "-":
        click.echo(text, nl=False)
        return
    write_text("--json", path, text)
