"""`bench report`: write the report of a recorded comparison as a page or as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from bench.harness.cli.options import metric_option, store_option, store_url
from bench.harness.cli.run_options import html_option


@click.command("report", epilog="Example: bench report 3f9a --html report.html")
@click.argument("id", required=False)
@html_option
@click.option(
    "--pictures",
    metavar="FOLDER",
    help="Write every picture to FOLDER, as PNG and as SVG.",
)
@metric_option
@store_option
def command(
    id: str | None,
    html_path: str | None,
    pictures: str | None,
    metric: str | None,
    store: str | None,
) -> None:
    """Report on a recorded comparison: its verdicts and the evidence for them.

    ID is the comparison's id or its first characters; by default the newest comparison. Without
    --html and --pictures, the report is printed as by `bench show`.
    """
    from bench.harness.cli.record_lookup import newest
    from bench.harness.cli.show import show_comparison
    from bench.harness.comparison.judgement import judged_by
    from bench.harness.comparison.reports import write_pictures, write_report
    from bench.harness.core.text import visible
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        # So that a comparison whose process was killed is not shown as running.
        opened.end_abandoned()
        record = judged_by(opened, newest(opened) if id is None else opened.comparison(id), metric)
        if html_path is not None:
            write_report(opened, record, Path(html_path), "--html")
        if pictures is not None:
            for file in write_pictures(opened, record, Path(pictures), "--pictures"):
                click.echo(f"picture: {visible(str(file))}", err=True)
        if html_path is None and pictures is None:
            show_comparison(opened, record)
