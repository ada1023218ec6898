"""Where a comparison's result goes: a table to stdout, JSON to a file or stdout, a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.harness.core.errors import Infrastructure


def show_result(summary: Mapping[str, Any], json_path: str | None) -> None:
    """Print the table, or with `-` the JSON alone; write the JSON to a file if one is named."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.report.files import to_json
    from bench.harness.report.table import render

    if json_path == "-":
        click.echo(to_json(summary), nl=False)
        return
    console(PAGE).print(render(summary))
    if json_path:
        recorded = f" The comparison is recorded: bench show {summary['comparison']}."
        write_text("--json", json_path, to_json(summary), recorded)


def check_folders(**named: str | None) -> None:
    """Refuse, before anything is run, a file in a folder that there is not; by option."""
    for option, path in named.items():
        if path and path != "-" and not Path(path).absolute().parent.is_dir():
            raise Infrastructure(f"--{option} {path} cannot be written: there is no such folder.")


def write_text(flag: str, path: str, text: str, recorded: str = "") -> None:
    """Write a file that an option names; Infrastructure, which also says what is `recorded`."""
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise Infrastructure(
            f"{flag} {path} cannot be written: {error.strerror}.{recorded}"
        ) from error


def write_html(store_url: str, comparison_id: str, html_path: str) -> None:
    """Write the report of a comparison that has just been recorded."""
    from bench.harness.comparison.reports import write_report
    from bench.harness.store.results import Store

    with Store.open(store_url, create=False) as store:
        write_report(store, store.comparison(comparison_id), Path(html_path), "--html")
