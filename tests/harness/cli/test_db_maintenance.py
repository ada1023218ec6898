"""`bench db sql`, `relocate` and `gc` as a person meets them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete

from bench.harness.store import tables
from tests.harness.cli.conftest import Filled, Said

ROOT = Path(__file__).parents[3]
Bench = Callable[..., Said]
MANY = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
)


def test_sql_shows_a_table_or_writes_json(bench: Bench, filled: Filled, workdir: Path) -> None:
    comparison = filled.comparison()
    trial = filled.trial(comparison, label="[red]nag[/red] :smile:\x1b[31m")
    filled.end(trial, diverged=True)
    said = bench(
        "db", "sql", "SELECT label, seed, train_metric, mlflow_ended, created FROM bench_trial",
        "--json", "rows.json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    head, row = said.out.splitlines()
    assert head.split() == ["label", "seed", "train_metric", "mlflow_ended", "created"]
    assert row.startswith(r"[red]nag[/red] :smile:\x1b[31m ")
    assert row.split()[2:5] == ["0", "NULL", "false"]
    (written,) = json.loads((workdir / "rows.json").read_text())
    assert written["label"] == "[red]nag[/red] :smile:\x1b[31m"
    assert written["train_metric"] is None and written["mlflow_ended"] is False
    assert written["created"] == row.split()[5]
    said = bench("db", "sql", "SELECT 1 AS a WHERE 1 = 0", "--json", "-")
    assert (said.out, said.err) == ("[]\n", "")
    assert bench("db", "sql", "SELECT 1 AS a WHERE 1 = 0").err == "The query returned no rows.\n"


def test_sql_shows_the_first_rows_of_many(bench: Bench, filled: Filled) -> None:
    said = bench("db", "sql", MANY.format(1001))
    assert len(said.out.splitlines()) == 1 + 1000
    assert said.err == "Only the first 1,000 rows are shown; --json FILE writes all rows.\n"
    said = bench("db", "sql", MANY.format(1001), "--json", "-")
    assert json.loads(said.out) == [{"i": i} for i in range(1, 1002)]
    assert bench("db", "sql", MANY.format(1000)).err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["DELETE FROM bench_trial"], 2, "attempt to write a readonly database. .* only reads"),
        (["SELECT"], 2, "incomplete input"),
        (["SELECT 1 a, 2 a", "--json", "-"], 2, "several columns have the name a"),
        (["SELECT 1", "--json", "none/rows.json"], 4, "--json none/rows.json cannot be written"),
        (["SELECT 1", "--store", "sqlite:///none.db"], 4, "There is no store at .*none.db"),
    ],
)
def test_sql_that_cannot_be_answered(
    bench: Bench, filled: Filled, arguments: list[str], code: int, told: str
) -> None:
    said = bench("db", "sql", *arguments)
    assert (said.code, said.out) == (code, "")
    assert re.search(told, said.err) and said.err.count("\n") == 1


@pytest.mark.slow
def test_sql_that_is_stopped(filled: Filled) -> None:
    command = [sys.executable, "-m", "bench.harness.cli.main", "db", "sql"]
    endless = MANY.format("9e99")
    # A reader that has gone.
    for options in ([], ["--json", "-"]):
        many = [*command, MANY.format(1_000_000), *options]
        with subprocess.Popen(
            many, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            said = process.stderr.read()
        assert process.returncode == 0
        assert "Error" not in said and "Traceback" not in said
    with subprocess.Popen(
        [*command, endless, "--json", "-"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "[\n"
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "bench: interrupted.\n")


def test_gc_says_what_it_removes(bench: Bench, filled: Filled) -> None:
    comparison = filled.comparison()
    filled.end(filled.trial(comparison))
    said = bench("db", "gc")
    assert said.out == f"There is nothing to remove in {filled.store.redacted_url}.\n"
    with filled.store._write() as connection:
        connection.execute(delete(tables.comparison_trial))
    said = bench("db", "gc", "--dry-run")
    assert [line.split()[:2] for line in said.out.splitlines()[1:-1]] == [
        ["measurements", "25"],
        ["trials", "1"],
        ["methods", "1"],
        ["contexts", "1"],
    ]
    assert said.out.endswith("--dry-run: nothing was removed.\n")
    assert len(filled.store.trials()) == 1
    again = bench("db", "gc")
    assert again.out.splitlines()[:-1] == said.out.splitlines()[:-1]
    assert again.out.endswith("All of this was removed.\n")
    assert filled.store.trials() == []


def test_relocate_without_anything_to_move(bench: Bench, filled: Filled) -> None:
    said = bench("db", "relocate")
    assert (said.code, said.out) == (
        0,
        f"Nothing to change: MLflow in {filled.store.redacted_url} already has these places.\n",
    )
    said = bench("db", "relocate", "--from", "/old")
    assert (said.code, said.err) == (
        2,
        "bench: --from and --to belong together: give both or neither.\n",
    )
