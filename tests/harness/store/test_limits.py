"""What SQLite and PostgreSQL take in different ways is the same in both, or refused by both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.harness.core.errors import Infrastructure, LeaseLost, Usage
from bench.harness.core.records import Certificate, Ledger, Measurement
from bench.harness.core.spec import Protocol, TrialSpec
from bench.harness.store.results import Store

SECRET = "postgresql://me:secret@host/db"


def test_texts_that_are_longer_than_their_columns(
    store: Store, protocol: Protocol, comparison: str, spec: TrialSpec, begin: Callable[..., int]
) -> None:
    with pytest.raises(Usage, match="The preset xxx.* has 65 characters, .* at most 64"):
        store.new_comparison(replace(protocol, preset="x" * 65), "run", "bench run")
    with pytest.raises(Usage, match="The backend .* has 65 characters"):
        begin(comparison, replace(spec, method=replace(spec.method, backend="x" * 65)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_ledgers_and_costs_that_are_not_finite(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    value: float,
) -> None:
    with pytest.raises(Infrastructure, match="the cost of a fleet is .* must be finite"):
        store.add_fleets(comparison, [(value, {})])
    trial = begin(comparison)
    with pytest.raises(Infrastructure, match="gradients is .* must be finite"):
        store.record([(trial, replace(measured(0), ledger=Ledger(gradients=value)))])
    with pytest.raises(Infrastructure, match="seconds is .* must be finite"):
        store.end(trial, "budget", None, Ledger(seconds=value), None)


def test_numbers_that_no_column_holds(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    trial, huge = begin(comparison), 10**30
    assert store.known_trials([trial, huge, -huge, 2**31]) == {trial}
    assert store.comparisons_of([trial])[trial] == [comparison]
    assert store.measurements([huge]) == {huge: []}
    assert store.info_of(huge) == {}
    assert store.heartbeat("me", [trial, huge], [huge]) == {huge}


def test_more_ids_than_one_statement_takes(store: Store, comparison: str) -> None:
    assert store.known_trials(range(300_000)) == set()
    (record,) = store.comparisons(ids=[comparison, *(f"{i:08x}" for i in range(70_000))])
    assert record.id == comparison
    assert len(store.heartbeat("me", range(70_000), range(70_000))) == 70_000


def test_limits_below_zero(store: Store, comparison: str, begin: Callable[..., int]) -> None:
    begin(comparison)
    for ask in (store.trials, store.comparisons, store.claims, store.nights):
        with pytest.raises(Usage, match="limit=-1: allowed are whole numbers from 0"):
            ask(limit=-1)
    assert store.trials(limit=0) == [] and store.comparisons(limit=0) == []
    assert len(store.trials(limit=10**30)) == len(store.comparisons(limit=10**30)) == 1


def test_who_has_lost_a_comparison_does_not_end_it(store: Store, protocol: Protocol) -> None:
    id = store.new_comparison(protocol, "comparison", "bench compare", owner="other:1")
    with pytest.raises(LeaseLost, match="was taken over by another process"):
        store.finish_comparison(id, "done", {}, "me:1")
    assert store.comparison(id).status == "running"
    store.finish_comparison(id, "done", {}, "other:1")
    assert store.comparison(id).status == "done"


def test_who_has_lost_a_trial_does_not_end_it(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    trial = begin(comparison, owner="other:1")
    store.end(trial, "failed", "late", Ledger(), None, "me:1")
    assert store.trial(trial).status == "running"
    store.end(trial, "budget", None, Ledger(), None, "other:1")
    assert store.trial(trial).status == "budget"


def test_no_password_in_labels_notes_and_commands(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    command = f"bench run --store {SECRET}"
    made = Certificate("1" * 64, "2" * 64, "3" * 64, {}, command)
    trial = store.trial(begin(comparison, label=f"x[{SECRET}]", certificate=made))
    store.accept("main", comparison, f"from {SECRET}")
    told = [trial.method, str(trial.certificate), str(store.baselines())]
    assert all("secret" not in text and "***" in text for text in told)
