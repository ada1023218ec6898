"""Trials in this process: what is recorded of each, however it ends, and what is run again."""

import errno
import signal
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.harness.core.errors import Infrastructure
from bench.harness.core.spec import Budget
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.pool import PoolTrainer
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run
from bench.harness.execution.torchrun import TorchrunTrainer
from bench.harness.execution.trainer import LocalTrainer, execute
from bench.harness.planning.fleets import (
    group_into_fleets,
    label_methods,
    make_methods,
    make_protocol,
    make_trials,
)
from bench.harness.store.results import Store
from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.harness.training.interrupt import InterruptedRun, InterruptFlag
from bench.harness.training.machine import Machine
from bench.models.problem import DataSource
from bench.optim.text import parse, split
from tests.harness.small import make, request

PROBLEM = make("quick")
DATA = PROBLEM.data(DataSource(()))
BUDGET = Budget("updates", 100.0)
PROTOCOL = make_protocol(PROBLEM, DATA, BUDGET, "fp32")
OWN = "tests.harness.plugins:"


@pytest.fixture
def store(store_url):
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    if "picture" not in request.node.name:
        monkeypatch.setattr(LeasedFleet, "_draw", lambda *given: None)


class Runs:
    """Makes runs that share a store, and keeps what they said."""

    def __init__(self, store):
        self.store, self.said = store, []
        self.interrupted = InterruptFlag()

    def new(self, **given):
        machine = Machine(torch.device("cpu"), 1, "fp32")
        usual = {
            "store": self.store,
            "comparison_id": self.store.new_comparison(PROTOCOL, "comparison", "bench compare"),
            "protocol": PROTOCOL,
            "problem": PROBLEM,
            "data": DATA,
            "tensors": DeviceData.from_data(DATA, machine.device, torch.float32),
            "machine": machine,
            "interrupted": self.interrupted,
            "say": self.said.append,
            "methods": [],
            "command_of": lambda trial: f"bench run --seed {trial.spec.seed}",
        }
        return Run(**{**usual, **given})

    def execute(self, text, seeds=1, purpose="reported", fresh=False, show=None, **given):
        every = [
            m for each in split(text) for m in make_methods(parse(each), PROBLEM, BUDGET, "cpu")
        ]
        run, bars = self.new(methods=every, **given), Bars()
        if show is not None:
            bars.fleet = lambda *fleet: nullcontext(show)
        planned = make_trials(label_methods(every), PROTOCOL, range(seeds), purpose)
        return [self.store.trial(i) for i in execute(run, planned, bars, LocalTrainer(), fresh)]

    def recorded(self):
        return self.store.trials()


@pytest.fixture
def runs(store):
    return Runs(store)


def test_every_trial_is_recorded_whole(runs, store):
    ended = runs.execute("nag[batch=20],hf[cg_max=5]", seeds=2)
    assert [(t.method, t.seed, t.status, t.attempt) for t in ended] == [
        (label, seed, "budget", 1) for seed in (0, 1) for label in ("nag", "hf")
    ]
    assert [t.fleet_rows for t in ended] == [2, 1, 2, 1]
    for trial in ended:
        taken = store.measurements([trial.id])[trial.id]
        # Updates below 1 are none: of the grid from 0.1 on, one point is of the start.
        assert [m.index for m in taken] == list(range(len(taken)))
        assert taken[0].ledger.updates == 0
        assert taken[-1].ledger == trial.ledger
        assert trial.ledger.updates == 100
        assert (taken[-1].train_metric, taken[-1].test_metric) == (
            trial.train_metric, trial.test_metric,
        )  # fmt: skip
        assert store.context_of(trial.context_digest)["fleet_rows"] == trial.fleet_rows
        info = store.info_of(trial.id)
        assert info["host"]
        assert ("choices" in info) is (trial.method == "hf")


def test_a_trial_on_record_is_taken_over(runs, store):
    first = runs.execute("nag[batch=20],hf[cg_max=5]")
    run = runs.new()
    again = runs.execute("nag[batch=20],hf[cg_max=5]", comparison_id=run.comparison_id)
    assert [t.id for t in again] == [t.id for t in first]
    assert store.comparison(run.comparison_id).reused == {t.id for t in first}
    (said,) = runs.said
    assert said.startswith("2 of 2 trials are on record, with the same key, source and context")


def test_fresh_runs_it_again(runs):
    (first,), (second,) = runs.execute("nag[batch=20]"), runs.execute("nag[batch=20]", fresh=True)
    assert (first.key, second.key) == (second.key, first.key)
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.train_metric == first.train_metric
    assert runs.said == []


@pytest.mark.parametrize("other", ["threads", "timed"])
def test_another_context_is_not_taken_over(runs, other):
    runs.execute("nag[batch=20]")
    machine = Machine(torch.device("cpu"), 2, "fp32")
    (second,) = runs.execute(
        "nag[batch=20]", **({"machine": machine} if other == "threads" else {"timed": True})
    )
    assert second.attempt == 2
    assert second.seconds_are == ("shared" if other == "threads" else "alone")


