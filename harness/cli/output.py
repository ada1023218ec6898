"""Where a comparison's result goes: a table to stdout, JSON to a file or alone to stdout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harness.errors import Infrastructure


def show_result(summary: Mapping[str, Any], json_path: str | None) -> None:
    """Print the table, or with `-` the JSON alone; write the JSON to a file if one is named."""
    from rich.console import Console

    from harness.report.files import to_json, to_text
    from harness.report.table import render

    if json_path == "-":
        click.echo(to_json(summary), nl=False)
        return
    console = Console()
    if console.is_terminal:
        console.print(render(summary))
    else:
        # A pipe or file has no width: what scripts and people read there never wraps early.
        click.echo(to_text(summary), nl=False)
    if json_path:
        try:
            Path(json_path).write_text(to_json(summary), "utf-8")
        except OSError as error:
            raise Infrastructure(
                f"--json {json_path} cannot be written: {error.strerror}. The comparison is "
                f"recorded: bench show {summary['comparison']}."
            ) from error
