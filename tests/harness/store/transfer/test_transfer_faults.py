"""A move that is killed leaves the store as it was; two at once leave what one leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.harness.core.spec import Protocol, TrialSpec
from bench.harness.store.results import Store
from bench.harness.store.transfer.export import export
from bench.harness.store.transfer.importer import import_folder
from tests.harness.store.transfer.stores import fill, tables_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
# What the process does when it comes to the place where it is killed.
KILLED = """
import os, signal, sys
from pathlib import Path
from bench.harness.store import results
from bench.harness.store.transfer import export as exporting, importer as importing
{place} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
url, folder = sys.argv[1:]
{action}
"""
EXPORT = "exporting.export(results.Store.open(url), Path(folder), ())"
IMPORT = "importing.import_folder(Path(folder), lambda: results.Store.open(url))"


def killed(url: str, folder: Path, place: str, action: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED.format(place=place, action=action), url, str(folder)],
        cwd=folder.parent,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert ended.returncode == -9, ended.stderr.decode()


def test_an_export_that_is_killed_leaves_nothing_that_looks_whole(
    workdir: Path, store: Store, protocol: Protocol
) -> None:
    fill(store, protocol)
    killed(store.url, workdir / "folder", "exporting.shutil.copyfile", EXPORT)
    assert not (workdir / "folder").exists()
    assert export(store, workdir / "folder", ()).rows["trial"] == 6


@pytest.mark.parametrize("place", ["importing.Merge.finish", "importing.os.replace"])
def test_an_import_that_is_killed_can_be_repeated(
    workdir: Path, store: Store, protocol: Protocol, place: str
) -> None:
    with Store.open(f"sqlite:///{workdir / 'source' / 'bench.db'}") as source:
        fill(source, protocol)
        rows = export(source, workdir / "folder", (), "jsonl").rows
    # MLflow and other results are here already.
    fill(store, protocol)
    export(store, workdir / "before", (), "jsonl")
    killed(store.url, workdir / "folder", place, IMPORT)
    export(store, workdir / "after", (), "jsonl")
    in_transaction = place == "importing.Merge.finish"
    same = tables_of(workdir / "before", "jsonl") == tables_of(workdir / "after", "jsonl")
    assert same == in_transaction
    done = import_folder(workdir / "folder", lambda: Store.open(store.url))
    assert done.added["trial"] == (rows["trial"] if in_transaction else 0)
    assert done.files == 2
    assert import_folder(workdir / "folder", lambda: Store.open(store.url)).is_empty
    assert len(store.trials()) == 12


def test_two_imports_at_once_while_trials_begin(
    workdir: Path,
    store: Store,
    protocol: Protocol,
    spec: TrialSpec,
    comparison: str,
    begin: Callable[..., int],
) -> None:
    with Store.open(f"sqlite:///{workdir / 'source' / 'bench.db'}") as source:
        fill(source, protocol)
        rows = export(source, workdir / "folder", ()).rows
        specs = [TrialSpec(protocol, spec.method, trial.seed) for trial in source.trials()]

    def bring() -> int:
        done = import_folder(workdir / "folder", lambda: Store.open(store.url))
        return done.added["trial"]

    with ThreadPoolExecutor(4) as pool:
        imports = [pool.submit(bring) for _ in range(2)]
        begun = [pool.submit(begin, comparison, each, label="nag") for each in specs * 4]
        assert sorted(each.result() for each in imports) == [0, rows["trial"]]
        assert len({each.result() for each in begun}) == len(begun)
    trials = store.trials()
    assert len(trials) == rows["trial"] + len(begun)
    assert len({(trial.key, trial.attempt) for trial in trials}) == len(trials)
    measured = store.measurements([trial.id for trial in trials])
    assert sum(map(len, measured.values())) == rows["measurement"]
