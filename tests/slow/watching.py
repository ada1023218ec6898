"""Commands on problems of tests.harness.watched: interrupted, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bench.harness.planning.request import Mode
from bench.harness.store import tables as t
from bench.harness.store.results import Store
from tests.slow.test_faults import ROOT, Bench, wait

OWN = (
    *("tests.harness.watched:small", "tests.harness.watched:add"),
    *("tests.harness.small:make", "tests.harness.plugins:Sleepy"),
)
"""The problems and methods of these tests."""


@dataclass(frozen=True)
class Case:
    """What is compared, and where a run of it stops for good.

    By then each fleet has written so many checkpoints, one every 7 updates, and its measurement of
    this index is of an update before the last of them.
    """

    optimizers: str
    problem: str = "tests.harness.watched:small"
    seeds: int = 1
    # 150 updates.
    gradients: int = 3_000
    tune: str = "none"
    threads: int = 1
    ranks: int | None = None
    mode: Mode = "trials"
    naps: str = "100:3600"
    kept: int = 14
    index: int = 4

    @property
    def command(self) -> list[str]:
        ranks = [] if self.ranks is None else ["--nproc-per-node", str(self.ranks)]
        return [
            "compare", "--optimizers", self.optimizers, "--problem", self.problem,
            "--seeds", str(self.seeds), "--budget", f"gradients={self.gradients}",
            "--tune", self.tune, "--threads", str(self.threads), "--device", "cpu",
            *ranks, "--mode", self.mode, "--no-mlflow",
        ]  # fmt: skip

    def on(self, ranks: int, mode: Mode) -> Case:
        return replace(self, ranks=ranks, mode=mode)


NAG = Case("nag[batch=20]")
# 21 updates.
HF = Case("hf[lam=1,chunks=2,cg_max=20]", gradients=20_000, naps="16:3600", kept=2, index=3)

OF_THE_RUN = {
    "id", "uuid", "command", "info", "created", "started", "ended", "lease_owner", "heartbeat",
    "seconds", "fleet_seconds", "peak_memory", "mlflow_run_id", "mlflow_synced", "mlflow_ended",
    "trial_id",
}  # fmt: skip
"""Columns that may differ between two runs of one trial."""
OF_THE_PLACE = {"resumed", "path", "argv", "commit"}
"""What of a trial's info may."""

Measured = dict[int, list[dict[str, Any]]]
Rows = dict[tuple[str, int, str, int], tuple[dict[str, Any], list[dict[str, Any]]]]


class Watched(Bench):
    """Starts commands on these problems, and reads all that they leave in the store."""

    plugins = OWN

    def begin(
        self, *arguments: str, naps: str, script: Path | None = None, **more: str
    ) -> subprocess.Popen[str]:
        """Start a command that naps, by a script of one's own; its environment has `more`."""
        environment = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "BENCH_TEST_NAPS": naps,
            **more,
        }
        environment.setdefault("BENCH_PLUGIN", " ".join(self.plugins))
        return self.start(*arguments, env=os.environ | environment, script=script)

    def kill_in_the_middle(
        self, case: Case, fleets: int = 1, script: Path | None = None
    ) -> Measured:
        """Kill a command, and all that it has started, in the middle of so many fleets.

        Returns what is measured by then.
        """
        process = self.begin(*case.command, naps=case.naps, script=script)
        self.until_kept(process, case.kept, case.index, fleets)
        for pid in (process.pid, *processes_of(process)):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
        return self.measured()

    def resume(self, *arguments: str) -> str:
        """Go on with a comparison to its end, and return what was said."""
        code, _, err = self.finish("resume", "--no-mlflow", *arguments)
        assert code == 0, err
        return err

    def until_kept(
        self,
        process: subprocess.Popen[str],
        kept: int,
        index: int,
        fleets: int = 1,
    ) -> None:
        """Wait until so many fleets have so many checkpoints, and this measurement is entered."""

        def are_kept() -> bool | None:
            if process.poll() is not None:
                raise AssertionError(f"it ended: {process.communicate()}")
            numbers = [int(file.suffixes[0][1:]) for file in self.checkpoints.glob("*.ckpt")]
            if sum(number >= kept for number in numbers) < fleets:
                return None
            measured = [taken for taken in self.measured().values() if len(taken) > index]
            return True if len(measured) >= fleets else None

        wait(are_kept)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "mlruns" / "checkpoints"

    def comparison(self) -> str:
        """The id of the newest comparison."""
        with Store.open(self.url, create=False) as store:
            return store.comparisons()[0].id

    def measured(self) -> Measured:
        """All measurements as they are in the store, by trial."""
        found: Measured = {}
        with Store.open(self.url, create=False) as store, store._read() as connection:
            rows = select(t.measurement).order_by(t.measurement.c.trial_id, t.measurement.c.idx)
            for row in connection.execute(rows).mappings():
                found.setdefault(row["trial_id"], []).append(dict(row))
        return found

    def rows(self) -> Rows:
        """All rows of trials and measurements, but for what may differ between two runs."""
        return rows_of(self.url)

    def see_consistent(self, before: Measured) -> None:
        """See that nothing runs, and that all was measured once and is as it was `before`."""
        with Store.open(self.url, create=False) as store, store._read() as connection:
            for table in (t.trial, t.fleet, t.comparison):
                assert "running" not in set(connection.scalars(select(table.c.status)))
        after = self.measured()
        for trial, taken in after.items():
            assert [each["idx"] for each in taken] == list(range(len(taken)))
            assert taken[: len(before.get(trial, []))] == before.get(trial, [])


def rows_of(url: str) -> Rows:
    found: Rows = {}
    with Store.open(url, create=False) as store, store._read() as connection:
        for trial in connection.execute(select(t.trial)).mappings().all():
            measured = connection.execute(
                select(t.measurement)
                .where(t.measurement.c.trial_id == trial["id"])
                .order_by(t.measurement.c.idx)
            ).mappings()
            info = json.loads(trial["info"])
            kept = _but(trial, OF_THE_RUN) | {"info": _but(info, OF_THE_PLACE)}
            name = trial["label"], trial["seed"], trial["purpose"], trial["attempt"]
            found[name] = kept, [_but(each, OF_THE_RUN) for each in measured]
    return found


def _but(row: Any, names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def processes_of(process: subprocess.Popen[str]) -> dict[int, str]:
    """The rank, or "", of each process that a command has started, or one of those has."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1]) if fields[0] != "Z" else 0
    found, new = set[int](), {process.pid}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return {pid: _rank(pid) for pid in found}


def _rank(pid: int) -> str:
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0"):
            if each.startswith("RANK="):
                return each.removeprefix("RANK=")
    return ""


def ranks_of(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process numbers of a command's ranks, by rank."""
    return {int(rank): pid for pid, rank in processes_of(process).items() if rank}


def gone(pids: set[int]) -> bool | None:
    """True once none of the processes runs any more."""
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return None
    return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Watched]:
    started = Watched(tmp_path)
    yield started
    left = set[int]()
    for process in started.started:
        if process.poll() is None:
            left |= set(processes_of(process))
            process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
    for pid in left:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
