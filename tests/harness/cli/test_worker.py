"""`bench worker` trains what is open to workers, whoever left it, and says what it leaves out."""

import os
import subprocess
import sys

import pytest

from bench.harness.core.errors import LeaseLost
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.store.owner import process_name
from tests.harness.cli.test_resume import COMPARE, NAG, STORE, planned, store
from tests.harness.small import PROBLEM, QUICK_HF

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def argv(monkeypatch):
    """A worker records trials under the command line that planned them."""
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setenv("BENCH_PLUGIN", PROBLEM)


def test_a_worker_with_nothing_to_do_ends(bench):
    store().close()
    said = bench("worker", "--exit-when-empty")
    assert (said.code, said.out) == (0, "")
    url = f"sqlite:///{STORE.absolute()}"
    assert said.err == f"No fleet is waiting in {url}; 0 fleets trained.\n"


def test_a_worker_trains_what_is_open_to_workers_alone(bench):
    """Not what waits for ranks that train together, and nothing twice."""
    together, alone = planned(bench, "--mode", "data"), planned(bench, "--fresh")
    for trained in ("1 fleet trained", "0 fleets trained"):
        said = bench("worker", "--exit-when-empty")
        assert said.code == 0 and trained in said.err
    with store() as opened:
        assert [f.status for f in opened.fleets(together)] == ["planned"]
        assert [f.status for f in opened.fleets(alone)] == ["ended"]
        assert {opened.info_of(t.id)["argv"][0] for t in opened.trials()} == {"bench"}


def test_what_was_trained_by_one_process_is_not_what_ranks_together_would_train(bench):
    assert bench(*COMPARE, "--optimizers", NAG).code == 0
    id = planned(bench, "--mode", "data")
    with store() as opened:
        assert [fleet.status for fleet in opened.fleets(id)] == ["planned"]
        assert opened.comparison(id).reused == set()
        # The command plans it once more; without --plan it would be refused.
        assert opened.comparison(id).command.endswith(" --mode data --plan plan.json")


def test_a_worker_trains_what_a_dead_process_had(bench):
    id = planned(bench)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with store() as opened:
        assert opened.lease(process_name(gone.pid), id)
    said = bench("worker", "--exit-when-empty")
    assert said.code == 0 and "1 fleet trained" in said.err
    with store() as opened:
        assert [fleet.status for fleet in opened.fleets(id)] == ["ended"]


def test_a_worker_trains_what_the_command_was_interrupted_in(bench):
    id = planned(bench)
    with store() as opened:
        opened.finish_comparison(id, "interrupted", None)
    assert "1 fleet trained" in bench("worker", "--exit-when-empty").err


def test_a_worker_that_has_lost_its_lease_goes_on_with_the_next_fleet(bench, monkeypatch):
    id = planned(bench, optimizers=f"{NAG},{QUICK_HF}")
    train, turns = LeasedFleet.train, []

    def late(fleet):
        turns.append(fleet._lease.number)
        if len(turns) == 1:
            raise LeaseLost("Somebody else has it.")
        train(fleet)

    monkeypatch.setattr(LeasedFleet, "train", late)
    said = bench("worker", "--exit-when-empty")
    assert said.code == 0 and said.err.count("Somebody else has it.") == 1
    with store() as opened:
        ends = {fleet.number: fleet.status for fleet in opened.fleets(id)}
    assert ends.pop(turns[0]) == "running"
    assert set(ends.values()) == {"ended"} and len(turns) == len(ends) + 1


def test_a_worker_leaves_out_what_cannot_be_trained_there(bench, workdir):
    mine = workdir / "mine.py"
    mine.write_text(MINE)
    theirs = planned(bench, optimizers=f"./mine.py:Mine,{NAG}")
    ours = planned(bench, optimizers="cm[batch=20]")
    with store() as opened:
        several = len(opened.fleets(theirs))
    assert several > 1
    mine.unlink()
    plugins = ("--plugin", "./mine.py:Mine", "--plugin", PROBLEM)
    said = bench("worker", "--exit-when-empty", *plugins)
    assert said.code == 4
    told = f"Comparison {theirs} cannot be trained here, so it is skipped: "
    assert said.err.count(told) == 1 and "./mine.py" in said.err
    url = f"sqlite:///{STORE.absolute()}"
    last = f"The fleets left in {url} cannot be trained here; 1 fleet trained."
    assert said.err.splitlines()[-1] == last
    with store() as opened:
        assert [fleet.status for fleet in opened.fleets(ours)] == ["ended"]
        assert [fleet.status for fleet in opened.fleets(theirs)] == ["planned"] * several
    # Where it is, another worker trains it.
    mine.write_text(MINE)
    assert bench("worker", "--exit-when-empty", *plugins).code == 0


MINE = """
from tests.harness.plugins import Watcher

class Mine(Watcher):
    name = "mine"
"""


def test_threads_are_those_of_the_plan_whatever_cores_a_worker_has(bench, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    id = planned(bench, "--threads", "3")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    said = bench("worker", "--exit-when-empty")
    assert said.code == 0
    with store() as opened:
        found = {opened.context_of(t.context_digest)["threads"] for t in opened.trials(id)}
    assert found == {3}
    assert bench("resume", id, "--no-mlflow").code == 0


def test_a_worker_whose_trial_fails_says_so_and_others_go_on(bench):
    failing = "tests.harness.plugins:Failing"
    id = planned(bench, optimizers=f"{failing},{NAG}")
    plugins = ("--plugin", failing, "--plugin", PROBLEM)
    codes = [bench("worker", "--exit-when-empty", *plugins).code for _ in range(4)]
    assert codes.count(4) == 2 and codes[-1] == 0
    with store() as opened:
        ends = sorted(fleet.status for fleet in opened.fleets(id))
        assert ends == ["ended", "failed", "failed"]
        assert {t.method: t.status for t in opened.trials()} == {
            "failing": "failed",
            "nag": "budget",
        }
