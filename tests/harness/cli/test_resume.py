"""`--plan`, `bench worker` and `bench resume`: together they are a comparison, and say what is not.

What torchrun starts is tested with real ranks elsewhere.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from bench.harness.comparison.resume import work
from bench.harness.planning.plan import versions
from bench.harness.store.results import Store
from tests.harness.planning.test_plan import plan
from tests.harness.small import BUDGET, PROBLEM, QUICK_HF

USUAL = ("--problem", PROBLEM, "--budget", BUDGET, "--threads", "1", "--no-mlflow")
COMPARE = ("compare", *USUAL, "--seeds", "2")
NAG = "nag[batch=20]"
STORE = Path("mlruns/bench.db")

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def argv(monkeypatch):
    """A worker records trials under the command line that planned them."""
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setenv("BENCH_PLUGIN", PROBLEM)


def store():
    return Store.open(f"sqlite:///{STORE}")


def planned(bench, *flags, optimizers=NAG, command=COMPARE):
    """Plan a comparison for others, and return its id."""
    said = bench(*command, "--optimizers", optimizers, "--plan", "plan.json", *flags)
    assert (said.code, said.out) == (0, "")
    return json.loads(Path("plan.json").read_text())["comparison"]


def result(said):
    """All that was reported but the comparison's id, seconds and memory."""

    def timeless(value):
        if isinstance(value, dict):
            left_out = ("comparison", "seconds", "fleet_seconds", "peak_memory")
            return {k: timeless(v) for k, v in value.items() if k not in left_out}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    assert said.code == 0, said.err
    return timeless(json.loads(said.out))


# The whole way


def test_planned_trained_by_a_worker_and_resumed_it_is_the_comparison(bench, tmp_path):
    elsewhere = f"sqlite:///{tmp_path / 'plain.db'}"
    optimizers = f"{NAG},{QUICK_HF}"
    plain = bench(*COMPARE, "--optimizers", optimizers, "--json", "-", "--store", elsewhere)
    id = planned(bench, optimizers=optimizers)
    with store() as opened:
        assert opened.comparison(id).status == "planned"
        assert [fleet.status for fleet in opened.fleets(id)] == ["planned"] * 3
        assert opened.trials() == []
        url = opened.url
    assert work(url, exit_when_empty=True, data_dir=None, plugins=[PROBLEM]) == 0
    with store() as opened:
        before = opened.trials()
        assert [t.status for t in before] == ["budget"] * 4
    said = bench("resume", id, "--no-mlflow", "--json", "-")
    found, expected = result(said), result(plain)
    # It can be planned once more by the same command.
    assert found.pop("reproduce") == expected.pop("reproduce") + " --plan plan.json"
    assert found == expected
    with store() as opened, Store.open(elsewhere) as other:
        # Nothing was trained again.
        assert opened.trials() == before
        record = opened.comparison(id)
        assert (record.status, record.summary["comparison"]) == ("done", id)
        of_one, of_other = (
            {
                (t.method, t.seed): [
                    (m.train_metric, m.ledger.gradients) for m in s.measurements([t.id])[t.id]
                ]
                for t in s.trials()
            }
            for s in (opened, other)
        )
        assert of_one == of_other and len(of_one) == 4


def test_resume_trains_what_no_worker_has_and_takes_the_newest_first(bench):
    older, newer = planned(bench), planned(bench, optimizers="cm[batch=20]")
    for id in (newer, older):
        said = bench("resume", "--no-mlflow")
        assert said.code == 0
        assert said.err.startswith(f"Continuing comparison {id}: bench compare --optimizers ")
    with store() as opened:
        assert [c.status for c in opened.comparisons()] == ["done"] * 2
        assert [t.attempt for t in opened.trials()] == [1] * 4


def test_a_single_run_is_planned_and_resumed(bench):
    run = ("run", *USUAL, "--optimizer", NAG, "--seed", "3")
    said = bench(*run, "--plan", "plan.json")
    assert said.code == 0
    id = json.loads(Path("plan.json").read_text())["comparison"]
    assert f"Comparison {id} is recorded in " in said.err and "with 1 fleet to train" in said.err
    found = result(bench("resume", id, "--no-mlflow", "--json", "-"))
    assert [trial["seed"] for row in found["methods"] for trial in row["trials"]] == [3]


def test_what_is_on_record_is_left_out_of_a_plan(bench):
    assert bench(*COMPARE, "--optimizers", NAG).code == 0
    id = planned(bench, optimizers=f"{NAG},{QUICK_HF}")
    with store() as opened:
        labels = [[trial[1] for trial in f.task["trials"]] for f in opened.fleets(id)]
    assert labels == [["hf"], ["hf"]]
    assert len(json.loads(Path("plan.json").read_text())["tasks"]) == 2


