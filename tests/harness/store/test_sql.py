"""Questions in SQL: answered on either database, and refused by it where they would write."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import Measurement
from bench.harness.store import sql, tables
from bench.harness.store.results import Store
from bench.harness.store.sql import ask, plain


def answer(url: str, statement: str) -> list[tuple[Any, ...]]:
    with ask(url, statement) as found:
        return [tuple(row) for row in found.rows]


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        found = {
            name: sorted(map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{name}"')), key=str)
            for name in sqlalchemy.inspect(connection).get_table_names()
        }
    engine.dispose()
    return found


@pytest.fixture
def trial(
    store: Store, comparison: str, begin: Callable[..., int], measured: Callable[..., Measurement]
) -> int:
    id = begin(comparison)
    store.record([(id, measured(i)) for i in range(3)])
    return id


def test_rows_come_with_types_and_times_in_utc(store: Store, trial: int) -> None:
    ((created, ended, reused, seconds),) = answer(
        store.url,
        "SELECT t.created, t.mlflow_ended, c.reused, t.seconds FROM bench_trial t "
        "JOIN bench_comparison_trial c ON c.trial_id = t.id",
    )
    assert plain(created).endswith("+00:00")
    assert abs(datetime.fromisoformat(plain(created)) - datetime.now(UTC)) < timedelta(hours=1)
    assert (ended, reused, seconds) == (False, False, 0.5)
    assert answer(store.url, "SELECT idx FROM bench_measurement ORDER BY 1") == [(0,), (1,), (2,)]


def test_nothing_in_a_statement_stands_for_a_parameter(store: Store) -> None:
    said = "%s %(a)s %% :x ? $1"
    assert answer(store.url, f"SELECT '{said}' WHERE 'abc' LIKE '%b%'") == [(said,)]


WRITES = [
    "DELETE FROM bench_trial",
    "UPDATE bench_trial SET seed = 7 RETURNING seed",
    "INSERT INTO bench_context VALUES ('x', 'y')",
    "DROP TABLE bench_verdict",
    "CREATE TABLE stolen (a INTEGER)",
    "SELECT 1; DELETE FROM bench_trial",
    "COMMIT; DELETE FROM bench_trial",
    "",
    "SELECT nothing FROM nowhere",
]
SQLITE_WRITES = [
    "ATTACH '{folder}/new.db' AS new",
    "ATTACH 'table_info' AS new",
    "VACUUM INTO '{folder}/new.db'",
    "VACUUM",
    "PRAGMA query_only = OFF",
    "PRAGMA query_only = OFF; DELETE FROM bench_trial",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA user_version = 7",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "CREATE TEMP TABLE t (a)",
]
POSTGRES_WRITES = [
    "WITH gone AS (DELETE FROM bench_trial RETURNING id) SELECT * FROM gone",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', true), nextval('bench_trial_id_seq')",
    "ROLLBACK; BEGIN READ WRITE; DELETE FROM bench_measurement; COMMIT",
    "RESET ALL",
    "DO $$ BEGIN DELETE FROM bench_trial; END $$",
    "DO $$ BEGIN COMMIT; DELETE FROM bench_trial; END $$",
    "SELECT nextval('bench_trial_id_seq')",
    "SELECT * INTO stolen FROM bench_trial",
    "SELECT id FROM bench_trial FOR UPDATE",
    "COPY bench_trial TO '{folder}/new.db'",
    "COPY bench_trial TO PROGRAM 'cat > {folder}/new.db'",
    "COPY bench_trial TO STDOUT",
    "NOTIFY everybody",
]


def test_a_write_is_refused_and_changes_nothing(store: Store, trial: int, tmp_path: Path) -> None:
    url, folder = store.url, tmp_path / "made"
    folder.mkdir()
    folder.chmod(0o777)
    sqlite = url.startswith("sqlite")
    store.close()
    file = Path(store._url.database or "")
    before, bytes_before = content(url), file.read_bytes() if sqlite else b""
    for statement in WRITES + (SQLITE_WRITES if sqlite else POSTGRES_WRITES):
        with pytest.raises(Usage, match=r"(?s)did not take the statement: .*only reads"):
            answer(url, statement.format(folder=folder))
    assert file.read_bytes() == bytes_before if sqlite else True
    assert content(url) == before
    assert list(folder.iterdir()) == []
    assert {p.name.partition("-")[0] for p in file.parent.glob("*.db*")} <= {"bench.db"}


@pytest.mark.postgres
def test_the_databases_own_words_are_told(postgres_url: str) -> None:
    Store.open(postgres_url).close()
    with pytest.raises(Usage, match=r"cannot execute nextval\(\) in a read-only transaction"):
        answer(postgres_url, "SELECT nextval('bench_trial_id_seq')")
    with pytest.raises(Usage, match="read-write mode must be set before any query"):
        answer(postgres_url, "SELECT set_config('transaction_read_only', 'off', false)")
    with pytest.raises(Usage, match="multiple commands"):
        answer(postgres_url, "SELECT 1; SELECT 2")


def test_a_store_is_neither_made_nor_upgraded(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        with pytest.raises(Infrastructure, match="There is no store at"):
            answer(url, "SELECT 1")
        assert list(tmp_path.iterdir()) == []
    Store.open(url).close()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {tables.VERSION_TABLE} SET version_num = '0003'")
    engine.dispose()
    assert answer(url, f"SELECT version_num FROM {tables.VERSION_TABLE}") == [("0003",)]


def test_a_damaged_store_is_not_the_statements_fault(tmp_path: Path) -> None:
    (tmp_path / "bench.db").write_text("no database " * 100)
    with pytest.raises(Infrastructure, match="is not a SQLite database"):
        answer(f"sqlite:///{tmp_path}/bench.db", "SELECT * FROM bench_trial")


def test_ctrl_c_ends_a_statement_that_never_would(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(store_url).close()

    def pressed() -> int:
        raise KeyboardInterrupt

    made = sql._read_only

    def read_only(path: Path) -> sqlite3.Connection:
        connection = made(path)
        connection.set_progress_handler(pressed, 1000)
        return connection

    monkeypatch.setattr(sql, "_read_only", read_only)
    endless = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x"
    with pytest.raises(KeyboardInterrupt):
        answer(store_url, endless)


def test_plain_values_are_json() -> None:
    east = datetime(2020, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert plain(east) == "2020-01-02T01:00:00+00:00"
    assert plain(datetime(2020, 1, 2, 3)) == "2020-01-02T03:00:00+00:00"
    assert plain([math.nan, -math.inf, 1.5]) == [None, None, 1.5]
    assert [plain(Decimal(text)) for text in ("12", "1.5", "NaN", "Infinity")] == [
        12,
        1.5,
        None,
        None,
    ]
    assert plain({"a": b"\xff", "b": (True, None)}) == {"a": "ff", "b": [True, None]}