def test_a_timed_trial_serves_an_untimed_comparison(runs):
    (first,) = runs.execute("nag[batch=20]", timed=True)
    assert runs.execute("nag[batch=20]") == [first]


def test_a_fleet_is_taken_over_whole_or_run_whole(runs, store):
    """Rows run later in a smaller fleet would never be found again."""
    first = runs.execute("nag[batch=20],cm[batch=20]")
    with store._write() as connection:
        connection.exec_driver_sql(
            f"UPDATE bench_trial SET status = 'interrupted' WHERE id = {first[0].id}"
        )
    second = runs.execute("nag[batch=20],cm[batch=20]")
    assert [t.attempt for t in second] == [2, 2]
    assert [t.train_metric for t in second] == [t.train_metric for t in first]
    assert runs.execute("nag[batch=20],cm[batch=20]") == second


def test_a_signal_ends_it_between_two_updates(runs, store):
    def stop(progress):
        runs.interrupted.name = "SIGINT"

    with pytest.raises(InterruptedRun):
        runs.execute("nag[batch=20],hf[cg_max=5]", show=stop)
    (trial,) = runs.recorded()
    assert (trial.status, trial.reason) == ("interrupted", "interrupted by a signal")
    assert 0 < trial.ledger.updates < 100
    assert store.measurements([trial.id])[trial.id]
    runs.interrupted = InterruptFlag()
    again = runs.execute("nag[batch=20],hf[cg_max=5]")
    assert [(t.status, t.attempt) for t in again] == [("budget", 2), ("budget", 1)]


def test_a_second_ctrl_c_is_recorded_too(runs):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.execute("nag[batch=20],cm[batch=20]", show=stop)
    assert {(t.status, t.reason) for t in runs.recorded()} == {
        ("interrupted", "interrupted by a signal")
    }


def test_memory_that_runs_out_loses_nothing(runs, store):
    with pytest.raises(Infrastructure, match=r"fleet of K = 1: it needs .* what is missing"):
        runs.execute(f"nag,{OWN}Hungry,hf", seeds=1)
    nag, hungry = runs.recorded()
    assert (nag.status, hungry.status) == ("budget", "failed")
    assert hungry.reason.startswith("Memory ran out while hungry on small / quick trained")
    assert len(store.measurements([hungry.id])[hungry.id]) > 1


def test_a_failure_is_told_whatever_memory_there_is(runs, monkeypatch):
    """What is to be said of memory is made before anything is begun, not when it fails."""
    run, made = runs.new(), []
    memory = type(run.memory)

    def made_once(*given):
        assert not made, "memory was looked at again"
        made.append(memory(*given))
        return made[-1]

    monkeypatch.setattr("bench.harness.execution.run.MemoryModel", made_once)
    with pytest.raises(ZeroDivisionError):
        runs.execute(f"{OWN}Failing")
    assert [trial.status for trial in runs.recorded()] == ["failed"]


@pytest.mark.parametrize(("room", "share"), [(2**29, (2, 0)), (2**40, (1, 1))])
def test_processes_are_as_many_as_memory_takes(runs, monkeypatch, room, share):
    monkeypatch.setattr("bench.harness.execution.pool.process_count", lambda seconds, threads: 2)
    monkeypatch.setattr("bench.harness.training.memory.free_memory", lambda device: room)
    run = runs.new(machine=Machine(torch.device("cpu"), 2, "fp32"))
    every = [m for each in split("hf") for m in make_methods(parse(each), PROBLEM, BUDGET, "cpu")]
    planned = make_trials(label_methods(every), PROTOCOL, range(2), "reported")
    groups = group_into_fleets(planned, run.memory, run.timed)
    of_one = PoolTrainer(request(runs.store.url, "hf")).share(run, groups)
    assert (of_one.threads, of_one.other_fleets) == share


@pytest.mark.parametrize(
    ("mode", "seeds", "path", "refused"),
    [
        ("trials", 2, None, True),
        # One fleet keeps one of two ranks busy, unless they train it together.
        ("trials", 1, None, False),
        ("data", 1, None, True),
        # How much there is where they are started is not known here.
        ("data", 1, "plan.json", False),
    ],
)
def test_ranks_that_do_not_fit_side_by_side_are_refused(
    runs, monkeypatch, mode, seeds, path, refused
):
    every = make_methods(parse("hf"), PROBLEM, BUDGET, "cpu")
    groups = [[t] for t in make_trials(label_methods(every), PROTOCOL, range(seeds), "reported")]
    plan = SimpleNamespace(request=SimpleNamespace(plan=path))

    def share(room):
        monkeypatch.setattr("bench.harness.training.memory.free_memory", lambda device: room)
        run = runs.new(machine=Machine(torch.device("cpu"), 2, "fp32"), methods=every)
        return TorchrunTrainer(plan, 2, mode).share(run, groups)

    machine = share(2**40)
    assert (machine.threads, machine.ranks) == (1, 2 if mode == "data" else 1)
    if not refused:
        assert share(2**20) == machine
        return
    with pytest.raises(Infrastructure) as told:
        share(2**20)
    assert str(told.value) == (
        "The memory of this machine is enough for 1 ranks, but 2 were requested: write "
        "--nproc-per-node 1, or a smaller batch or preset."
    )


