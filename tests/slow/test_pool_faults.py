"""Signals and sudden deaths where fleets run over processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.harness.core.records import TrialRecord
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM
from tests.slow.test_faults import OPTIMIZERS, PATIENCE, ROOT, Bench, bench, wait

__all__ = ["bench"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores"),
]

# A script of somebody's own, without a guard: any work is worth two processes.
SCRIPT = """
from bench.harness.planning import placement
from bench.harness.cli.main import main

placement.MIN_SECONDS_FOR_PROCESSES = 0.0
main()
"""


def compare(bench: Bench, naps: float = 0, **options: object) -> subprocess.Popen[str]:
    """Start two processes: nag's two rows, then sleepy under two seeds."""
    script = bench.folder / "script.py"
    script.write_text(SCRIPT)
    environment = {"PYTHONPATH": str(ROOT), "BENCH_TEST_SLEEPY_SECONDS": str(naps)}
    process = subprocess.Popen(
        [
            sys.executable, script, "compare", "--optimizers", OPTIMIZERS, "--problem", PROBLEM,
            "--seeds", "2", "--budget", "gradients=3000", "--threads", "2", "--no-mlflow",
            "--json", "-",
        ],
        cwd=bench.folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    bench.started.append(process)
    return process


def until_both_sleep(bench: Bench) -> list[TrialRecord]:
    """Wait until both trials of sleepy have been measured in the middle; return them."""

    def asleep() -> list[TrialRecord] | None:
        if not (bench.folder / "mlruns" / "bench.db").exists():
            return None
        found = [t for t in bench.trials() if t.method == "sleepy" and t.status == "running"]
        measured = [t for t in found if len(bench.measurements(t)) >= 2]
        return measured if len(measured) == 2 else None

    return wait(asleep)


def process_of(bench: Bench, trial: TrialRecord) -> int:
    with Store.open(bench.url) as store, store._read() as connection:
        owner = connection.exec_driver_sql(
            f"SELECT lease_owner FROM bench_trial WHERE id = {trial.id}"
        ).scalar_one()
    return int(owner.rpartition(":")[2])


def is_there(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def statuses(bench: Bench) -> dict[tuple[str, int, int], str]:
    return {(t.method, t.seed, t.attempt): t.status for t in bench.trials()}


def after(*sleepy: str) -> dict[tuple[str, int, int], str]:
    """What there is of nag, and each attempt at sleepy with its status."""
    of_sleepy = {
        ("sleepy", seed, attempt): status
        for seed in (0, 1)
        for attempt, status in enumerate(sleepy, 1)
    }
    return {("nag", seed, 1): "budget" for seed in (0, 1)} | of_sleepy


def goes_on(bench: Bench, expected: dict[tuple[str, int, int], str], reused: int) -> None:
    """Check that the same command runs what is missing, and that all indices are there once."""
    process = compare(bench)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert f"{reused} of 4 trials are on record" in err
    assert statuses(bench) == expected
    assert [row["status"] for row in json.loads(out)["methods"]] == [{"budget": 2}] * 2
    for trial in bench.trials():
        taken = bench.measurements(trial)
        assert [m.index for m in taken] == list(range(len(taken)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_all_in_order(bench: Bench, number: int) -> None:
    process = compare(bench, naps=0.3)
    until_both_sleep(bench)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    name = signal.Signals(number).name
    said = [line for line in err.splitlines() if "interrupted" in line]
    assert len(said) == 1
    assert said[0].startswith(f"bench: interrupted by {name}. What was measured is recorded as")
    assert (
        "goes on from there. The same command trains again, from the start, only the trials"
        in said[0]
    )
    assert statuses(bench) == after("interrupted")
    for trial in bench.trials():
        if trial.method == "nag":
            continue
        assert trial.reason == "interrupted by a signal"
        assert bench.measurements(trial)[-1].ledger.updates <= trial.ledger.updates < 150
    with Store.open(bench.url) as store:
        assert store.comparisons()[0].status == "interrupted"
    goes_on(bench, after("interrupted", "budget"), reused=2)


def test_a_second_ctrl_c_waits_for_no_update(bench: Bench) -> None:
    process = compare(bench, naps=3 * PATIENCE)

    def both_begun() -> bool | None:
        begun = bench.trials() if (bench.folder / "mlruns" / "bench.db").exists() else []
        return True if sum(t.method == "sleepy" for t in begun) == 2 else None

    wait(both_begun)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "it waits for the end of the updates"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "bench: interrupted."
    assert "Traceback" not in err
    assert statuses(bench) == after("interrupted")
    with Store.open(bench.url) as store:
        assert store.comparisons()[0].status == "interrupted"


def test_one_that_is_killed_ends_the_command_after_the_others(bench: Bench) -> None:
    process = compare(bench, naps=0.1)
    killed, other = until_both_sleep(bench)
    os.kill(process_of(bench, killed), signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (4, "")
    assert "Traceback" not in err
    # A line about the progress may come between the two.
    first, last = [line for line in err.splitlines() if "was killed by SIGKILL" in line]
    called = f"The process of sleepy s{killed.seed} (trials {killed.id}) was killed by SIGKILL."
    assert first.startswith(called)
    assert first.endswith("Fleets that are being trained are finished; no other fleet is started.")
    assert last.startswith(f"bench: {called}")
    with Store.open(bench.url) as store:
        id = store.comparisons()[0].id
    assert last.endswith(f"recorded; `bench resume {id}` goes on from there.")
    ended = {t.id: t for t in bench.trials()}
    assert ended[other.id].status == "budget"
    assert (ended[killed.id].status, ended[killed.id].reason) == (
        "interrupted", "its process died (it was killed by SIGKILL)",
    )  # fmt: skip
    taken = bench.measurements(killed)
    assert ended[killed.id].ledger == taken[-1].ledger
    assert ended[killed.id].train_metric == taken[-1].train_metric
    with Store.open(bench.url) as store:
        assert store.comparisons()[0].status == "failed"
    goes_on(bench, statuses(bench) | {("sleepy", killed.seed, 2): "budget"}, reused=3)


def test_one_that_gets_sigterm_alone_interrupts_the_command(bench: Bench) -> None:
    process = compare(bench, naps=0.3)
    ended, _ = until_both_sleep(bench)
    os.kill(process_of(bench, ended), signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("bench: interrupted by SIGTERM.")
    assert statuses(bench) == after("interrupted")


def test_all_end_when_the_command_is_killed(bench: Bench) -> None:
    process = compare(bench, naps=0.1)
    both = until_both_sleep(bench)
    owners = [process_of(bench, trial) for trial in both]
    before = {trial.id: bench.measurements(trial) for trial in both}
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(map(is_there, owners)):
        assert time.monotonic() < deadline, "its processes are still there"
        time.sleep(0.1)
    assert "Traceback" not in process.communicate()[1]
    assert statuses(bench) == after("interrupted")
    for trial_id, taken in before.items():
        with Store.open(bench.url) as store:
            assert store.measurements([trial_id])[trial_id][: len(taken)] == taken
    goes_on(bench, after("interrupted", "budget"), reused=2)


def test_all_end_when_the_command_is_killed_in_a_long_update(bench: Bench) -> None:
    process = compare(bench, naps=3 * PATIENCE)

    def both_begun() -> list[TrialRecord] | None:
        begun = bench.trials() if (bench.folder / "mlruns" / "bench.db").exists() else []
        found = [t for t in begun if t.method == "sleepy"]
        return found if len(found) == 2 else None

    owners = [process_of(bench, trial) for trial in wait(both_begun)]
    process.kill()
    deadline = time.monotonic() + 20
    while any(map(is_there, owners)):
        assert time.monotonic() < deadline, "its processes are still there"
        time.sleep(0.1)
    process.communicate()
    assert statuses(bench) == after("running")
    goes_on(bench, after("interrupted", "budget"), reused=2)
