"""What every test shares: an environment of its own, a store, and a record of what was skipped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

NEEDS = {"data_dir": "data", "postgres_url": "postgres", "chromium": "browser"}
"""Fixtures that a machine may be unable to provide, and the marker of tests that use them."""

PLACES: dict[str, Callable[[], object]] = {
    "data": lambda: os.environ.get("BENCH_DATA_DIR", "files of their own"),
    "postgres": lambda: _without_password(os.environ["BENCH_TEST_POSTGRES_URL"]),
    "browser": lambda: shutil.which("chromium"),
}
"""Marker → what its tests ran on, without password."""

KEPT = ("BENCH_DATA_DIR", "BENCH_TEST_POSTGRES_URL", "BENCH_TEST_SKIPS_FILE")


def pytest_configure() -> None:
    """Forget the person's own settings, before any module reads them."""
    for name in list(os.environ):
        if name.startswith(("BENCH_", "MLFLOW_")) and name not in KEPT:
            del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # The tests' problems are tiny: on a busy machine a second thread only waits for the first.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if folder := os.environ.get("BENCH_DATA_DIR"):
        os.environ["BENCH_DATA_DIR"] = str(Path(folder).resolve())
    # A shell lets what it starts in the background ignore Ctrl-C, and so would our own processes.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, so that `-m` and the record of skips are right."""
    for item in items:
        for fixture in set(getattr(item, "fixturenames", ())) & NEEDS.keys():
            item.add_marker(NEEDS[fixture])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record a skipped test together with its markers."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _record(report, [mark.name for mark in item.iter_markers()])
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Record a file that was skipped whole."""
    if report.skipped:
        _record(report, [])


def _record(report: pytest.TestReport | pytest.CollectReport, markers: list[str]) -> None:
    if file := os.environ.get("BENCH_TEST_SKIPS_FILE"):
        line = {
            "test": report.nodeid,
            "when": report.when,
            "reason": _reason(report),
            "markers": markers,
        }
        with open(file, "a") as record:
            record.write(json.dumps(line) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests that need something of the machine have run, and on what, or why not."""
    terminalreporter.section("what the machine must have")
    for marker in NEEDS.values():
        terminalreporter.write_line(f"{marker}: {_told(marker, terminalreporter.stats)}")


def _told(marker: str, stats: Mapping[str, Sequence[Any]]) -> str:
    def of(*outcomes: str) -> list[Any]:
        found = (each for name in outcomes for each in stats.get(name, ()))
        return [each for each in found if marker in getattr(each, "keywords", ())]

    ran, skipped, others = of("passed", "failed", "error"), of("skipped"), of("deselected")
    told = []
    if ran:
        told.append(f"ran: {len({each.nodeid for each in ran})}, on {PLACES[marker]()}")
    if skipped:
        told.append(f"skipped: {len(skipped)}, since {_reason(skipped[0])}")
    if others:
        told.append(f"not selected: {len(others)}")
    return "; ".join(told) or "no test needs it"


def _without_password(url: str) -> str:
    # Not before the person's settings are forgotten.
    from bench.harness.core.store_url import redacted_url

    return redacted_url(make_url(url))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    return (str(where[2]) if isinstance(where, tuple) else str(where)).removeprefix("Skipped: ")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Generated data is cached once a session, away from the person's own cache."""
    os.environ["BENCH_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _environment(_cache: None) -> Iterator[None]:
    """Undo what a test, or the code under it, did to the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without bench.toml and mlruns/."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The URL of a SQLite store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'mlruns' / 'bench.db'}"


@pytest.fixture
def data_dir() -> Path:
    """The folder with mnist/ and olivetti/."""
    folder = os.environ.get("BENCH_DATA_DIR")
    if not folder:
        pytest.skip("BENCH_DATA_DIR does not name a folder with mnist/ and olivetti/")
    return Path(folder)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped after the test."""
    server = os.environ.get("BENCH_TEST_POSTGRES_URL")
    if not server:
        pytest.skip("BENCH_TEST_POSTGRES_URL does not name a PostgreSQL server")
    name = f"bench_test_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


@pytest.fixture
def chromium() -> str:
    """The path of Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    return path


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Registers a text as the only rule of a claim, in `tmp_path`, and returns its digest."""
    monkeypatch.setattr("bench.harness.paper.claims.FOLDER", tmp_path)

    def register(text: str) -> str:
        (tmp_path / "claim_1.toml").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (tmp_path / "registered.toml").write_text(f'claim_1 = ["{digest}"]\n')
        return digest

    return register
