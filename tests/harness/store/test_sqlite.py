"""The file of a store: what is noticed when it goes, and how it is read where nobody may write."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Protocol
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store

ROOT = Path(__file__).parents[3]


def path_of(store: Store) -> Path:
    return Path(store.url.removeprefix("sqlite:///"))


@pytest.fixture
def url(store_url: str) -> str:
    return store_url


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_file_beside_that_goes_is_noticed(
    store: Store, protocol: Protocol, ending: str, replaced: bool
) -> None:
    store.new_comparison(protocol, "run", "bench run")
    beside = path_of(store).with_name("bench.db" + ending)
    if replaced:
        shutil.copyfile(beside, beside.with_name("other"))
        os.replace(beside.with_name("other"), beside)
    else:
        beside.unlink()
    with pytest.raises(Infrastructure, match=f"bench.db{ending} beside the store .* replaced"):
        store.new_comparison(protocol, "run", "bench run")


def test_the_log_stays_while_a_store_is_open(store: Store, protocol: Protocol) -> None:
    # Otherwise the last connection of another process would remove it, for good reason.
    store.new_comparison(protocol, "run", "bench run")
    Store.open(store.url).close()
    store._engine.dispose()
    with closing(sqlite3.connect(path_of(store))) as other:
        other.execute("SELECT count(*) FROM bench_trial").fetchall()
    store.new_comparison(protocol, "run", "bench run")


def test_rows_are_spooled_when_the_log_goes(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    tmp_path: Path,
) -> None:
    trial, said = begin(comparison), list[str]()
    recorder = Recorder(store, tmp_path / "spool", said.append)
    recorder.measure(trial, measured(0))
    recorder.flush()
    path_of(store).with_name("bench.db-wal").unlink()
    recorder.measure(trial, measured(1))
    assert not recorder.close()
    assert "bench.db-wal" in said[0]
    store.close()
    with Store.open(store.url) as again:
        Recorder(again, tmp_path / "spool", said.append).close()
        assert again.measurements([trial])[trial] == [measured(0), measured(1)]


# The superuser may write everywhere, so this right is given up first: PR_CAPBSET_DROP of
# CAP_DAC_OVERRIDE, which holds from the next program on.
POWERLESS = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
COMMANDS = """
import shlex, sys
from bench.harness.cli.main import main
for line in sys.argv[1:]:
    try:
        main(shlex.split(line))
    except SystemExit as end:
        print("exit", end.code, line, flush=True)
"""


def powerless(*lines: str) -> str:
    """Run commands as somebody who may write only where the permissions say so."""
    done = subprocess.run(
        [sys.executable, "-c", POWERLESS, COMMANDS, *lines],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("left", [(), ("-wal", "-shm"), ("-wal",)], ids=["closed", "log", "alone"])
def test_reading_needs_no_writing(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    public_folder: Path,
    left: tuple[str, ...],
) -> None:
    trial = begin(comparison)
    store.record([(trial, measured(0))])
    store.end(trial, "budget", None, measured(0).ledger, measured(0))
    store.finish_comparison(comparison, "done", None)
    store.accept("main", comparison, None)
    store.end_night(store.begin_night("suite", "0" * 64, "main", None, {}), "clean", None, [])
    if not left:
        store.close()
    (place := public_folder / "store").mkdir()
    (output := public_folder / "output").mkdir()
    output.chmod(0o777)
    for ending in ("", *left):
        shutil.copyfile(path_of(store).with_name("bench.db" + ending), place / f"bench.db{ending}")
        (place / f"bench.db{ending}").chmod(0o444)
    place.chmod(0o555)
    before = sorted(path.name for path in place.iterdir())
    lines = [
        "list comparisons",
        "list trials",
        f"show {comparison}",
        f"show {trial}",
        f"report {comparison}",
        "baseline list",
        "nightly history --baseline main",
        "nightly status --within 24",
        "db sql 'select status from bench_trial'",
        f"db export {output}/made --format jsonl",
    ]
    option = f" --store sqlite:///{place}/bench.db"
    told = powerless(*(line + option for line in lines))
    exits = [line.split()[1] for line in told.splitlines() if line.startswith("exit ")]
    assert exits == ["0" for _ in lines], told
    assert "budget" in told and (output / "made" / "manifest.json").exists()
    assert sorted(path.name for path in place.iterdir()) == before


def test_what_would_write_says_that_it_cannot(store: Store, public_folder: Path) -> None:
    store.close()
    shutil.copyfile(path_of(store), public_folder / "bench.db")
    public_folder.chmod(0o555)
    told = powerless(f"db gc --store sqlite:///{public_folder}/bench.db")
    assert f"cannot be written to, since {public_folder} is read-only" in told
    assert "exit 4" in told
