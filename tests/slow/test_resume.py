"""A run that was interrupted and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.harness.comparison.compare import compare
from bench.harness.comparison.resume import resume, work
from bench.harness.planning import placement
from bench.harness.store.results import Store
from bench.harness.training.checkpoint import Checkpoints
from tests.harness.small import PROBLEM, request
from tests.slow.test_pool_faults import SCRIPT
from tests.slow.watching import (
    HF,
    NAG,
    OWN,
    Case,
    Rows,
    Watched,
    bench,
    rows_of,
)  # fmt: skip

__all__ = ["bench"]

pytestmark = pytest.mark.slow

CASES = {
    "nag": NAG,
    "hf": HF,
    # From the second measurement on the fleet has fewer rows.
    "rows": Case("nag[batch=20],cm[batch=20,lr=1e38]", seeds=2),
    "drawn": Case("nag[batch=20]", problem="tests.harness.watched:add[T=20]", seeds=2),
    "tuned": Case("nag[batch=20],sgd[batch=20]", tune="2"),
}

Straight = Callable[[Case], Rows]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Straight]:
    """The rows of a case that nothing interrupts, run once."""
    made: dict[Case, Rows] = {}
    before = torch.get_num_threads()

    def rows(case: Case) -> Rows:
        if case not in made:
            made[case] = run_straight(case, tmp_path_factory.mktemp("straight"))
        return made[case]

    yield rows
    torch.set_num_threads(before)


def run_straight(case: Case, folder: Path) -> Rows:
    url = f"sqlite:///{folder / 'bench.db'}"
    asked = request(
        url, case.optimizers, problem=case.problem, seeds=case.seeds, tune=case.tune,
        budget=f"gradients={case.gradients}", threads=case.threads,
        nproc_per_node=case.ranks, mode=case.mode,
        plan=None if case.ranks is None or case.mode == "data" else str(folder / "plan.json"),
    )  # fmt: skip
    compare(asked)
    if asked.plan is not None:
        work(url, exit_when_empty=True, data_dir=None, plugins=OWN)
        resume(url, None, None, None, no_mlflow=True, plugins=OWN)
    return rows_of(url)


@pytest.mark.parametrize("name", CASES)
def test_one_that_was_killed_goes_on_bit_for_bit(
    bench: Watched, name: str, straight: Straight
) -> None:
    case = CASES[name]
    before = bench.kill_in_the_middle(case)
    bench.resume()
    assert bench.rows() == straight(case)
    bench.see_consistent(before)
    assert not bench.checkpoints.exists()


def test_one_that_was_killed_twice_goes_on_bit_for_bit(bench: Watched, straight: Straight) -> None:
    bench.kill_in_the_middle(NAG)
    process = bench.begin("resume", "--no-mlflow", naps="130:3600")
    # It has made 98 updates, and 28 more.
    bench.until_kept(process, NAG.kept + 4, NAG.index)
    process.kill()
    process.communicate()
    before = bench.measured()
    bench.resume()
    assert bench.rows() == straight(NAG)
    bench.see_consistent(before)


def test_a_signal_keeps_the_state_at_once(bench: Watched, straight: Straight) -> None:
    case = CASES["rows"]
    process = bench.begin(*case.command, naps="0:0.05")
    bench.until_kept(process, 1, case.index)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"`bench resume {bench.comparison()}` goes on from there." in err
    with Store.open(bench.url) as store:
        (fleet,) = store.fleets(bench.comparison())
        (stopped,) = {t.ledger.updates for t in store.trials() if t.status == "interrupted"}
        digest = fleet.task["digest"]
    name = f"{fleet.comparison_id}-{fleet.number:04d}"
    kept = Checkpoints(bench.checkpoints, name, {"trials": digest}, print).read()
    assert kept is not None
    assert kept["fleet"]["account"]["updates"] == stopped
    before = bench.measured()
    bench.see_consistent(before)
    bench.resume()
    assert bench.rows() == straight(case)
    bench.see_consistent(before)


def test_a_run_keeps_its_state_within_seconds(bench: Watched, tmp_path: Path) -> None:
    """A method of somebody's own, at the usual intervals."""
    sleepy = Case("tests.harness.plugins:Sleepy", problem=PROBLEM)
    process = bench.start(*sleepy.command, naps=0.1)
    bench.until_kept(process, 1, 3)
    process.kill()
    process.communicate()
    before = bench.measured()
    bench.resume()
    bench.see_consistent(before)
    ((_, measured),) = bench.rows().values()
    ((_, expected),) = run_straight(sleepy, tmp_path).values()
    for each in (*measured, *expected):
        each["diagnostics"] = json.loads(each["diagnostics"]) | {"at": None}
    assert measured == expected
    with Store.open(bench.url) as store:
        last = store.measurements([1])[1][-1]
    # It went on, and did not begin anew.
    assert 5 < last.ledger.seconds < 15


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_a_pool_that_was_killed_goes_on_bit_for_bit(
    bench: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = replace(HF, seeds=2, threads=2)
    script = bench.folder / "script.py"
    script.write_text(SCRIPT)
    before = bench.kill_in_the_middle(case, fleets=2, script=script)
    bench.resume()
    monkeypatch.setattr(placement, "MIN_SECONDS_FOR_PROCESSES", 0.0)
    assert bench.rows() == run_straight(case, tmp_path)
    bench.see_consistent(before)


@pytest.mark.parametrize("resumed_on", [1, 2])
def test_ranks_with_a_fleet_each_go_on_bit_for_bit(
    bench: Watched, resumed_on: int, straight: Straight
) -> None:
    case = Case("nag[batch=20]", seeds=2, ranks=2)
    before = bench.kill_in_the_middle(case, fleets=2)
    bench.resume("--nproc-per-node", str(resumed_on))
    assert bench.rows() == straight(case)
    bench.see_consistent(before)


def test_ranks_that_share_a_fleet_go_on_bit_for_bit(bench: Watched, straight: Straight) -> None:
    case = HF.on(2, "data")
    before = bench.kill_in_the_middle(case)
    code, _, err = bench.finish("resume", "--no-mlflow", "--nproc-per-node", "1")
    assert code == 4
    assert "Trial 1 was begun as one fleet over 2 ranks, and here are 1" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert bench.measured() == before
    bench.see_consistent(before)
    bench.resume()
    assert bench.rows() == straight(case)
    bench.see_consistent(before)
