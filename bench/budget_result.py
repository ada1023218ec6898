"""What a comparison at several budgets gave: curves, verdicts and pictures."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench import frames
from bench.calls import call
from bench.harness.core.errors import Infrastructure
from bench.harness.report.budget_plot import budget_figure
from bench.harness.report.budget_table import to_text
from bench.harness.report.page.budget_page import budget_page
from bench.result import IN_A_NOTEBOOK, Picture, Result, png_of


class BudgetResult:
    """Results at the ends of several budgets, as `bench.compare_budgets` returns them.

    Attributes:
        summary: the dictionary that `bench compare --budgets --json` writes.

    Shown in a notebook it is the table with the verdicts and a picture; printed it is the table
    that the command prints.
    """

    def __init__(self, store: str, summary: Mapping[str, Any]) -> None:
        self._store = store
        self.summary = summary

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each method and budget: the mean of the judged metric and its interval."""
        return frames.points(self.summary)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row for each budget and pair of methods, corrected for all of them together."""
        return frames.budget_verdicts(self.summary)

    @cached_property
    def results(self) -> list[Result]:
        """The recorded comparison at each budget."""
        return [Result(self._store, each["comparison"]) for each in self.summary["budgets"]]

    def figure(self) -> Figure:
        """Return the curves as a matplotlib figure, which a notebook shows."""
        return budget_figure(self.summary, Picture)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as one HTML file, as `bench compare --budgets --html` does.

        Raises:
            bench.Infrastructure: where the file cannot be written.
        """
        with call(self._store, progress=False):
            try:
                Path(path).write_text(budget_page(self.summary, self._png), "utf-8")
            except OSError as error:
                raise Infrastructure(
                    f"save_html {path} cannot be written: {error.strerror or error}."
                ) from error

    def __str__(self) -> str:
        return to_text(self.summary).rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        encoded = base64.b64encode(self._png).decode()
        picture = f"<img alt='curves over budgets' src='data:image/png;base64,{encoded}'>"
        return f"<div><pre>{html.escape(str(self))}</pre>{picture}</div>"

    @property
    def _png(self) -> bytes:
        return png_of(self.figure(), IN_A_NOTEBOOK)
