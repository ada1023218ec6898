"""What a comparison gave: its verdicts, tables and pictures, from the store alone."""

from __future__ import annotations

import base64
import html
import io
import os
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench import frames
from bench.calls import call
from bench.harness.comparison.judgement import judged_by
from bench.harness.comparison.reports import read, write_report
from bench.harness.core.text import visible
from bench.harness.report.files import to_text
from bench.harness.report.page.page import ReportData
from bench.harness.report.plots import learning_curves_figure
from bench.harness.report.table import claim, evidence, facts, notes, number, title
from bench.harness.store.results import Store

SMALL, IN_A_NOTEBOOK = 55, 80
"""Dots per inch of the picture beside a result, and of one alone."""


class Result:
    """A recorded comparison, as `bench.compare` and `bench.load` return it.

    Attributes:
        id: its id, for `bench.load` and `bench show`.
        status: "done"; or how far it came: "planned", "running", "interrupted" or "failed".
        summary: the dictionary that `bench compare --json` writes. Of a comparison that is not
            done it says how far it came, and has no pairs.

    All of it comes from the store, and nothing is trained anew. Shown in a notebook it is a table
    with the verdicts and a picture; printed it is the table that the command prints.
    """

    def __init__(self, store: str, id: str, metric: str | None = None) -> None:
        self._store, self._metric = store, metric
        with call(store, progress=False), Store.open(store, create=False) as opened:
            record = judged_by(opened, opened.comparison(id), metric)
            self.id: str = record.id
            self.status: str = record.status
            self._reused = record.reused
            self._recorded: ReportData = read(opened, record)
        self.summary: Mapping[str, Any] = self._recorded.summary

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row for each pair of methods: what can be said of the two, and what it rests on."""
        return frames.verdicts(self.summary)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each method: final values with intervals, costs, time to target."""
        return frames.table(self.summary)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial that the comparison reports."""
        return frames.trials(self._recorded.trials, self._reused)

    @cached_property
    def measurements(self) -> pd.DataFrame:
        """A row for each measurement of each trial, with a column for each diagnostic."""
        return frames.measurements(self._recorded.trials, self._recorded.measurements)

    def figure(self) -> Figure:
        """Return the learning curves as a matplotlib figure, which a notebook shows."""
        recorded = self._recorded
        return learning_curves_figure(self.summary, recorded.trials, recorded.measurements, Picture)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one HTML file, as `bench report --html` does.

        Raises:
            bench.Infrastructure: where the file cannot be written.
        """
        with call(self._store, progress=False), Store.open(self._store, create=False) as opened:
            record = judged_by(opened, opened.comparison(self.id), self._metric)
            write_report(opened, record, Path(path), "save_html")

    def __str__(self) -> str:
        return to_text(self.summary).rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<div>{self._head}{self._rows}{self._picture}{self._notes}</div>"

    @property
    def _head(self) -> str:
        summary = self.summary
        said = [_text(fact) for fact in (*facts(summary), f"comparison {self.id}")]
        lines = [f"<b>{_text(title(summary['protocol']))}</b> &nbsp; {' · '.join(said)}"]
        if self._recorded.open_reason:
            lines.append(_text(self._recorded.open_reason))
        lines += [
            f"<b>{_text(claim(pair, summary))}</b>: {_text(evidence(pair, summary))}"
            for pair in summary["pairs"]
        ]
        return "".join(f"<p style='margin:0.3em 0'>{line}</p>" for line in lines)

    @property
    def _rows(self) -> str:
        heads = (
            "method",
            "n",
            "training",
            "95 % interval",
            "test",
            "updates",
            "gradients",
            "seconds",
            "fleet's",
        )
        rows = [[_cell(head, "th") for head in heads]]
        for row in self.summary["methods"]:
            final, ledger = row["final"], row["ledger"]
            between = "–"
            if final["low"] is not None:
                between = f"{number(final['low'])} to {number(final['high'])}"
            figures = (final["mean"], between, final["test"]["mean"])
            # Earlier versions of bench recorded only the fleet's seconds.
            seconds = (
                (ledger["seconds"], ledger["fleet_seconds"])
                if "fleet_seconds" in ledger
                else ("–", ledger["seconds"])
            )
            costs = (ledger["updates"], ledger["gradients"], *seconds)
            cells = (row["method"], str(row["n"]), *figures, *costs)
            rows.append([_cell(c if isinstance(c, str) else number(c), "td") for c in cells])
        lines = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
        return f"<table>{lines}</table>"

    @cached_property
    def _picture(self) -> str:
        if not self._recorded.trials:
            return ""
        encoded = base64.b64encode(png_of(self.figure(), SMALL)).decode()
        return f"<img alt='learning curves' src='data:image/png;base64,{encoded}'>"

    @property
    def _notes(self) -> str:
        said = [f"note: {_text(note)}" for note in notes(self.summary)]
        said.append(f"Repeat with: <code>{_text(self.summary['reproduce'])}</code>")
        return "".join(f"<p style='margin:0.3em 0;opacity:0.75'>{line}</p>" for line in said)


class Picture(Figure):
    """A figure that a notebook shows, whatever it has been told of matplotlib."""

    def _repr_png_(self) -> bytes:
        return png_of(self, IN_A_NOTEBOOK)


def png_of(figure: Figure, dpi: int) -> bytes:
    """Return a figure as a PNG."""
    png = io.BytesIO()
    with warnings.catch_warnings():
        # A name may have letters that the font lacks: boxes stand for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(png, format="png", dpi=dpi)
    return png.getvalue()


def _text(text: str) -> str:
    return html.escape(visible(text))


def _cell(text: str, tag: str) -> str:
    return f"<{tag} style='text-align:left'>{_text(text)}</{tag}>"
