"""MLflow's pages as a person sees them, in a headless Chromium.

`python -m tests.harness.browser STORE FOLDER` makes the pictures of docs/mlflow.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 90_000
TRAINING = "workflowType=machine_learning"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What plotly was given to draw, and what it has drawn.
_CHARTS = """() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
    x: plot._fullLayout.xaxis.type,
    y: plot._fullLayout.yaxis.type,
    title: plot._fullLayout.xaxis.title.text,
    yticks: plot.querySelectorAll('.ytick').length,
    traces: plot._fullData.map(trace => ({
        color: trace.fillcolor || trace.line.color, x: [...trace.x], y: [...trace.y],
    })),
    drawn: [...plot.querySelectorAll('path.js-line, path.js-fill')]
        .filter(path => path.getAttribute('d').length > 20)
        .flatMap(path => [path.style.stroke, path.style.fill]),
}))"""
_DRAWN = (
    "count => [...document.querySelectorAll('.js-plotly-plot')]"
    ".filter(plot => plot._fullData && plot.querySelector('path.js-line')).length >= count"
)


@contextmanager
def served(url: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `bench ui` prints, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from bench.harness.cli.ui import command; command()"],
        cwd=ROOT,
        env={**os.environ, "BENCH_STORE": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


class Pages:
    """One browser on the address that `bench ui` printed."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self._address = page, address
        self._root = address.partition("/#/")[0]
        self.failures: list[str] = []
        page.on("pageerror", lambda error: self.failures.append(str(error)))

    def curves(self, charts: int) -> list[dict[str, Any]]:
        """Open the address as it is; return what its charts show."""
        self._open(self._address)
        self.page.wait_for_function(_DRAWN, arg=charts, timeout=PATIENCE)
        return list(self.page.evaluate(_CHARTS))

    def ungrouped(self, runs: int) -> list[dict[str, Any]]:
        """Take the grouping away, as a person does; return what the charts show of every run."""
        self.page.locator("button:has-text('Group by:') [role=button]").first.click()
        self.page.wait_for_function(
            "count => [...document.querySelectorAll('.js-plotly-plot')].some("
            "plot => plot._fullData && plot._fullData.length >= count)",
            arg=runs,
            timeout=PATIENCE,
        )
        return list(self.page.evaluate(_CHARTS))

    def table(self) -> str:
        """Open the table of runs; return its words."""
        self._open(self._address.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"))
        self.page.wait_for_function(
            "document.querySelectorAll('.ag-header-cell').length > 5", timeout=PATIENCE
        )
        self.page.get_by_text("Group: ").first.wait_for(timeout=PATIENCE)
        return str(self.page.inner_text("body"))

    def picture(self, run: str, file: str) -> int:
        """Open a picture among a run's files; return how many pixels wide it is."""
        self._artifact(run, file)
        shown = (
            "() => [...document.images].filter(i => i.src.startsWith('blob:') && i.naturalWidth)"
        )
        self.page.wait_for_function(f"({shown})().length > 0", timeout=PATIENCE)
        return int(self.page.evaluate(f"({shown})()[0].naturalWidth"))

    def text(self, run: str, file: str, words: str) -> None:
        """Open a text among a run's files, and wait for words of it."""
        self._artifact(run, file)
        self.page.get_by_text(words).first.wait_for(timeout=PATIENCE)

    def _artifact(self, run: str, file: str) -> None:
        number = self._address.partition("/experiments/")[2].partition("/")[0]
        self._open(f"{self._root}/#/experiments/{number}/runs/{run}/artifacts?{TRAINING}")
        self.page.get_by_text(file, exact=True).first.click(timeout=PATIENCE)

    def _open(self, address: str) -> None:
        # From one part of the same page to another a browser loads nothing.
        self.page.goto("about:blank")
        self.page.goto(address)


@contextmanager
def browser(address: str, chromium: str) -> Iterator[Pages]:
    """MLflow's pages in a browser whose person has closed the assistant before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            page = started.new_page(viewport={"width": 1500, "height": 1000})
            page.add_init_script(
                "try { localStorage.setItem("
                "'mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true') } catch {}"
            )
            yield Pages(page, address)
        finally:
            started.close()


def _main(store_url: str, folder: Path) -> None:
    from bench.harness.store.results import Store

    with served(store_url) as (address, _), Store.open(store_url, create=False) as store:
        chromium = shutil.which("chromium")
        assert chromium is not None
        with browser(address, chromium) as pages:
            pages.page.set_viewport_size({"width": 1600, "height": 950})
            pages.curves(4)
            pages.page.wait_for_timeout(2000)
            pages.page.screenshot(path=folder / "mlflow_curves.png")
            pages.table()
            pages.page.wait_for_timeout(2000)
            pages.page.screenshot(path=folder / "mlflow_runs.png")
            newest = store.comparisons(limit=1)[0].mlflow_run_id
            pages.picture(str(newest), "learning_curves.png")
            pages.page.wait_for_timeout(1000)
            pages.page.screenshot(path=folder / "mlflow_artifacts.png")
            print(json.dumps(pages.failures))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
