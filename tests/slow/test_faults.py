"""Signals, sudden deaths and onlookers: commands as processes, interrupted in the middle."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 240
"""Seconds to wait for what takes two or three on a machine that does nothing else."""
OPTIMIZERS = "nag[batch=20],tests.harness.plugins:Sleepy"
"""The first ends in moments, the second when it is told to hurry."""


class Bench:
    """Starts `bench` as a process, and looks into its store meanwhile."""

    plugins: tuple[str, ...] = ()
    """What workers may load, and who resumes the newest comparison."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'mlruns' / 'bench.db'}"
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, *arguments: str, naps: float = 0, script: Path | None = None, **options: object
    ) -> subprocess.Popen[str]:
        environment = {
            "PYTHONPATH": str(ROOT),
            "BENCH_TEST_SLEEPY_SECONDS": str(naps),
            "OMP_NUM_THREADS": "1",
        }
        if self.plugins:
            environment["BENCH_PLUGIN"] = " ".join(self.plugins)
        process = subprocess.Popen(
            [
                sys.executable,
                *(["-m", "bench.harness.cli.main"] if script is None else [script]),
                *arguments,
            ],
            **{
                "cwd": self.folder,
                "env": os.environ | environment,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                **options,
            },  # type: ignore[call-overload]
        )
        self.started.append(process)
        return process

    def compare(self, *more: str, naps: float = 0, **options: object) -> subprocess.Popen[str]:
        return self.start(
            "compare", "--optimizers", OPTIMIZERS, "--problem", PROBLEM, "--seeds", "1",
            "--budget", "gradients=3000", "--threads", "1", *more, naps=naps, **options,
        )  # fmt: skip

    def finish(self, *arguments: str, **options: object) -> tuple[int, str, str]:
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def trials(self) -> list[TrialRecord]:
        try:
            with Store.open(self.url, create=False) as store:
                return store.trials()
        except Infrastructure:
            # The file is there before its tables are.
            return []

    def measurements(self, trial: TrialRecord) -> list[Measurement]:
        with Store.open(self.url, create=False) as store:
            return store.measurements([trial.id])[trial.id]

    def until_it_sleeps(self) -> TrialRecord:
        """Wait until the second trial has been measured in the middle; return it."""

        def sleepy() -> TrialRecord | None:
            if not (self.folder / "mlruns" / "bench.db").exists():
                return None
            for trial in self.trials():
                if trial.method == "sleepy" and len(self.measurements(trial)) >= 2:
                    return trial
            return None

        return wait(sleepy)


def wait(found: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.1)
    raise AssertionError("what was waited for did not come")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    started = Bench(tmp_path)
    yield started
    for process in started.started:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(bench: Bench, number: signal.Signals) -> None:
    process = bench.compare("--no-mlflow", naps=0.5)
    bench.until_it_sleeps()
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    said = err.splitlines()[-1]
    assert said.startswith(f"bench: interrupted by {number.name}. What was measured is recorded as")
    assert said.endswith(
        " goes on from there. The same command trains again, from the start, only the trials that "
        "have not ended."
    )

    nag, sleepy = bench.trials()
    assert (nag.status, sleepy.status) == ("budget", "interrupted")
    assert sleepy.reason == "interrupted by a signal"
    assert len(bench.measurements(sleepy)) >= 2
    assert 0 < sleepy.ledger.updates < 150
    with Store.open(bench.url) as store:
        (first,) = store.comparisons()
    assert (first.status, first.summary) == ("interrupted", None)
    assert f"`bench resume {first.id}`" in said
    assert "SLEEPY" not in first.command
    code, out, err = bench.finish("show", first.id)
    assert (code, err) == (0, "")
    assert "interrupted" in out

    process = bench.compare("--no-mlflow", "--json", "-")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "1 of 2 trials are on record" in err
    assert [(t.method, t.attempt, t.status) for t in bench.trials()] == [
        ("nag", 1, "budget"), ("sleepy", 1, "interrupted"), ("sleepy", 2, "budget"),
    ]  # fmt: skip
    assert [row["status"] for row in json.loads(out)["methods"]] == [{"budget": 1}] * 2


def test_a_second_ctrl_c_does_not_wait_for_the_update(bench: Bench) -> None:
    process = bench.compare("--no-mlflow", naps=3 * PATIENCE)
    wait(lambda: next((t for t in started(bench) if t.method == "sleepy"), None))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "it waits for the end of the update"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "bench: interrupted."
    _, sleepy = bench.trials()
    assert (sleepy.status, sleepy.ledger.updates) == ("interrupted", 0)
    with Store.open(bench.url) as store:
        assert store.comparisons()[0].status == "interrupted"


