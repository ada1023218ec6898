"""`bench check`: the laws that every problem and every optimizer must satisfy, one line each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import data_dir_option, json_option
from bench.harness.cli.output import print_data, write_text
from bench.harness.core.errors import BenchError
from bench.harness.core.notices import say

if TYPE_CHECKING:
    from bench.harness.check.subject import LawReport

_STYLE = {"holds": "green", "fails": "red", "not applicable": "dim"}


@click.command("check", epilog="Example: bench check './mine.py:make[noise=0.2]'")
@click.argument("name")
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    metavar="quick|standard|paper",
    help="The preset of the problem to check.",
)
@data_dir_option
@json_option
def command(name: str, preset: str, data_dir: str | None, json_path: str | None) -> None:
    """Check a problem or an optimizer, your own or a built-in one, against the laws.

    Write NAME as in --problem or --optimizers. All computations run on the CPU in float64; if
    there is a CUDA device, batches are also checked on it.

    The exit code is 1 if a law does not hold.
    """
    from bench.harness.check.laws import CheckInterrupted
    from bench.harness.check.subject import LawReport, check, kind_of

    try:
        checked = check(name, preset, data_dir)
    except CheckInterrupted as stopped:
        kind = kind_of(name)
        if json_path != "-":
            of = preset if kind == "problem" else None
            _show(LawReport(name, kind, of, stopped.findings))
        done = len(stopped.findings)
        say(f"bench: {done} of {stopped.total} laws were checked before the interrupt.")
        raise
    if json_path:
        _write(checked, json_path)
    if json_path != "-":
        _show(checked)
    if checked.broken:
        raise BenchError(
            f"{checked.broken} of {len(checked.findings)} laws do not hold for {name}."
        )


def _show(checked: LawReport) -> None:
    from rich.text import Text

    from bench.harness.cli.console import UNFOLDED, add_row, console, table

    shown = table("", "", "", whole=("",))
    shown.show_header = False
    shown.columns[2].no_wrap = False
    for finding in checked.findings:
        state = Text(finding.state, style=_STYLE[finding.state])
        add_row(shown, state, finding.law, finding.figure)
    console(UNFOLDED).print(shown)


def _write(checked: LawReport, path: str) -> None:
    import json

    body = {
        "schema_version": 1,
        "name": checked.name,
        "kind": checked.kind,
        "preset": checked.preset,
        "holds": not checked.broken,
        "laws": [asdict(finding) for finding in checked.findings],
    }
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    if path == "-":
        print_data(text)
        return
    write_text("--json", path, text)