def test_a_plan_says_how_to_go_on(bench):
    said = bench(*COMPARE, "--optimizers", NAG, "--plan", "plan.json")
    id = json.loads(Path("plan.json").read_text())["comparison"]
    lines = said.err.splitlines()[-4:]
    assert lines[1:] == [
        "  torchrun --nnodes=… --nproc-per-node=… -m bench.harness.execution.worker plan.json",
        "or, any number of times, bench worker --exit-when-empty.",
        f"After that, bench resume {id} shows the result.",
    ]
    assert not Path("plans").exists()


def test_a_dry_run_writes_no_plan(bench, workdir):
    said = bench(*COMPARE, "--optimizers", NAG, "--plan", "plan.json", "--dry-run")
    assert (said.code, list(workdir.iterdir())) == (0, [])


def test_a_plan_for_more_than_there_is_here_is_carried_out_elsewhere_and_judged_here(
    bench, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    id = planned(bench, "--nproc-per-node", "16", "--fresh")
    # As long as trials wait, this command would have to start the ranks.
    told = "--nproc-per-node 16: allowed are 1 to 2, the cores of this machine."
    refused(bench("resume", id, "--no-mlflow"), 2, told)
    assert bench("worker", "--exit-when-empty").code == 0
    with store() as opened:
        trained = opened.trials(id)
    said = bench("resume", id, "--no-mlflow")
    assert said.code == 0 and "--nproc-per-node 16:" not in said.err
    with store() as opened:
        assert opened.comparison(id).status == "done"
        assert opened.trials(id) == trained


def test_a_tuning_that_ends_leaves_the_comparison_that_it_was_for(bench, monkeypatch):
    """Whatever happens between the two, `bench resume` has something to go on with."""
    finish, there = Store.finish_comparison, []

    def killed(opened, id, status, *more):
        if opened.comparison(id).kind == "tuning" and status == "done":
            there.extend(c.id for c in opened.comparisons() if c.kind == "comparison")
            raise KeyboardInterrupt
        finish(opened, id, status, *more)

    tuned = (*COMPARE, "--optimizers", NAG, "--tune", "2")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish_comparison", killed)
        assert bench(*tuned).code == 130
    (id,) = there
    with store() as opened:
        trials = len(opened.trials())
        finish(opened, id, "interrupted", None)
    found = result(bench("resume", id, "--no-mlflow", "--json", "-"))
    assert found == result(bench(*tuned, "--json", "-"))
    assert found["methods"][0]["tuning"]["trials"] == 4
    with store() as opened:
        # Nothing was tuned again.
        assert len(opened.trials()) == trials + 2


# What cannot be done


def refused(said, code, *told):
    assert (said.code, said.out) == (code, "")
    assert "Traceback" not in said.err
    last = said.err.splitlines()[-1]
    assert last.startswith("bench: ")
    for each in told:
        assert each in last
    return said


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--nproc-per-node", "0"), "--nproc-per-node 0: allowed are 1 to "),
        (("--nproc-per-node", "-2"), "--nproc-per-node -2: allowed are 1 to "),
        (("--nproc-per-node", "1000"), "For several machines, use --plan and torchrun."),
        (("--nproc-per-node", "two"), "'--nproc-per-node': 'two' is not a valid integer"),
        (("--mode", "data"), "--nproc-per-node 2, or write a plan with --plan FILE"),
        (("--mode", "both"), "'--mode': 'both' is not one of"),
        (("--timed", "--plan", "p.json"), "but --mode trials runs several at a time. Leave out"),
        (("--plan", "p.json", "--tune", "2"), "--plan: which trials there are follows from tuning"),
    ],
)  # fmt: skip
def test_flags_that_make_no_sense(bench, workdir, flags, told):
    said = refused(bench(*COMPARE, "--optimizers", NAG, *flags), 2, told)
    assert len(said.err.splitlines()) == 1
    assert list(workdir.iterdir()) == []


def test_a_plan_before_tuning_is_refused(bench, workdir):
    grid = "nag[batch=20,lr=0.01|0.02]"
    refused(bench(*COMPARE, "--optimizers", grid, "--plan", "p.json"), 2, "write out the hyperpar")
    assert list(workdir.iterdir()) == []


