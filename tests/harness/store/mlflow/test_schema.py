"""MLflow's tables: all or none of them, whoever makes them at once or dies meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bench.harness.core.errors import Infrastructure
from bench.harness.store.mlflow import schema
from bench.harness.store.mlflow.mirror import initialise, sync
from bench.harness.store.results import Store

DIE = """
import os, sys
import sqlalchemy.event, mlflow.store.db.utils as utils
left = int(sys.argv[2])
engine = utils.create_sqlalchemy_engine(sys.argv[1])
def count(*_):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
sqlalchemy.event.listen(engine, "before_cursor_execute", count)
utils._initialize_tables(engine)
"""
MAKE = (
    "import sys; from bench.harness.store.mlflow.mirror import initialise; initialise(sys.argv[1])"
)


def half_made(url: str, steps: int) -> None:
    """Let a process make MLflow's tables as MLflow does, and die after so many statements."""
    done = subprocess.run([sys.executable, "-c", DIE, url, str(steps)], capture_output=True)
    assert done.returncode == 9, done


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in connection.execute(query)}


@pytest.fixture(autouse=True)
def _nobody_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_QUIET_SECONDS", 0.3)


@pytest.mark.parametrize("steps", [40, 300, 900])
def test_half_made_tables_are_made_anew(store_url: str, steps: int) -> None:
    path = Path(store_url.removeprefix("sqlite:///"))
    with Store.open(store_url) as store:
        half_made(store_url, steps)
        sync(store)
    assert not [name for name in tables(path) if name.startswith("_alembic_tmp_")]
    assert {"runs", "experiments", "bench_trial"} <= tables(path)


def start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKE, url], stderr=subprocess.PIPE)


def test_processes_that_make_them_at_once_get_one_another_s(url: str) -> None:
    Store.open(url).close()
    for process in [start(url) for _ in range(3)]:
        assert process.communicate()[1] == b"" and process.returncode == 0
    with Store.open(url) as store:
        sync(store)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_all_or_nothing(url: str) -> None:
    for seconds in (1.5, 3, 4, 5, 6, 8):
        process = start(url)
        time.sleep(seconds)
        process.kill()
        process.communicate()
    with Store.open(url) as store:
        sync(store)


def test_tables_in_which_something_is_recorded_are_completed(recorded: Store) -> None:
    sync(recorded)
    path = Path(recorded.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE _alembic_tmp_params (key TEXT)")
    runs = len(recorded.trials()) + 1
    sync(recorded)
    assert not [name for name in tables(path) if name.startswith("_alembic_tmp_")]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (runs,)


def test_what_cannot_be_completed_is_kept_and_named(recorded: Store) -> None:
    sync(recorded)
    path = Path(recorded.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE jobs")
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    before = tables(path)
    with pytest.raises(Infrastructure, match="half made.*bench's own tables are complete") as said:
        initialise(recorded.url)
    assert "--tracking-uri sqlite:///FILE" in str(said.value)
    assert tables(path) == before
    # The advice is true.
    sync(recorded, tracking_uri=f"sqlite:///{path.with_name('other.db')}")
