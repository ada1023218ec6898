"""What is entered in the store is found in it, by one process or by several."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import MethodSpec, Protocol, TrialSpec, key_of
from bench.harness.store import tables
from bench.harness.store.results import Store

ROOT = Path(__file__).parents[3]
INF = math.inf


def test_a_comparison_is_read_back(store: Store, protocol: Protocol, comparison: str) -> None:
    assert len(comparison) == 8
    pairs = [
        {"a": "nag", "b": "hf", "verdict": "a better", "p": 0.01},
        {"a": "cm", "b": "hf", "verdict": "cannot tell", "p": math.nan},
    ]
    store.save_verdicts(comparison, pairs[:1])
    store.save_verdicts(comparison, pairs)
    store.finish_comparison(comparison, "done", {"n": 6, "mean": math.inf})
    found = store.comparison(comparison[:5].upper())
    assert (found.id, found.kind, found.status) == (comparison, "comparison", "done")
    assert found.protocol == protocol and found.protocol.key == protocol.key
    assert found.command == "bench compare --optimizers nag,hf"
    assert found.summary == {"n": 6, "mean": None}
    assert list(found.pairs) == [pairs[0], {**pairs[1], "p": None}]
    assert found.ended is not None and found.ended >= found.created
    other = store.new_comparison(protocol, "tuning", "bench compare")
    assert [c.id for c in store.comparisons()] == [other, comparison]
    assert [c.id for c in store.comparisons(limit=1)] == [other]


def test_a_trial_is_read_back(
    store: Store, spec: TrialSpec, comparison: str, begin: Callable[..., int]
) -> None:
    large = dataclasses.replace(spec, seed=2**53 - 1)
    id = begin(comparison, large, purpose="tuning", label="nag lr=.01", fleet_rows=4)
    found = store.trial(id)
    assert (found.key, found.attempt, found.seed) == (large.key, 1, 2**53 - 1)
    assert (found.method, found.method_name, found.backend) == ("nag lr=.01", "nag", "torch")
    assert found.hyperparameters == spec.method.hyperparameters
    assert found.method_key == spec.method.key and found.protocol_key == spec.protocol.key
    assert (found.status, found.purpose, found.seconds_are) == ("running", "tuning", "alone")
    assert found.context_digest == key_of({"threads": 1})
    assert found.anytime_updates is None
    assert [store.trial(begin(comparison, anytime_updates=n)).anytime_updates for n in (0, 9)] == (
        [0, 9]
    )
    assert store.context_of(found.context_digest) == {"threads": 1}
    assert store.info_of(id) == {"host": "here"}
    assert found.ledger == Ledger() and found.train_metric is None
    second = begin(comparison)
    assert [store.trials(comparison)[i] for i in (0, -1)] == [found, store.trial(second)]
    assert [t.id for t in store.trials(limit=1)] == [second]
    assert [t.id for t in store.trials(purpose="tuning")] == [id]


def test_two_spellings_of_a_number_are_one_key(
    store: Store, protocol: Protocol, comparison: str, begin: Callable[..., int]
) -> None:
    one = TrialSpec(protocol, MethodSpec("nag", "torch", {"lr": 0.01, "mu_max": 1.0}), 0)
    other = TrialSpec(protocol, MethodSpec("nag", "torch", {"mu_max": 1, "lr": 1e-2}), 0)
    first, second = begin(comparison, one), begin(comparison, other)
    assert store.trial(first).key == store.trial(second).key
    assert [store.trial(i).attempt for i in (first, second)] == [1, 2]


def test_values_of_every_kind_are_read_back_as_they_were(
    store: Store, protocol: Protocol, comparison: str, begin: Callable[..., int]
) -> None:
    given = {"betas": (0.9, 0.99), "deep": ((1, "a"), ()), "clip": None, "rule": "x", "on": True}
    spec = TrialSpec(protocol, MethodSpec("mine", "torch", given), 0)
    found = store.trial(begin(comparison, spec))
    assert found.hyperparameters == given
    again = MethodSpec(found.method_name, found.backend, found.hyperparameters)
    assert again.key == spec.method.key == found.method_key
    listed = MethodSpec("mine", "torch", {**given, "betas": [0.9, 0.99], "deep": [[1, "a"], []]})
    assert listed.key == spec.method.key


def test_measurements_are_read_back_with_nan_and_infinities(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    one, other = begin(comparison), begin(comparison)
    rows = [measured(0, 0.1, lam=45.0), measured(1, math.nan, rho=-INF), measured(2, INF)]
    store.record([(one, m) for m in rows[:2]] + [(other, rows[2])])
    store.record([(one, m) for m in reversed(rows)])
    found = store.measurements([one, other, 99])
    assert repr(found[one]) == repr(rows)
    assert repr(found[other]) == repr(rows[2:]) and found[99] == []
    # The trial shows where it stands, even if older rows are written again.
    store.record([(one, rows[0])])
    assert store.trial(one).ledger == rows[2].ledger
    assert store.trial(one).train_metric is None and store.trial(one).test_metric == 2.0


def test_what_was_measured_after_a_state_can_be_forgotten(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    id, other = begin(comparison), begin(comparison)
    rows = [measured(index, rho=0.5) for index in range(4)]
    store.record([(each, m) for each in (id, other) for m in rows])
    store.delete_measurements(id, 2)
    assert store.measurements([id, other]) == {id: rows[:2], other: rows}
    # They are taken again, and may be others now.
    again = measured(2, 7.0)
    store.record([(id, again)])
    assert store.measurements([id])[id] == [*rows[:2], again]
    store.delete_measurements(id, 0)
    assert store.measurements([id, other]) == {id: [], other: rows}


def test_an_end_is_kept(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    id, last = begin(comparison), measured(3)
    ledger = dataclasses.replace(last.ledger, updates=31, gradients=1 / 3)
    store.end(id, "diverged", "the loss is not finite at update 31", ledger, last)
    found = store.trial(id)
    assert (found.status, found.ledger, found.train_metric) == ("diverged", ledger, 1.0)
    assert found.reason == "the loss is not finite at update 31"
    store.end(id, "failed", "again", Ledger(), None)
    store.record([(id, measured(9))])
    assert store.trial(id) == found


def test_only_equal_source_and_context_are_reused(
    store: Store, protocol: Protocol, spec: TrialSpec, comparison: str, begin: Callable[..., int]
) -> None:
    context = key_of({"threads": 1})
    ids = [begin(comparison) for _ in range(4)]
    for id, status in zip(ids, ("budget", "diverged", "failed", "interrupted"), strict=True):
        assert store.find_reusable(spec.key, "s", "another") is None
        store.end(id, status, None, Ledger(), None)
    found = store.find_reusable(spec.key, "s", context)
    assert found is not None and found.id == ids[1]
    assert store.find_reusable(spec.key, "edited", context) is None
    later = store.new_comparison(protocol, "comparison", "bench compare")
    store.adopt(later, found.id)
    store.adopt(later, found.id)
    assert store.trials(later) == [found]
    assert store.comparison(later).reused == {found.id}
    assert store.comparison(comparison).reused == frozenset()


def test_many_are_asked_for_at_once(
    store: Store, protocol: Protocol, spec: TrialSpec, comparison: str, begin: Callable[..., int]
) -> None:
    first = begin(comparison)
    store.finish_comparison(comparison, "done", None)
    assert not store.is_running()
    second = store.new_comparison(protocol, "comparison", "bench compare")
    assert store.is_running()
    # Taken over before anything is begun in it, and by a third comparison too.
    store.adopt(second, first)
    others = [
        begin(second, dataclasses.replace(spec, seed=seed), label=f"hf {seed}") for seed in (2, 1)
    ]
    third = store.new_comparison(protocol, "comparison", "bench compare")
    store.adopt(third, first)
    assert store.comparisons_of([first, others[0], 99]) == {
        first: [comparison, second, third],
        others[0]: [second],
        99: [],
    }
    assert store.methods_and_seeds([second, third, comparison]) == {
        second: [("nag", 0), ("hf 2", 2), ("hf 1", 1)],
        third: [("nag", 0)],
        comparison: [("nag", 0)],
    }
    assert store.methods_and_seeds([]) == {} == store.comparisons_of([])
    assert [c.id for c in store.comparisons(ids=[comparison, third])] == [third, comparison]
    assert store.comparisons(ids=[]) == []
    assert [store.count(what) for what in ("trials", "comparisons", "claims")] == [3, 3, 0]


def test_the_dead_are_ended_and_the_living_are_not(
    store: Store,
    protocol: Protocol,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    done, dead = begin(comparison), begin(comparison)
    store.end(done, "budget", None, Ledger(), None)
    store.record([(dead, measured(2))])
    idle = store.new_comparison(protocol, "comparison", "bench compare")
    assert store.end_dead() == []
    ended = store.end_dead(older_than_s=0)
    assert [t.id for t in ended] == [dead]
    assert ended[0].status == "interrupted" and ended[0].ended is not None
    assert ended[0].reason is not None and "its process died (no heartbeat since" in ended[0].reason
    assert ended[0].ledger == measured(2).ledger
    assert store.trial(done).status == "budget"
    assert store.comparison(comparison).status == "interrupted"
    assert store.comparison(idle).status == "interrupted"
    assert store.end_dead(older_than_s=0) == []
    # A process that had only been asleep says how its trial really ended.
    store.end(dead, "budget", None, Ledger(), None)
    assert store.trial(dead).status == "budget"


def test_a_living_trial_keeps_its_comparison(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    dead, living = begin(comparison), begin(comparison)
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    with store._write() as connection:
        for table in (tables.trial, tables.comparison):
            connection.execute(table.update().values(heartbeat=long_ago))
    store.heartbeat("me", [living])
    (ended,) = store.end_dead()
    assert ended.id == dead
    assert ended.reason == "its process died (no heartbeat since 2000-01-01 00:00:00 UTC)"
    assert store.trial(living).status == store.comparison(comparison).status == "running"
    # A living trial is enough, though another process began the comparison.
    with store._write() as connection:
        connection.execute(tables.comparison.update().values(heartbeat=long_ago))
    assert store.end_dead() == []
    assert store.comparison(comparison).status == "running"


def test_an_unknown_id_names_the_nearest(
    store: Store, protocol: Protocol, comparison: str, begin: Callable[..., int]
) -> None:
    ids = [begin(comparison) for _ in range(5)]
    with pytest.raises(Usage, match="no trial 7 .*nearest: 3, 4, 5"):
        store.trial(7)
    for far in (-(10**30), 10**30):
        with pytest.raises(Usage, match="There is no trial"):
            store.trial(far)
    assert ids == [1, 2, 3, 4, 5]
    with pytest.raises(Usage, match=f"nearest: .*{comparison}"):
        store.comparison(comparison[:7] + "x")
    with pytest.raises(Usage, match="There is no comparison ''"):
        store.comparison("")
    ids = {store.new_comparison(protocol, "run", "bench run")[0] for _ in range(40)}
    with pytest.raises(Usage, match="is the beginning of"):
        # Of 40 ids, two begin alike.
        for first in ids:
            store.comparison(first)
    with pytest.raises(Usage, match="no context"):
        store.context_of("x")


def test_seeds_out_of_range_are_refused(
    spec: TrialSpec, comparison: str, begin: Callable[..., int]
) -> None:
    for seed in (-1, 2**53):
        with pytest.raises(Usage, match="allowed are 0 to"):
            begin(comparison, dataclasses.replace(spec, seed=seed))


def test_what_mlflow_lacks_is_known(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    id = begin(comparison)
    assert store.unsynced() == []
    store.record([(id, measured(0)), (id, measured(1))])
    (found,) = store.unsynced()
    assert (found.trial.id, found.comparisons, found.synced) == (id, (comparison,), -1)
    assert found.info == {"host": "here"}
    store.mark_synced(id, "run", 1, ended=False)
    assert store.unsynced() == [] and store.trial(id).mlflow_run_id == "run"
    store.end(id, "budget", None, Ledger(), None)
    assert [u.synced for u in store.unsynced()] == [1]
    store.mark_synced(id, "run", 1, ended=True)
    assert store.unsynced() == [] == store.unsynced_comparisons()
    store.finish_comparison(comparison, "done", None)
    assert [c.id for c in store.unsynced_comparisons()] == [comparison]
    store.mark_comparison_synced(comparison, "run2")
    assert store.unsynced_comparisons() == []
    assert store.comparison(comparison).mlflow_run_id == "run2"


RACE = """
import sys
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.results import Store
protocol = Protocol("curves", {}, "quick", "d", "0", "i", "o", "m", "lower",
                    Budget("updates", 10), "fp32", 10)