def test_trials_side_by_side_are_not_timed(bench, workdir, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    flags = ("--timed", "--nproc-per-node", "2")
    refused(bench(*COMPARE, "--optimizers", NAG, *flags), 2, "--mode trials runs several at a time")
    assert list(workdir.iterdir()) == []
    for allowed in (
        (*flags, "--mode", "data"),
        ("--timed", "--nproc-per-node", "1"),
        ("--timed", "--plan", "plan.json", "--mode", "data"),
    ):
        assert bench(*COMPARE, "--optimizers", NAG, *allowed, "--dry-run").code == 0


def test_a_plan_that_cannot_be_written_can_be_resumed(bench, workdir):
    (workdir / "file").touch()
    said = bench(*COMPARE, "--optimizers", NAG, "--plan", "file/plan.json")
    refused(said, 4, "The plan file/plan.json cannot be written: ")
    with store() as opened:
        (record,) = opened.comparisons()
    assert f"`bench resume {record.id}` runs it" in said.err.splitlines()[-1]
    assert bench("resume", record.id, "--no-mlflow").code == 0


@pytest.mark.parametrize("command", [("resume",), ("worker", "--exit-when-empty")])
def test_without_a_store_there_is_nothing_to_go_on_with(bench, workdir, command):
    refused(bench(*command), 4, "There is no store at ", "`bench compare` makes one, and --store")
    assert list(workdir.iterdir()) == []


def test_nothing_is_unfinished(bench):
    store().close()
    refused(bench("resume"), 2, "There is no comparison to resume in ", "or are running.")


def test_a_comparison_that_there_is_not(bench):
    id = planned(bench)
    refused(bench("resume", "zzz"), 2, "There is no comparison 'zzz'", f"the nearest: {id}")


def test_one_that_is_done_is_not_resumed(bench):
    id = planned(bench)
    assert bench("resume", id, "--no-mlflow").code == 0
    refused(bench("resume", id, "--no-mlflow"), 2, f"Comparison {id} is done; bench show {id}")


def test_one_that_is_being_run_is_left_alone(bench):
    id = planned(bench)
    with store() as opened:
        opened.take_over(id, "elsewhere:17")
    said = bench("resume", id, "--no-mlflow")
    refused(said, 4, f"Comparison {id} is being run by elsewhere:17", "leaves it alone")
    refused(bench("resume", "--no-mlflow"), 2, "all are done, or are running.")
    with store() as opened:
        assert (opened.comparison(id).owner, opened.trials()) == ("elsewhere:17", [])


def test_one_of_an_earlier_version_has_no_plan(bench, filled):
    id = filled.comparison(command="bench compare --optimizers nag,cm")
    told = "Repeat its command: bench compare --optimizers nag,cm"
    refused(bench("resume", id), 2, f"Comparison {id} has no plan that this version", told)
    refused(bench("resume"), 2, "There is no comparison to resume in ")


@pytest.mark.parametrize("change", ["more", "less", "of the request"])
def test_a_plan_of_another_version_is_refused_in_a_sentence(bench, filled, change):
    body = plan().as_dict()
    if change == "less":
        del body["argv"]
    else:
        (body if change == "more" else body["request"])["later"] = 1
    id = filled.store.new_comparison(
        filled.protocol, "comparison", "bench compare --optimizers nag", plan=body,
        status="planned", shared=True,
    )  # fmt: skip
    told = "Repeat its command: bench compare --optimizers nag"
    for asked in (("resume", id), ("resume",)):
        refused(bench(*asked), 2, f"Comparison {id} has no plan that this version", told)
    filled.store.add_fleets(id, [(1.0, {})])
    said = bench("worker", "--exit-when-empty")
    assert said.code == 4 and "Traceback" not in said.err
    assert f"Comparison {id} cannot be trained here, so it is skipped: " in said.err
    assert [fleet.status for fleet in filled.store.fleets(id)] == ["planned"]


def test_one_for_ranks_that_train_together_says_how(bench):
    id = planned(bench, "--mode", "data")
    way = f"bench resume {id} --nproc-per-node 2"
    refused(bench("resume", id, "--no-mlflow"), 2, "wait for ranks which train them together", way)
    refused(bench("resume", id, "--nproc-per-node", "1000"), 2, "--nproc-per-node 1000: allowed")
    with store() as opened:
        assert opened.trials() == []
        assert opened.unfinished()[0].id == id


def test_other_versions_are_not_gone_on_with(bench, monkeypatch):
    id = planned(bench)
    with monkeypatch.context() as patch:
        patch.setattr(
            "bench.harness.planning.plan.versions", lambda: {**versions(), "bench": "9.9"}
        )
        told = ("was made with bench version ", "this machine has bench version 9.9")
        refused(bench("resume", id, "--no-mlflow"), 4, *told)
        said = bench("worker", "--exit-when-empty")
        assert said.code == 4
        assert all(each in said.err for each in told)
    with store() as opened:
        assert opened.trials() == []
        assert [fleet.status for fleet in opened.fleets(id)] == ["planned"]
    assert bench("resume", id, "--no-mlflow").code == 0
