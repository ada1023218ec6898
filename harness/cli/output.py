"""Where a comparison's result goes: a table to stdout, JSON to a file or alone to stdout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harness.errors import Infrastructure


def show_result(summary: Mapping[str, Any], json_path: str | None) -> None:
    """Print the table, or with `-` the JSON alone; write the JSON to a file if one is named."""
    from harness.cli.console import PAGE, console
    from harness.report.files import to_json
    from harness.report.table import render

    if json_path == "-":
        click.echo(to_json(summary), nl=False)
        return
    console(PAGE).print(render(summary))
    if json_path:
        try:
            Path(json_path).write_text(to_json(summary), "utf-8")
        except OSError as error:
            raise Infrastructure(
                f"--json {json_path} cannot be written: {error.strerror}. The comparison is "
                f"recorded: bench show {summary['comparison']}."
            ) from error