def started(bench: Bench) -> list[TrialRecord]:
    return bench.trials() if (bench.folder / "mlruns" / "bench.db").exists() else []


def test_after_a_sudden_death_the_next_command_tidies_up(bench: Bench) -> None:
    process = bench.compare("--no-mlflow", naps=0.5)
    dead = bench.until_it_sleeps()
    process.kill()
    process.communicate()
    measured = bench.measurements(dead)
    with Store.open(bench.url) as store:
        (first,) = store.comparisons()

    process = bench.compare("--no-mlflow", "--json", "-")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert f"Trial {dead.id} was still marked as running; its process is gone" in err
    assert "1 of 2 trials are on record" in err
    assert [(t.method, t.attempt, t.status) for t in bench.trials()] == [
        ("nag", 1, "budget"), ("sleepy", 1, "interrupted"), ("sleepy", 2, "budget"),
    ]  # fmt: skip
    _, first_attempt, _ = bench.trials()
    assert "its process died" in (first_attempt.reason or "")
    assert bench.measurements(dead) == measured
    with Store.open(bench.url) as store:
        assert [c.status for c in store.comparisons()] == ["done", "interrupted"]
    for shown in (first.id, json.loads(out)["comparison"], str(dead.id)):
        code, page, err = bench.finish("show", shown)
        assert (code, err) == (0, "")
        assert "sleepy" in page


def test_a_living_trial_is_left_alone(bench: Bench) -> None:
    process = bench.compare("--no-mlflow", naps=0.5)
    living = bench.until_it_sleeps()
    beside = bench.compare("--no-mlflow")
    out, err = beside.communicate(timeout=PATIENCE)
    assert beside.returncode == 0, err
    assert "still marked as running" not in err
    assert process.poll() is None
    with Store.open(bench.url) as store:
        assert store.trial(living.id).status == "running"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_measurements_are_seen_within_ten_seconds(bench: Bench) -> None:
    process = bench.compare("--no-mlflow", naps=0.25)
    seen: dict[int, float] = {}

    def ended() -> bool | None:
        for trial in started(bench):
            if trial.method == "sleepy":
                for m in bench.measurements(trial):
                    seen.setdefault(m.index, time.time() - m.diagnostics.get("at", time.time()))
        return True if process.poll() is not None else None

    wait(ended)
    assert process.returncode == 0
    assert len(seen) >= 5
    # Those of the last update are entered at its end, and may be found after the process.
    assert max(seen.values()) < 10, seen


def test_a_bar_where_somebody_looks(bench: Bench) -> None:
    leader, follower = pty.openpty()
    process = bench.compare("--no-mlflow", naps=0.02, stderr=follower)
    os.close(follower)
    told = b""
    # A pseudo-terminal ends with an error when its last writer has gone.
    while True:
        try:
            told += os.read(leader, 65_536)
        except OSError:
            break
    os.close(leader)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "\x1b" not in out
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", told).decode()
    assert "[2/2] sleepy s0" in shown
    assert re.search(r"\d+ %  batch loss \d", shown)
    assert "updates/s" in shown


def test_mlflow_has_the_end_of_every_trial_and_no_nan(bench: Bench) -> None:
    """One that diverged, one interrupted by SIGTERM, one that ran to its end."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    wild = "nag[batch=20,lr=1e38]"
    process = bench.start(
        "compare", "--optimizers", f"{wild},{OPTIMIZERS}", "--problem", PROBLEM, "--seeds", "1",
        "--budget", "gradients=3000", "--threads", "1", naps=0.5,
    )  # fmt: skip
    bench.until_it_sleeps()
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err

    assert {t.method: t.status for t in bench.trials()} == {
        "nag[lr=1e+38]": "diverged", "nag[lr=0.01]": "budget", "sleepy": "interrupted",
    }  # fmt: skip
    client = MlflowClient(tracking_uri=bench.url)
    experiments = [e.experiment_id for e in client.search_experiments(ViewType.ALL)]
    runs = {run.info.run_id: run for run in client.search_runs(experiments)}
    ends = {t.status: runs[t.mlflow_run_id or ""].info.status for t in bench.trials()}
    assert ends == {"diverged": "FAILED", "budget": "FINISHED", "interrupted": "KILLED"}
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    with Store.open(bench.url) as store, store._read() as connection:
        points, nans = connection.exec_driver_sql(
            "SELECT count(*), sum(is_nan OR abs(value) > 1e300) FROM metrics"
        ).one()
    assert points > 20
    assert nans == 0
