"""`bench db export` and `bench db import`: what they say, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.store.transfer.stores import fill

ELSEWHERE = ("--store", "sqlite:///elsewhere/bench.db")


def test_all_is_moved_and_a_second_time_nothing(bench: Callable[..., Any], filled: Any) -> None:
    fill(filled.store, filled.protocol)
    said = bench("db", "export", "folder")
    assert (said.code, said.err) == (0, "")
    what = "3 comparisons, 6 trials, 5 measurements, 1 decision on a claim, 1 baseline and 2 files"
    assert said.out.startswith("Exported from sqlite:///")
    assert said.out.endswith(f" to folder: {what}.\n")
    said = bench("db", "import", "folder", *ELSEWHERE)
    assert (said.code, said.err) == (0, "")
    assert said.out == f"New in this store: {what}.\n`bench db sync` copies it to MLflow.\n"
    said = bench("db", "import", "folder", *ELSEWHERE)
    assert said.out == "Nothing new: this store already has everything in folder.\n"
    assert "trials" not in bench("db", "export", "folder").out
    # Copies of two machines that ran the same.
    fill(filled.store, filled.protocol)
    assert bench("db", "export", "other", "--format", "jsonl").code == 0
    said = bench("db", "import", "other", *ELSEWHERE)
    assert said.out.splitlines()[0].startswith("New in this store: 3 comparisons, 6 trials")


def test_what_still_runs_is_said(bench: Callable[..., Any], filled: Any) -> None:
    filled.trial(filled.comparison())
    said = bench("db", "export", "folder")
    assert said.code == 0
    assert "1 trial still running; marked as interrupted in the export" in said.out
    imported = bench("db", "import", "folder").out
    assert "Comparisons that run in this store were not changed" in imported


def test_what_cannot_be_done(bench: Callable[..., Any], filled: Any) -> None:
    id = filled.comparison()
    assert bench("db", "export", "folder").code == 0
    for arguments, code, told in (
        (("export", "folder"), 2, "folder exists already"),
        (("export", "new", "--comparison", "zz"), 2, f"the nearest: {id}"),
        (("export", "new", "--format", "csv"), 2, "'csv' is not one of 'parquet', 'jsonl'"),
        (("import", "nowhere"), 2, "nowhere is no folder"),
        (("import", "."), 2, "was not written by `bench db export`"),
    ):
        said = bench("db", *arguments)
        assert (said.code, said.out) == (code, "") and told in said.err
    (Path("folder") / "trial.parquet").write_bytes(b"PAR1")
    said = bench("db", "import", "folder", *ELSEWHERE)
    assert said.code == 4 and "'trial.parquet' is not the file that was exported" in said.err
    assert not Path("elsewhere").exists()
