"""Output of a comparison's result: a table on stdout, JSON in a file or on stdout, a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.harness.core.errors import Infrastructure


def show_result(summary: Mapping[str, Any], json_path: str | None) -> None:
    """Print the table, or with `-` only the JSON; also write the JSON to `json_path` if given."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.report.files import to_json
    from bench.harness.report.table import render

    if json_path == "-":
        click.echo(to_json(summary), nl=False)
        return
    console(PAGE).print(render(summary))
    if json_path:
        recorded = f" The comparison is recorded; see it with: bench show {summary['comparison']}."
        write_text("--json", json_path, to_json(summary), recorded)


def check_folders(**named: str | None) -> None:
    """Raise Infrastructure, before anything is run, if the folder of an option's file is missing.

    The keywords are the options' names and their values the paths.
    """
    for option, path in named.items():
        if path and path != "-" and not Path(path).absolute().parent.is_dir():
            raise Infrastructure(f"--{option} {path} cannot be written: its folder does not exist.")


def write_text(flag: str, path: str, text: str, recorded: str = "") -> None:
    """Write the file of an option; on failure raise Infrastructure with the sentence `recorded`."""
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise Infrastructure(
            f"{flag} {path} cannot be written: {error.strerror}.{recorded}"
        ) from error


def write_html(store_url: str, comparison_id: str, html_path: str) -> None:
    """Write the HTML report of a recorded comparison."""
    from bench.harness.comparison.reports import write_report
    from bench.harness.store.results import Store

    with Store.open(store_url, create=False) as store:
        write_report(store, store.comparison(comparison_id), Path(html_path), "--html")