def test_a_fleet_that_would_not_fit_is_not_begun(runs, store, monkeypatch):
    monkeypatch.setattr("bench.harness.training.memory.free_memory", lambda device: 1000)
    with pytest.raises(
        Infrastructure, match=r"needs .* one trial \(K = 1\).* has 1 KiB .*nothing was started"
    ):
        runs.execute("nag", seeds=2)
    assert not runs.recorded()


def test_a_method_that_raises(runs, store):
    with pytest.raises(ZeroDivisionError):
        runs.execute(f"nag[batch=20],{OWN}Failing")
    nag, failing = runs.recorded()
    assert nag.status == "budget"
    assert (failing.status, failing.reason) == ("failed", "ZeroDivisionError('at ten')")
    assert failing.ledger.updates == 9
    assert store.measurements([failing.id])[failing.id]


def test_a_method_that_cannot_go_on(runs):
    (trial,) = runs.execute(f"{OWN}Stopping")
    assert (trial.status, trial.reason) == ("budget", "it has had enough")
    assert trial.ledger.updates == 10
    # Where it stands is its outcome, which is taken over.
    assert runs.execute(f"{OWN}Stopping")[0].id == trial.id


def test_a_row_that_diverges_leaves_its_mates(runs):
    wild, tame = runs.execute("nag[batch=20,lr=1e38],nag[batch=20]")
    assert (wild.status, tame.status) == ("diverged", "budget")
    (alone,) = runs.execute("nag[batch=20]")
    assert alone.attempt == 2, "a fleet of one is another context"
    assert tame.train_metric == pytest.approx(alone.train_metric, rel=1e-5)


def test_a_store_that_cannot_take_everything(runs, store, monkeypatch):
    def fail(*given):
        raise Infrastructure("The store is away.")

    monkeypatch.setattr(store, "record", fail)
    with pytest.raises(Infrastructure, match="`bench resume [0-9a-f]{8}` shows the result"):
        runs.execute("nag[batch=20]")
    monkeypatch.undo()
    (trial,) = runs.recorded()
    assert trial.status == "running"
    monkeypatch.setattr(LeasedFleet, "_draw", lambda *given: None)
    runs.said.clear()
    runs.execute("cm[batch=20]")
    assert "have been written to the store" in runs.said[0]
    assert store.trial(trial.id).status == "budget"
    assert runs.execute("nag[batch=20]")[0].id == trial.id


def test_a_picture_a_reported_trial(runs, store):
    (reported,) = runs.execute("nag[batch=20]")
    folder = store.files_of_trial(reported.id)
    assert sorted(f.name for f in folder.iterdir()) == [
        "reconstructions.npy", "reconstructions.png", "reconstructions_before.npy",
    ]  # fmt: skip
    before, after = (np.load(folder / f"reconstructions{which}.npy") for which in ("_before", ""))
    problem, seed = make("quick"), reported.seed
    start = initial_parameters(problem, [seed], torch.device("cpu"), torch.float32)
    data = problem.data(DataSource(()))
    # Five of sixty training and five of thirty test cases.
    cases = np.concatenate([data.train_inputs[::12], data.test_inputs[::6]])
    inputs = torch.from_numpy(cases)[None]
    expected = problem.outputs(problem.passes().logits(start, inputs))[0].reshape(-1, 4, 4)
    np.testing.assert_array_equal(before, expected)
    assert np.abs(after - before).max() > 0.05
    (tuning,) = runs.execute("cm[batch=20]", purpose="tuning")
    assert not store.files_of_trial(tuning.id).exists()


def test_no_room_for_a_picture(runs, store, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.harness.execution.reconstructions.reconstructions", full)
    (trial,) = runs.execute("nag[batch=20]")
    assert trial.status == "budget"
    (said,) = runs.said
    assert said.startswith(f"Trial {trial.id} has no picture: [Errno 28] No space left")


def test_methods_take_turns(runs):
    ended = runs.execute("sgd[batch=20],nag[batch=20]", seeds=2, timed=True)
    assert [t.method for t in ended] == ["sgd", "nag"] * 2
    assert [t.id for t in ended] == sorted(t.id for t in ended)
    assert Counter(t.seconds_are for t in ended) == {"alone": 4}


def test_signals_are_left_alone(runs):
    before = signal.getsignal(signal.SIGINT)
    runs.execute("nag[batch=20]")
    assert signal.getsignal(signal.SIGINT) == before
