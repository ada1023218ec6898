"""Output of a comparison's result: a table on stdout, JSON in a file or on stdout, a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.harness.core.errors import Infrastructure

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bench.harness.comparison.budget_curve import BudgetCurve
    from bench.harness.core.records import ComparisonRecord
    from bench.harness.store.results import Store


def publish(text: str, json_path: str | None, shown: RenderableType, recorded: str = "") -> None:
    """Write the JSON `text` to a file if its path is given; print what is `shown`.

    With the path `-`, print only the JSON. What is printed comes last: whoever reads it may go
    away. If the file cannot be written, Infrastructure ends with the sentence `recorded`.
    """
    from bench.harness.cli.console import PAGE, console

    if json_path == "-":
        print_data(text)
        return
    try:
        if json_path:
            write_text("--json", json_path, text, recorded)
    finally:
        console(PAGE).print(shown)


def show_result(summary: Mapping[str, Any], json_path: str | None) -> None:
    """Publish the result of a comparison."""
    from bench.harness.report.files import to_json
    from bench.harness.report.table import render

    recorded = f" The comparison is recorded; see it with: bench show {summary['comparison']}."
    publish(to_json(summary), json_path, render(summary), recorded)


def finish(summary: Mapping[str, Any], store_url: str, json: str | None, html: str | None) -> None:
    """Write the page and the JSON of a comparison that has ended, and print its result.

    The last lines name the comparison, its page and its folder.
    """
    from bench.harness.store.results import Store

    with Store.open(store_url, create=False) as store:
        record = store.comparison(summary["comparison"])
        try:
            if html is not None:
                from bench.harness.comparison.reports import write_report

                write_report(store, record, Path(html), "--html")
        finally:
            show_result(summary, json)
            if json != "-":
                show_places(store, record)


def finish_budgets(found: BudgetCurve, json: str | None, html: str | None) -> None:
    """Write the page and the JSON of curves over budgets, and print them.

    The last lines name the comparisons, the page and the folder.
    """
    from bench.harness.cli.console import PAGE, console
    from bench.harness.report.budget_table import render
    from bench.harness.report.files import to_json

    summary = found.summary
    ids = [each["comparison"] for each in summary["budgets"]]
    recorded = f" The comparisons are recorded: {', '.join(f'bench show {id}' for id in ids)}."
    try:
        if html is not None:
            write_text("--html", html, found.page.read_text("utf-8"), recorded)
    finally:
        publish(to_json(summary), json, render(summary), recorded)
        if json != "-":
            out = console(PAGE)
            out.print()
            out.print(f"comparisons: {', '.join(ids)}", soft_wrap=True)
            out.print(f"page: {found.page}", soft_wrap=True)
            out.print(f"folder: {found.folder}", soft_wrap=True)


def show_places(store: Store, record: ComparisonRecord) -> None:
    """Print where to find a comparison: its id, its pages, its folder and its MLflow run."""
    from bench.harness.cli.console import PAGE, console
    from bench.harness.report.files import REPORT, page_of_curves

    folder = store.files_of_comparison(record.id)
    lines = [f"{record.kind}: {record.id}"]
    if (folder / REPORT).is_file():
        lines.append(f"page: {folder / REPORT}")
    if (curves := page_of_curves(folder)) is not None:
        lines.append(f"curves over budgets: {curves}")
    if folder.is_dir():
        lines.append(f"folder: {folder}")
    if record.mlflow_run_id is not None:
        lines.append(f"MLflow run: {record.mlflow_run_id}")
    out = console(PAGE)
    out.print()
    for line in lines:
        # On one line, so that it can be copied.
        out.print(line, soft_wrap=True)


def print_data(text: str) -> None:
    """Print what a program reads, such as JSON: always as UTF-8."""
    click.echo(text.encode(), nl=False)


def check_files(**named: str | None) -> None:
    """Raise Infrastructure, before anything is run, if an option's file cannot be written.

    The keywords are the options' names and their values the paths.
    """
    for option, path in named.items():
        if not path or path == "-":
            continue
        file = Path(path).absolute()
        if not file.parent.is_dir():
            raise Infrastructure(f"--{option} {path} cannot be written: its folder does not exist.")
        if file.is_dir():
            raise Infrastructure(
                f"--{option} {path} cannot be written: it is a folder. Name a file in it."
            )
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise Infrastructure(
                f"--{option} {path} cannot be written: you are not allowed to. Name another file."
            )


def write_text(flag: str, path: str, text: str, recorded: str = "") -> None:
    """Write the file of an option; on failure raise Infrastructure with the sentence `recorded`."""
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise Infrastructure(
            f"{flag} {path} cannot be written: {error.strerror}.{recorded}"
        ) from error
