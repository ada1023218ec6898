"""A table's grid is trained, written as it goes, and shown beside what is published."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench.models.problem import Data, DataError, DataSource
from benchmarks import render
from benchmarks.paper import table
from benchmarks.paper.grids import TABLES, Table
from benchmarks.paper.table_section import section
from tests.models.tiny import Tiny

CPU = torch.device("cpu")
TINY = Table(
    1, {"tiny": {"0": 0.5, "0.9N": None, "HF+": 0.1}}, (1e38, 0.1, 0.01), seeds=(0, 1), batch=10
)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results, a page and a table of the test's own."""
    monkeypatch.setattr(render, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(render, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setitem(TABLES, 1, TINY)
    monkeypatch.setitem(table.PROBLEMS, "tiny", lambda preset: Tiny())
    return tmp_path / "results"


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "table1_tiny.json").read_text())
    return found


def test_a_run_to_the_end_has_every_row_with_its_curve(results: Path) -> None:
    done = CliRunner().invoke(table.main, ["1", "tiny", "--preset", "quick"],
                              catch_exceptions=False)  # fmt: skip
    assert done.exit_code == 0
    content = written(results)
    assert (content["status"], content["updates"], content["of"]) == ("finished", 100, 100)
    assert content["protocol"]["data_digest"] and content["protocol"]["precision"] == "fp32"
    rows = content["rows"]
    assert len(rows) == 12
    assert [row["seed"] for row in rows] == [0] * 6 + [1] * 6
    for row in rows:
        assert row["status"] == ("diverged" if row["lr"] == 1e38 else "budget")
        updates, train, test = row["curve"][-1]
        if row["status"] == "budget":
            assert updates == 100 and 0 < train < row["curve"][0][1] and test > 0
    assert "## Table 1: tiny/quick" in done.stdout
    assert "| 0 | 0.1 | **" in done.stdout and "| 2 of 6 |" in done.stdout
    assert "2 seeds each point, as one fleet; ran to its end, 100 updates" in done.stdout


def test_what_is_measured_when_the_time_is_over_is_kept(results: Path) -> None:
    content = table.train(TINY, Tiny(), CPU, "fp32", 0.0, "again")
    assert written(results) == content
    assert content["status"] == "stopped" and content["updates"] == 0
    assert {row["status"] for row in content["rows"]} == {"interrupted"}
    assert all(len(row["curve"]) == 1 for row in content["rows"])
    assert "**not finished**: stopped after 0 of 100 updates" in section(content)


def test_rows_that_are_stopped_are_measured_where_they_stand(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([False] * 20)
    monkeypatch.setattr(table.Record, "should_stop", lambda record: next(asked, True))
    content = table.train(TINY, Tiny(), CPU, "fp32", math.inf, "again")
    assert content["updates"] == 20
    for row in content["rows"]:
        if row["status"] == "interrupted":
            assert row["curve"][-1][0] == 20 and row["reason"] == "its time was over"
        else:
            assert row["curve"][-1][0] < 20


def content(*rows: tuple[str, float, int, float | None], preset: str = "paper") -> dict[str, Any]:
    return {
        "table": 1,
        "task": "tiny",
        "command": "again",
        "machine": {
            "processor": "P", "cores": 1, "python": "3", "torch": "2", "commit": "c", "date": "d",
        },
        "load": 0.0,
        "peers": {},
        "protocol": {
            "problem": "tiny", "preset": preset, "metric": "train_squared_error", "data": "noise",
            "precision": "tf32",
        },
        "status": "finished",
        "updates": 9,
        "of": 9,
        "seconds": 60.0,
        "rows": [
            {
                "column": column,
                "lr": lr,
                "seed": seed,
                "status": "diverged" if value is None else "budget",
                "curve": [[0, 9.0, 9.0], [9, value, value]],
            }
            for column, lr, seed, value in rows
        ],
    }  # fmt: skip


def test_the_best_rate_is_that_of_the_lowest_mean_and_edges_are_marked() -> None:
    rows = [
        ("0", 0.1, 0, 0.1), ("0", 0.1, 1, None), ("0", 0.01, 0, 1.0), ("0", 0.01, 1, 3.0),
        ("0", 0.001, 0, 4.0), ("0", 0.001, 1, 4.0),
        ("0.9N", 0.1, 0, 1.0), ("0.9N", 0.01, 0, 2.0), ("0.9N", 0.001, 0, 3.0),
        ("HF+", 0.1, 0, None),
    ]  # fmt: skip
    text = section(content(*rows))
    # A rate under which a seed diverged is not the best, whatever the other seed reached.
    assert "| 0 | 0.01 | **2** | 2 | 0.5 | 1 of 6 |" in text
    assert "| 0.9N | 0.1 *edge* | **1** | 1 | – | 0 of 3 |" in text
    assert "| HF+ | – | – | – | 0.1 | 1 of 1 |" in text


def test_below_paper_nothing_is_published() -> None:
    assert "| 0 | 0.1 *edge* | **1** | 1 | – | 0 of 1 |" in section(
        content(("0", 0.1, 0, 1.0), preset="quick")
    )


def test_data_that_is_not_there_is_said_and_nothing_written(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(problem: Tiny, source: DataSource) -> Data:
        raise DataError("tiny.gz was not found.")

    monkeypatch.setattr(Tiny, "data", absent)
    done = CliRunner().invoke(table.main, ["1", "tiny"])
    assert done.exit_code == 1 and "tiny.gz was not found." in done.stderr
    assert not results.exists()


def test_an_unknown_task_is_a_usage_error() -> None:
    done = CliRunner().invoke(table.main, ["5", "curves"])
    assert done.exit_code == 2 and "it has add, mul, mem5, mem20." in done.stderr
