"""The notebook runs from top to bottom, and its results are shown."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "first_comparison.ipynb"


def shown(cell: Any, kind: str) -> str:
    """What a cell shows as its value, in one form."""
    (found,) = (out for out in cell.outputs if out.output_type == "execute_result")
    return str(found.data[kind])


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells that hold code, as they are after they were run in an empty folder."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "bench.toml").write_text("no-mlflow = true\n")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    began = time.monotonic()
    client.execute(env=environment)
    assert time.monotonic() - began < 240
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)


def test_no_cell_fails(cells: list[Any]) -> None:
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]


def test_the_result_is_shown_as_a_page_of_its_own(cells: list[Any]) -> None:
    (cell,) = (cell for cell in cells if cell.source.startswith("result = bench.compare"))
    page = shown(cell, "text/html")
    assert "<img alt='learning curves'" in page and "python:heavy_ball" in page
    # Nothing else is shown, but notices and the bar.
    assert "training cross entropy, lower is better" in shown(cell, "text/plain")
    others = [out for out in cell.outputs if out.output_type == "display_data"]
    assert [list(out.data) for out in others] == [["text/plain"]]
    assert others[0].data["text/plain"].endswith("fleets trained.")


def test_the_verdicts_have_a_row_for_each_pair(cells: list[Any]) -> None:
    (cell,) = (cell for cell in cells if cell.source.startswith("result.verdicts"))
    assert shown(cell, "text/html").count("<tr>") == 3
    assert "better" in shown(cell, "text/plain")


def test_the_figure_and_what_is_loaded(cells: list[Any]) -> None:
    (figure,) = (cell for cell in cells if cell.source == "result.figure()")
    (loaded,) = (cell for cell in cells if cell.source.startswith("bench.load"))
    assert shown(figure, "image/png")
    assert "is better than" in shown(loaded, "text/plain")