spec = TrialSpec(protocol, MethodSpec("nag", "torch", {"lr": 0.01}), 0)
sys.stdin.readline()
with Store.open(sys.argv[1]) as store:
    comparison = store.new_comparison(protocol, "comparison", "bench compare")
    for _ in range(5):
        store.begin(comparison, spec, label="nag", purpose="reported", source_digest="s",
                    context={}, info={}, fleet_rows=1, seconds_are="shared", owner="me")
"""


def test_four_processes_open_an_empty_store_and_count_attempts(url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in processes]
    assert told == [""] * 4
    with Store.open(url) as store:
        assert sorted(t.attempt for t in store.trials()) == list(range(1, 21))
        assert len(store.comparisons()) == 4


def test_a_moved_store_is_not_written_to(
    store_url: str, protocol: Protocol, tmp_path: Path
) -> None:
    with Store.open(store_url) as store:
        path = tmp_path / "mlruns" / "bench.db"
        path.rename(tmp_path / "elsewhere.db")
        with pytest.raises(Infrastructure, match="was moved or deleted"):
            store.new_comparison(protocol, "run", "bench run")
        (tmp_path / "elsewhere.db").rename(path)
        store.new_comparison(protocol, "run", "bench run")


def test_passwords_on_command_lines_are_not_stored(store: Store, protocol: Protocol) -> None:
    id = store.new_comparison(protocol, "run", "bench run --store postgresql://me:pa@ss@host/db")
    assert store.comparison(id).command == "bench run --store postgresql://me:***@host/db"
