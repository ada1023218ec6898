"""Opening a store: what is refused, in which words, and what is left alone."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.spec import Protocol
from bench.harness.store import tables
from bench.harness.store.results import Store

ROOT = Path(__file__).parents[3]


def test_the_migrations_make_the_tables(store: Store) -> None:
    engine = sqlalchemy.create_engine(store.url)
    options = {
        "version_table": tables.VERSION_TABLE,
        "include_name": lambda name, kind, _: kind != "table" or name.startswith("bench_"),
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_every_column_is_explained() -> None:
    assert [c for t in tables.metadata.tables.values() for c in t.columns if not c.comment] == []


def test_a_sqlite_store_is_absolute_and_in_wal(workdir: Path) -> None:
    with Store.open("sqlite:///mlruns/bench.db") as store:
        path = workdir / "mlruns" / "bench.db"
        assert store.url == store.redacted_url == f"sqlite:///{path}"
        assert store.artifacts == workdir / "mlruns" / "artifacts"
        name = store.id
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    with Store.open("sqlite:///mlruns/bench.db", create=False) as store:
        assert store.id == name


def test_a_store_that_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Infrastructure, match="There is no store at .*bench compare"):
        Store.open(f"sqlite:///{tmp_path}/none/bench.db", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [
        "mlruns/bench.db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://me:secret@host/db",
        "postgresql+asyncpg://me:secret@host/db",
        "postgresql://me:more@secret@host/db",
        "postgresql://me:secret@host:port/db",
    ],
)
def test_an_unknown_kind_of_store_is_usage(given: str) -> None:
    with pytest.raises(Usage, match="not the URL of a store. Write sqlite:///") as told:
        Store.open(given)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    "given",
    [
        "postgresql+psycopg://me:secret@127.0.0.1:1/db",
        "postgresql://me:secret@127.0.0.1:1/db",
        "postgres://me@127.0.0.1:1/db?password=secret",
    ],
)
def test_an_absent_server_is_a_sentence_without_password(given: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Infrastructure, match=r"postgresql\+psycopg://me.*refused") as told:
        Store.open(given)
    assert "secret" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.postgres
def test_a_refused_password_is_not_shown(postgres_url: str) -> None:
    url = sqlalchemy.make_url(postgres_url).set(username="nobody_here", password="secret")
    with pytest.raises(Infrastructure, match=r"nobody_here:\*\*\*@") as told:
        Store.open(url.render_as_string(hide_password=False))
    assert "secret" not in str(told.value)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Infrastructure, match=r"pip install 'bench-harness\[postgres\]'") as told:
        Store.open("postgresql://me:secret@host/db")
    assert "secret" not in str(told.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Infrastructure, match="folder .* cannot be made: Not a directory"):
        Store.open(f"sqlite:///{tmp_path}/file/below/bench.db")
    with pytest.raises(Infrastructure, match="is a folder, not a file"):
        Store.open(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "bench.db"
    path.write_text("no database " * 100)
    with pytest.raises(Infrastructure, match="is not a SQLite database"):
        Store.open(f"sqlite:///{path}")
    assert path.read_text() == "no database " * 100


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    made = sqlite3.connect(path)
    made.execute("CREATE TABLE photos (id)")
    made.close()
    before = path.read_bytes()
    with pytest.raises(Infrastructure, match="another program: it has the tables photos"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "bench.db").touch()
    Store.open(f"sqlite:///{tmp_path}/bench.db").close()


def test_a_newer_revision_is_refused_with_the_version_needed(url: str) -> None:
    Store.open(url).close()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {tables.VERSION_TABLE} SET version_num = '0042'")
        connection.exec_driver_sql("UPDATE bench_store SET needs = '0.9.0'")
    here = version("bench-harness")
    told = f"revision 0042, newer than 0007, .* need bench 0.9.0 or newer, and this is {here}:"
    with pytest.raises(Infrastructure, match=told):
        Store.open(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE bench_store DROP COLUMN needs")
    with pytest.raises(Infrastructure, match="need a newer bench, and this is"):
        Store.open(url)
    engine.dispose()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# The superuser may write everywhere, so the store is opened as somebody else.
POWERLESS = """
import os, sys
from bench.harness.core.errors import Infrastructure
from alembic import command
from bench.harness.store.results import Store
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    Store.open(sys.argv[1])
except Infrastructure as error:
    print(error)
"""


@pytest.mark.parametrize("there", [True, False], ids=["file", "folder"])
def test_a_read_only_place(public_folder: Path, there: bool) -> None:
    path = public_folder / "bench.db"
    if there:
        path.touch()
        path.chmod(0o444)
        public_folder.chmod(0o777)
    else:
        public_folder.chmod(0o555)
    told = subprocess.run(
        [sys.executable, "-c", POWERLESS, f"sqlite:///{path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.stderr == ""
    read_only = path if there else public_folder
    assert f"cannot be written to, since {read_only} is read-only" in told.stdout


def test_a_full_disk(store_url: str, protocol: Protocol) -> None:
    with Store.open(store_url) as store:
        # SQLite's own way to say that there is no more room.
        with store._read() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(Infrastructure, match="the disk is full"):
            while True:
                store.new_comparison(protocol, "run", "bench run " * 1000)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own.
def test_a_database_that_mlflow_has_made_becomes_a_store(url: str, protocol: Protocol) -> None:
    from mlflow.store.db import utils

    engine = sqlalchemy.create_engine(url)
    if engine.url.get_backend_name() == "sqlite":
        Path(engine.url.database or "").parent.mkdir()
    utils._initialize_tables(engine)
    with Store.open(url) as store:
        id = store.new_comparison(protocol, "run", "bench run")
        assert store.comparison(id).protocol == protocol
    utils._verify_schema(engine)
    engine.dispose()
