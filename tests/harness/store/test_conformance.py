"""What a store of results must do, whichever database holds it: its laws, and a model of it.

Each test runs on every backend of the fixture `url`, so a new backend is one line in conftest.py.
The laws use the public methods of `Store` alone. Other files test each of them in depth.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.records import Certificate, ComparisonRecord, Ledger, Measurement, Status
from bench.harness.core.spec import MethodSpec, Protocol, TrialSpec, key_of
from bench.harness.store import tables
from bench.harness.store.owner import process_name, this_process
from bench.harness.store.results import Store
from bench.harness.store.transfer.export import export
from bench.harness.store.transfer.importer import import_folder
from tests.harness.store import mirrored, test_leases, test_take_over, test_upgrades
from tests.harness.store.test_measurements import exactly
from tests.harness.store.test_take_over import at_once
from tests.harness.store.test_upgrades import everything
from tests.harness.store.transfer.stores import fill

# Fixtures of other files: a store at an earlier revision, and owners that are dead or alive.
earlier = test_upgrades.earlier
gone, living = test_take_over.gone, test_take_over.living

PLAN = {"problem": "curves"}
CONTEXT = {"threads": 1}
ELSEWHERE = "elsewhere:1"
"""A process of another host: it is alive until it has been silent for a minute."""

TEXTS = (
    "",
    "'; DROP TABLE bench_trial; -- \" ` %s %(a)s :b ? \\ \\n {} ${c}",
    "a\r\n\tb\x01\x1b[31m\x7f",
    "😀👩\u200d🔬 ﷺ e\u0301 \u202e\ufeff\U0010ffff",
    "é" * 100_000,
)


def readable(store: Store) -> dict[str, Any]:
    """Return all that a store has to read, without the numbers that it gave to its rows."""
    trials = store.trials()
    names = {trial.id: trial.uuid for trial in trials}
    measurements, links = store.measurements(names), store.comparisons_of(names)
    return {
        "trials": {
            trial.uuid: {
                **asdict(replace(trial, id=0)),
                "protocol": store.protocol(trial.protocol_key),
                "context": store.context_of(trial.context_digest),
                "info": store.info_of(trial.id),
                "measurements": [exactly(asdict(each)) for each in measurements[trial.id]],
                "comparisons": links[trial.id],
            }
            for trial in trials
        },
        "comparisons": [
            {
                **asdict(comparison),
                "reused": {names[id] for id in comparison.reused},
                "plan": (plan := store.plan(comparison.id)) and (plan.digest, plan.body),
                "fleets": [
                    {**asdict(replace(fleet, id=0)), "trials": [names[id] for id in fleet.trials]}
                    for fleet in store.fleets(comparison.id)
                ],
            }
            for comparison in store.comparisons()
        ],
        "unfinished": [comparison.id for comparison in store.unfinished()],
        "claims": store.claims(),
        "baselines": store.baselines(),
        "nights": store.nights(),
        "noise": store.noises(),
    }


@pytest.fixture
def planned(store: Store, protocol: Protocol) -> Callable[..., str]:
    """Enter a comparison with a plan and fleets of these costs."""

    def enter(*costs: float, **given: Any) -> str:
        usual: dict[str, Any] = {"plan": PLAN, "status": "planned"}
        id = store.new_comparison(protocol, "comparison", "bench compare", **{**usual, **given})
        store.add_fleets(id, [(cost, {"row": row}) for row, cost in enumerate(costs)])
        return id

    return enter


# What is written is read.


def test_every_number_comes_back_to_the_bit(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    """NaN, infinities, subnormals and the largest numbers are read as they were recorded.

    A database may lose the sign of a measured 0; a diagnostic keeps it.
    """
    strange = (math.nan, math.inf, -math.inf, -0.0, 5e-324, -2.2e-310, 1.797e308, 1 / 3)
    ledger = Ledger(2**53, 2**62, 1 / 3, 2**31, 1, 5e-324, 2**63 - 1)
    rows = [
        Measurement(i, ledger, value, -value, 2 * value, 1.0, {"lam": value, "": -value})
        for i, value in enumerate(strange)
    ]
    id = begin(comparison)
    store.record([(id, row) for row in rows])
    found = store.measurements([id])[id]
    assert [exactly(asdict(each)) for each in found] == [exactly(asdict(each)) for each in rows]
    assert math.copysign(1, found[3].diagnostics["lam"]) == -1
    assert store.trial(id).ledger == ledger


def test_texts_of_every_kind_survive(
    store: Store, protocol: Protocol, begin: Callable[..., int]
) -> None:
    """A text is read as it was written, wherever it stands."""
    for text in TEXTS:
        said = {"said": [text], text: None}
        named = replace(protocol, problem=text, parameters=said)
        method = MethodSpec(text, "torch", {"name": text})
        certificate = Certificate("1" * 64, "2" * 64, "3" * 64, said, text)
        id = store.new_comparison(named, "run", text, plan=said, owner=text)
        store.add_fleets(id, [(1.0, said)])
        usual = {"label": text, "context": said, "info": said, "certificate": certificate}
        trial = begin(id, TrialSpec(named, method, 0), **usual)
        store.record([(trial, Measurement(0, Ledger(), 1.0, 1.0, 1.0, 1.0, {text: 0.5, "x": 1.0}))])
        store.end(trial, "failed", text, Ledger(), None)
        store.save_verdicts(id, [{"a": "a", "b": "b", "why": text}])
        store.finish_comparison(id, "done", said)

        found, plan = store.comparison(id), store.plan(id)
        assert (found.protocol, found.command, found.owner) == (named, text, text)
        assert (found.summary, found.pairs[0]["why"]) == (said, text)
        assert plan is not None and plan.body == said == store.fleets(id)[0].task
        tried = store.trial(trial)
        assert (tried.method, tried.method_name, tried.reason) == (text, text, text)
        assert (tried.hyperparameters, tried.certificate) == ({"name": text}, certificate)
        assert store.context_of(tried.context_digest) == said == store.info_of(trial)
        assert store.measurements([trial])[trial][0].diagnostics == {text: 0.5, "x": 1.0}


def test_what_databases_cannot_store_is_refused_in_names_and_replaced_elsewhere(
    store: Store, protocol: Protocol, spec: TrialSpec, begin: Callable[..., int]
) -> None:
    """A text that a key is computed from is refused with a sentence; others get U+FFFD."""
    for text in ("a\0b", "a\ud800b"):
        id = store.new_comparison(protocol, "run", text)
        named = replace(protocol, problem=text)
        method = MethodSpec("nag", "torch", {"name": text})
        writes: list[Callable[[], object]] = [
            partial(store.new_comparison, named, "run", "bench run"),
            partial(store.new_comparison, protocol, "run", "bench run", plan={text: 1}),
            partial(store.add_fleets, id, [(1.0, {"name": text})]),
            partial(begin, id, replace(spec, method=method)),
            partial(begin, id, context={"device": text}),
        ]
        for write in writes:
            with pytest.raises(Usage, match=r"NUL.*half of a surrogate pair.*\.$"):
                write()
        trial = begin(id, label=text, info={text: text})
        store.end(trial, "failed", text, Ledger(), None)
        stored = "a\ufffdb"
        assert store.comparison(id).command == stored
        assert (store.trial(trial).method, store.trial(trial).reason) == (stored, stored)
        assert store.info_of(trial) == {stored: stored}


def test_writing_twice_is_writing_once(
    store: Store,
    planned: Callable[..., str],
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """Whoever is not sure whether a write arrived may write again."""
    id, other = planned(), planned()
    trial = begin(id)
    pairs = [{"a": "nag", "b": "hf", "p": 0.5}]

    def write() -> None:
        store.add_fleets(id, [(2.0, {"row": 0}), (1.0, {"row": 1})])
        store.record([(trial, measured(1, math.nan)), (trial, measured(0))] * 2)
        store.end(trial, "budget", None, measured(1).ledger, measured(1))
        store.adopt(other, trial)
        store.save_verdicts(id, pairs)
        store.share(id, True)

    write()
    once = readable(store)
    write()
    assert readable(store) == once
    assert once["trials"][store.trial(trial).uuid]["comparisons"] == [id, other]


def test_measurements_are_read_in_order_however_they_arrive(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """A trial stands at its last measurement, even if an earlier one is recorded later."""
    one, other = begin(comparison), begin(comparison)
    rows = [measured(index, 1 / (1 + index)) for index in range(5)]
    for index in (3, 0, 4, 2, 1):
        store.record([(one, rows[index]), (other, rows[0])])
    assert store.measurements([one, other]) == {one: rows, other: rows[:1]}
    assert (store.trial(one).train_metric, store.trial(one).ledger) == (0.2, rows[4].ledger)


def test_the_first_of_two_measurements_with_one_index_stands(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """The trial stands at what its measurements say."""
    id = begin(comparison)
    for value in (1.0, 7.0):
        store.record([(id, measured(1, value))])
    assert store.measurements([id])[id] == [measured(1, 1.0)]
    assert store.trial(id).train_metric == 1.0


def test_a_trial_stands_at_the_later_of_two_measurements_after_equal_updates(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    """The order of measurements is that of their indices."""
    id = begin(comparison)
    for index in (1, 0):
        store.record([(id, Measurement(index, Ledger(updates=5), index, 1.0, 1.0, 1.0))])
    assert store.trial(id).train_metric == 1.0


def test_a_failed_write_leaves_nothing(
    store: Store,
    planned: Callable[..., str],
    spec: TrialSpec,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """A write is in the store as a whole or not at all, down to protocols and contexts."""
    id = planned(1.0, owner=ELSEWHERE)
    trial = begin(id)
    pair = {"a": "nag", "b": "hf"}
    store.save_verdicts(id, [pair])
    elsewhere = replace(spec.protocol, problem="elsewhere")
    anew = {"spec": replace(spec, protocol=elsewhere, seed=7), "context": {"threads": 9}}
    writes: dict[str, Callable[[], object]] = {
        "plan": lambda: store.new_comparison(elsewhere, "run", "bench", plan={"a": "\0"}),
        "comparison of a trial": lambda: begin("ffffffff", **anew),
        "fleet of a trial": lambda: begin(id, **anew, fleet=(77, 0)),
        "protocol of a trial": lambda: begin(id, replace(spec, protocol=elsewhere)),
        "trial of a measurement": lambda: store.record([(trial, measured(0)), (77, measured(0))]),
        "comparison of a fleet": lambda: store.add_fleets("ffffffff", [(1.0, {})]),
        "task of a fleet": lambda: store.add_fleets(id, [(1.0, {}), (2.0, {}), (3.0, {"a": "\0"})]),
        "adopted trial": lambda: store.adopt(id, 77),
        "two verdicts on one pair": lambda: store.save_verdicts(id, [{**pair, "p": 1}, pair]),
        "accepted comparison": lambda: store.accept("main", "ffffffff", None),
    }
    before = everything(store.url)
    for what, write in writes.items():
        with pytest.raises(BenchError):
            write()
        assert everything(store.url) == before, what


def test_another_connection_reads_the_same(
    url: str, workdir: Path, store: Store, protocol: Protocol
) -> None:
    """What a method has written is there for everybody when it returns."""
    fill(store, protocol)
    with Store.open(url, create=False) as again:
        assert again.id == store.id
        assert readable(again) == readable(store)


def test_times_are_utc(
    url: str, protocol: Protocol, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every time has the zone UTC and is right, in whatever zone the process lives."""
    for name in ("TZ", "PGTZ"):
        monkeypatch.setenv(name, "Asia/Kolkata")
    time.tzset()
    try:
        with Store.open(url) as store:
            id = store.new_comparison(mirrored.PROTOCOL, "comparison", "bench compare")
            mirrored.train(store, mirrored.begin(store, id, mirrored.NAG, 0), 1)
            store.finish_comparison(id, "done", None)
            store.save_claim(
                claim=1, version=1, preset="quick", rule_digest="r", decision="holds", body={}
            )
            store.end_night(store.begin_night("nightly", "s", "main", None, {}), "clean", None, [])
            store.save_noise("nightly", {})
            (comparison,), (trial,), (night,) = store.comparisons(), store.trials(), store.nights()
            times = [
                *(comparison.created, comparison.ended, trial.started, trial.ended),
                *(night.created, night.ended, store.claims()[0].created),
                *(store.noises()[0].created, store.accept("main", id, None)),
                store.baselines()[0].accepted,
            ]
    finally:
        monkeypatch.undo()
        time.tzset()
    for each in times:
        assert each is not None and each.utcoffset() == timedelta(0)
        assert abs(each - datetime.now(UTC)) < timedelta(minutes=10)


def test_passwords_are_never_stored(
    store: Store, protocol: Protocol, begin: Callable[..., int]
) -> None:
    """No table has the password of a URL in a command line or a reason."""
    for secret in (
        "postgresql://me:hunter2@server/db",
        "https://hunter2@server/",
        "postgresql://server/db?password=hunter2",
        "sslpassword=hunter2",
    ):
        id = store.new_comparison(protocol, "run", f"bench run --store {secret}")
        said = f"cannot reach {secret}"
        store.end(begin(id), "failed", said, Ledger(), None)
        night = store.begin_night("nightly", "5" * 64, "main", None, {})
        store.end_night(night, "failed", said, [])
        assert "***" in store.comparison(id).command
    assert "hunter2" not in str(everything(store.url))


def test_a_comparison_is_found_by_the_beginning_of_its_id(
    store: Store, planned: Callable[..., str]
) -> None:
    """Case does not matter; an ambiguous beginning is refused, and those it may mean are named."""
    # Two of 17 begin with the same digit.
    ids = [planned() for _ in range(17)]
    for id in ids:
        assert store.comparison(id).id == store.comparison(id.upper()).id == id
    alone = next(n for n in range(1, 9) if len({id[:n] for id in ids}) == len(ids))
    assert [store.comparison(id[:alone]).id for id in ids] == ids
    first = next(id[0] for id in ids if sum(other[0] == id[0] for other in ids) > 1)
    with pytest.raises(Usage, match="is the beginning of") as told:
        store.comparison(first)
    named = [id for id in ids if id in str(told.value)]
    assert len(named) > 1 and all(id[0] == first for id in named)
    for unknown in ("", "%", "_" * 8, "zz"):
        with pytest.raises(Usage, match="There is no comparison"):
            store.comparison(unknown)


def test_a_text_that_cannot_be_an_id_is_unknown(store: Store) -> None:
    """An argument in another encoding is answered by a sentence, as every other is."""
    with pytest.raises(Usage, match="There is no comparison"):
        store.comparison("\udcff")


# Trials.


def test_attempts_are_numbered_without_gaps(
    url: str, store: Store, protocol: Protocol, begin: Callable[..., int]
) -> None:
    """Each trial counts its own attempts; one that could not be begun is not counted."""
    id = store.new_comparison(mirrored.PROTOCOL, "run", "bench run")

    def attempt(mine: Store, owner: str) -> None:
        for seed in (0, 1, 0):
            mirrored.begin(mine, id, mirrored.NAG, seed, owner=owner)
            with pytest.raises(Infrastructure):
                mirrored.begin(mine, id, mirrored.NAG, seed, fleet=(77, 0))

    assert at_once(url, attempt) == [None] * 4
    for seed, count in ((0, 8), (1, 4)):
        found = [trial.attempt for trial in store.trials(id) if trial.seed == seed]
        assert found == list(range(1, count + 1))
    other = store.new_comparison(protocol, "run", "bench run")
    assert store.trial(begin(other)).attempt == 1


def test_only_a_trial_with_equal_key_source_and_context_is_reused(
    store: Store, comparison: str, spec: TrialSpec, begin: Callable[..., int]
) -> None:
    """It must have ended by itself, and the newest attempt counts."""
    ends: tuple[Status, ...] = ("budget", "diverged", "interrupted", "failed")
    ids = {status: begin(comparison) for status in ends}
    context = key_of(CONTEXT)
    assert begin(comparison) and store.find_reusable(spec.key, "s", context) is None
    for status, id in ids.items():
        store.end(id, status, None, Ledger(), None)
    found = store.find_reusable(spec.key, "s", context)
    assert found == store.trial(ids["diverged"])
    assert store.find_reusable(replace(spec, seed=1).key, "s", context) is None
    assert store.find_reusable(spec.key, "edited", context) is None
    assert store.find_reusable(spec.key, "s", key_of({"threads": 2})) is None


def test_an_ended_trial_stays_ended(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """No second end, no heartbeat, no late measurement and no death changes it."""
    ends: tuple[Status, ...] = ("budget", "diverged", "failed")
    for status in ends:
        id = begin(comparison)
        store.record([(id, measured(1))])
        store.end(id, status, "a reason", measured(1).ledger, measured(1))
        ended = store.trial(id)
        assert (ended.status, ended.reason, ended.train_metric) == (status, "a reason", 1.0)
        store.end(id, "interrupted", "another", Ledger(), None)
        store.heartbeat("me", [id])
        store.record([(id, measured(2, 9.0))])
        assert store.end_dead(older_than_s=0) == []
        assert not store.reopen(id, "me", {})
        assert store.trial(id) == ended


def test_measurements_that_are_forgotten_are_taken_again(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    """A trial that goes on from a state forgets what it measured after it, and no more."""
    id, other = begin(comparison), begin(comparison)
    rows = [measured(index) for index in range(3)]
    store.record([(trial, row) for trial in (id, other) for row in rows])
    store.delete_measurements(id, 1)
    assert store.measurements([id, other]) == {id: rows[:1], other: rows}
    again = [measured(1, 7.0), measured(2, 8.0)]
    store.record([(id, row) for row in again])
    assert store.measurements([id])[id] == [rows[0], *again]
    assert store.trial(id).train_metric == 8.0


# Fleets.


def test_a_fleet_has_one_owner_however_many_lease_at_once(
    url: str, store: Store, planned: Callable[..., str]
) -> None:
    """Processes, threads with stores of their own and threads that share one lease together."""
    costs = [float(i % 5) for i in range(40)]
    id = planned(*costs, shared=True)
    process = subprocess.Popen(
        [sys.executable, "-c", test_leases.LEASE, url, "process:1", ""],
        cwd=test_leases.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def work(mine: Store, owner: str) -> list[tuple[int, str]]:
        found = []
        for _ in range(8):
            fleet = mine.lease(owner)
            found += [(fleet.number, owner)] if fleet else []
        return found

    with ThreadPoolExecutor(2) as pool:
        process.stdin.write("go\n")
        process.stdin.flush()
        sharing = [pool.submit(work, store, f"thread:{i}") for i in range(2)]
        taken = [each for found in at_once(url, work, 2) for each in found]
        taken += [each for found in sharing for each in found.result()]
    said = process.communicate()[0]
    assert process.returncode == 0
    taken += [(int(line.split()[0]), "process:1") for line in said.splitlines()]
    assert sorted(taken) == [(fleet.number, fleet.owner) for fleet in store.fleets(id)]
    assert [number for number, _ in sorted(taken)] == list(range(40))


def test_a_lease_ends_once_and_only_by_its_owner(store: Store, planned: Callable[..., str]) -> None:
    """What ended stays ended; what is given back can be leased again."""
    id = planned(2.0, 1.0)
    first, second = store.lease("here:1", id), store.lease("here:1", id)
    assert first is not None and second is not None and store.lease("here:1", id) is None
    for status in ("ended", "failed", "planned"):
        assert not store.end_fleet(first.id, "here:2", status)
    assert store.end_fleet(first.id, "here:1", "ended")
    assert not store.end_fleet(first.id, "here:1", "planned")
    assert store.end_fleet(second.id, "here:1", "planned")
    assert [(each.status, each.owner) for each in store.fleets(id)] == [
        ("ended", "here:1"),
        ("planned", None),
    ]
    again = store.lease("here:2", id)
    assert again == replace(second, owner="here:2")


def test_a_lost_lease_is_noticed(store: Store, planned: Callable[..., str], gone: str) -> None:
    """Who was taken for dead hears it from the next heartbeat, and changes nothing any more."""
    id = planned(2.0, 1.0)
    lost, kept = store.lease(gone, id), store.lease(ELSEWHERE, id)
    assert lost is not None and kept is not None
    assert store.heartbeat(gone, fleet_ids=[lost.id]) == set()
    store.end_dead()
    again = store.lease(ELSEWHERE, id)
    assert again is not None and again.id == lost.id
    assert store.heartbeat(gone, fleet_ids=[lost.id]) == {lost.id}
    assert not store.end_fleet(lost.id, gone, "ended")
    assert store.heartbeat(ELSEWHERE, fleet_ids=[lost.id, kept.id]) == set()
    assert store.fleets(id) == [again, kept]


# The living and the dead.


def test_a_process_lives_as_long_as_it_is_heard_of(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    """The trials of a silent process are interrupted; a heartbeat counts for its owner alone."""
    heard, silent, elses = begin(comparison), begin(comparison), begin(comparison, owner="you")
    time.sleep(0.6)
    store.heartbeat("me", [heard, elses], comparison_id=comparison)
    assert [trial.id for trial in store.end_dead(older_than_s=0.5)] == [silent, elses]
    assert [store.trial(id).status for id in (heard, silent)] == ["running", "interrupted"]
    assert store.comparison(comparison).status == "running"


def test_the_work_of_a_dead_process_can_be_gone_on_with(
    store: Store,
    planned: Callable[..., str],
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
    gone: str,
) -> None:
    """Its comparison, fleet and trial go to who asks, with all that was measured."""
    id = planned(1.0, owner=gone, status="running")
    fleet = store.lease(gone, id)
    assert fleet is not None
    trial = begin(id, owner=gone, fleet=(fleet.id, 0))
    store.record([(trial, measured(0))])
    assert [comparison.id for comparison in store.unfinished()] == [id]
    assert [each.id for each in store.end_dead()] == [trial]
    assert store.take_over(id, "here:2").status == "running"
    assert store.lease("here:2", id) == replace(fleet, owner="here:2", trials=(trial,))
    assert store.reopen(trial, "here:2", {"from": 0})
    assert store.trial(trial).status == "running"
    assert store.measurements([trial])[trial] == [measured(0)]
    assert store.info_of(trial)["resumed"] == [{"from": 0}]


def test_a_living_comparison_is_not_taken_over(
    store: Store, planned: Callable[..., str], living: str
) -> None:
    """Neither is one that is done."""
    for owner in (living, this_process(), ELSEWHERE, None):
        id = planned(owner=owner, status="running")
        with pytest.raises(Infrastructure, match=f"is being run by {owner or 'another process'}"):
            store.take_over(id, "here:2")
        assert store.comparison(id).owner == owner
    store.finish_comparison(id, "done", {"n": 1})
    with pytest.raises(Usage, match="is done"):
        store.take_over(id, "here:2")
    assert store.comparison(id).status == "done"


def test_of_those_that_take_over_at_once_one_gets_it(
    url: str, store: Store, planned: Callable[..., str], gone: str
) -> None:
    """The others are told who runs it."""
    id = planned(owner=gone, status="running")
    got = at_once(url, lambda mine, owner: mine.take_over(id, owner))
    (won,) = (each for each in got if isinstance(each, ComparisonRecord))
    assert store.comparison(id) == won
    assert sum(f"is being run by {won.owner} " in str(each) for each in got) == 3


# Stores.


def test_a_store_that_moves_to_another_backend_and_back_reads_the_same(
    workdir: Path, store: Store, protocol: Protocol
) -> None:
    """Export and import are inverse: SQLite → this backend → SQLite."""
    stores = [Store.open(f"sqlite:///{workdir / name}/bench.db") for name in ("from", "to")]
    stores.insert(1, store)
    fill(stores[0], protocol)
    before = readable(stores[0])
    assert all(before.values())
    for source, target in zip(stores, stores[1:], strict=False):
        folder = workdir / f"moved-{source.id}"
        export(source, folder, (), "jsonl")
        import_folder(folder, lambda url=target.url: Store.open(url))  # type: ignore[misc]
        assert readable(target) == before
        assert import_folder(folder, lambda url=target.url: Store.open(url)).is_empty  # type: ignore[misc]
        assert readable(target) == before
    stores[0].close()
    stores[2].close()


def test_a_store_of_an_older_schema_is_upgraded_with_its_rows(
    url: str,
    protocol: Protocol,
    measured: Callable[..., Measurement],
    earlier: Callable[[str], dict[str, list[dict[str, Any]]]],
) -> None:
    """Whoever opens it reads what it held, and may go on with it."""
    before = earlier(test_upgrades.REVISIONS[0])
    with Store.open(url) as store:
        test_upgrades.see_kept(before, everything(url))
        # What an earlier version called seconds is also what the fleet took.
        expected = measured(3)
        ledger = replace(expected.ledger, fleet_seconds=expected.ledger.seconds)
        assert store.measurements([1])[1] == [replace(expected, ledger=ledger)]
        assert [comparison.protocol for comparison in store.comparisons()] == [protocol] * 2
        assert [trial.status for trial in store.end_dead()] == ["interrupted"]
        assert store.reopen(1, "here:1", {})


# The model.

SEEDS, SOURCES = (0, 1), ("s", "edited")
VALUES = st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e-310]) | st.floats()
OWNERS = st.integers(0, 2)
INDICES = st.integers(0, 2)


@dataclass(eq=False)
class Compared:
    """A comparison of the reference."""

    id: str
    status: str
    owner: str | None
    shared: bool
    summary: Any = None
    trials: dict[int, bool] = field(default_factory=dict)
    """Trial → whether it was recorded earlier and taken over."""


@dataclass(eq=False)
class Fleet:
    """A fleet of the reference."""

    id: int
    comparison: Compared
    number: int
    cost: float
    status: str = "planned"
    owner: str | None = None
    rows: dict[int, int] = field(default_factory=dict)
    """Row → trial."""


@dataclass(eq=False)
class Trial:
    """A trial of the reference."""

    id: int
    seed: int
    source: str
    attempt: int
    owner: str | None
    status: str = "running"
    reason: str | None = None
    ledger: Ledger = field(default_factory=Ledger)
    last: Measurement | None = None
    measurements: dict[int, Measurement] = field(default_factory=dict)


class Reference:
    """A store that is as simple as can be: what every backend is held to."""

    def __init__(self) -> None:
        self.comparisons: dict[str, Compared] = {}
        self.fleets: dict[int, Fleet] = {}
        self.trials: dict[int, Trial] = {}
        self.dead: set[str | None] = set()
        """The owners whose process has ended."""

    def lease(self, owner: str, comparison: str | None, number: int | None) -> int | None:
        found = [fleet for fleet in self.fleets.values() if fleet.status == "planned"]
        if comparison is None:
            found = [f for f in found if f.comparison.shared and f.comparison.status != "done"]
        else:
            found = [fleet for fleet in found if fleet.comparison.id == comparison]
        if number is not None:
            found = [fleet for fleet in found if fleet.number == number]
        if not found:
            return None
        best = min(found, key=lambda fleet: (-fleet.cost, fleet.id))
        best.status, best.owner = "running", owner
        return best.id

    def end_fleet(self, fleet: Fleet, owner: str, status: str) -> bool:
        if (fleet.status, fleet.owner) != ("running", owner):
            return False
        fleet.status, fleet.owner = status, None if status == "planned" else owner
        return True

    def record(self, trial: Trial, measurement: Measurement) -> None:
        trial.measurements.setdefault(measurement.index, measurement)
        is_further = measurement.ledger.updates >= trial.ledger.updates
        if trial.status in ("running", "interrupted") and is_further:
            trial.ledger, trial.last = measurement.ledger, measurement

    def end(self, trial: Trial, status: str, reason: str | None, last: Measurement | None) -> None:
        if trial.status in ("running", "interrupted"):
            trial.status, trial.reason, trial.last = status, reason, last
            trial.ledger = last.ledger if last else Ledger()

    def reopen(self, trial: Trial, owner: str) -> bool:
        is_free = trial.owner == owner or trial.owner in self.dead
        if trial.status == "interrupted" or (trial.status == "running" and is_free):
            trial.status, trial.owner, trial.reason = "running", owner, None
            return True
        return False

    def end_dead(self, everybody: bool) -> list[int]:
        def is_dead(work: Compared | Fleet | Trial) -> bool:
            return work.status == "running" and (everybody or work.owner in self.dead)

        for comparison in filter(is_dead, self.comparisons.values()):
            comparison.status = "interrupted"
        for fleet in filter(is_dead, self.fleets.values()):
            fleet.status, fleet.owner = "planned", None
        ended = [trial for trial in self.trials.values() if is_dead(trial)]
        for trial in ended:
            trial.status, trial.reason = "interrupted", "its process died"
        return [trial.id for trial in ended]

    def take_over(self, comparison: Compared, owner: str) -> bool:
        is_running = comparison.status == "running" and comparison.owner not in self.dead
        if comparison.status == "done" or is_running:
            return False
        comparison.status, comparison.owner = "running", owner
        for fleet in self.fleets.values():
            if fleet.comparison is comparison and fleet.status == "failed":
                fleet.status, fleet.owner = "planned", None
        return True


class StoreBesideReference(RuleBasedStateMachine):
    """Takes both through the same steps; compares what they answer and all that they hold."""

    comparisons: Bundle[str] = Bundle("comparisons")
    fleets: Bundle[int] = Bundle("fleets")
    trials: Bundle[int] = Bundle("trials")

    def __init__(self, store: Store, protocol: Protocol) -> None:
        super().__init__()
        self.store, self.protocol, self.reference = store, protocol, Reference()
        self.processes = [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(2)]
        self.owners = [this_process(), *(process_name(each.pid) for each in self.processes)]
        # Every walk begins with something to do: chance would come to it late.
        id = self.new_comparison(1, True, "running")
        self.add_fleets(id, [2, 1])
        self.lease(1, id, 0)
        fleet = next(iter(self.reference.fleets))
        trials = [self.begin(id, fleet, row, row, "s", 1) for row in (0, 1)]
        self.record([(trial, index, 0.5) for trial in trials for index in (1, 0)])

    @initialize(target=comparisons)
    def first_comparison(self) -> Any:
        return multiple(*self.reference.comparisons)

    @initialize(target=fleets)
    def first_fleets(self) -> Any:
        return multiple(*self.reference.fleets)

    @initialize(target=trials)
    def first_trials(self) -> Any:
        return multiple(*self.reference.trials)

    def teardown(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        # The next steps begin with an empty store again, and to make one would take longer.
        engine = sqlalchemy.create_engine(self.store.url)
        with engine.begin() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.store:
                    connection.execute(table.delete())
        engine.dispose()

    def spec(self, seed: int) -> TrialSpec:
        return TrialSpec(self.protocol, MethodSpec("nag", "torch", {"lr": 0.5}), seed)

    # Comparisons

    @precondition(lambda self: len(self.reference.comparisons) < 3)
    @rule(
        target=comparisons,
        owner=OWNERS,
        shared=st.booleans(),
        status=st.sampled_from(["planned", "running"]),
    )
    def new_comparison(self, owner: int, shared: bool, status: Any) -> str:
        name = self.owners[owner]
        id = self.store.new_comparison(
            self.protocol, "run", "bench", plan=PLAN, shared=shared, owner=name, status=status
        )
        self.reference.comparisons[id] = Compared(id, status, name, shared)
        return id

    @rule(id=comparisons, shared=st.booleans())
    def share(self, id: str, shared: bool) -> None:
        self.store.share(id, shared)
        self.reference.comparisons[id].shared = shared

    @rule(
        id=comparisons,
        status=st.sampled_from(["done", "failed", "interrupted"]),
        summary=st.none() | st.dictionaries(st.text("aé😀", max_size=2), st.integers(0, 9)),
    )
    def finish(self, id: str, status: Any, summary: dict[str, int] | None) -> None:
        self.store.finish_comparison(id, status, summary)
        comparison = self.reference.comparisons[id]
        comparison.status, comparison.summary = status, summary

    @rule(id=comparisons, owner=OWNERS)
    def take_over(self, id: str, owner: int) -> None:
        try:
            got = self.store.take_over(id, self.owners[owner]).owner == self.owners[owner]
        except BenchError:
            got = False
        assert got == self.reference.take_over(self.reference.comparisons[id], self.owners[owner])

    # Fleets

    @rule(target=fleets, id=comparisons, costs=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def add_fleets(self, id: str, costs: list[int]) -> Any:
        found = self.store.add_fleets(id, [(float(cost), {}) for cost in costs])
        new = [fleet for fleet in found if fleet.id not in self.reference.fleets]
        for each in new:
            comparison = self.reference.comparisons[id]
            fleet = Fleet(each.id, comparison, each.number, costs[each.number])
            self.reference.fleets[each.id] = fleet
        return multiple(*(fleet.id for fleet in new))

    @rule(owner=OWNERS, id=st.none() | comparisons, number=st.none() | st.integers(0, 2))
    def lease(self, owner: int, id: str | None, number: int | None) -> None:
        found = self.store.lease(self.owners[owner], id, number)
        expected = self.reference.lease(self.owners[owner], id, number)
        assert (found and found.id) == expected

    @rule(id=fleets, owner=OWNERS, status=st.sampled_from(["planned", "ended", "failed"]))
    def end_fleet(self, id: int, owner: int, status: Any) -> None:
        fleet, name = self.reference.fleets[id], self.owners[owner]
        found = self.store.end_fleet(id, name, status)
        assert found == self.reference.end_fleet(fleet, name, status)

    @rule(id=fleets, owner=OWNERS)
    def heartbeat(self, id: int, owner: int) -> None:
        fleet, name = self.reference.fleets[id], self.owners[owner]
        lost = self.store.heartbeat(name, list(self.reference.trials), [id])
        assert lost == (set() if (fleet.status, fleet.owner) == ("running", name) else {id})

    # Trials

    @rule(
        target=trials,
        id=comparisons,
        fleet=st.none() | fleets,
        row=st.integers(0, 1),
        seed=st.sampled_from(SEEDS),
        source=st.sampled_from(SOURCES),
        owner=OWNERS,
    )
    def begin(
        self, id: str, fleet: int | None, row: int, seed: int, source: str, owner: int
    ) -> int:
        trial = self.store.begin(
            id,
            self.spec(seed),
            label="nag",
            purpose="reported",
            source_digest=source,
            context=CONTEXT,
            info={},
            fleet_rows=1,
            seconds_are="alone",
            owner=self.owners[owner],
            fleet=None if fleet is None else (fleet, row),
        )
        reference = self.reference
        attempt = 1 + sum(each.seed == seed for each in reference.trials.values())
        reference.trials[trial] = Trial(trial, seed, source, attempt, self.owners[owner])
        reference.comparisons[id].trials[trial] = False
        if fleet is not None:
            before = reference.fleets[fleet].rows.items()
            reference.fleets[fleet].rows = {r: t for r, t in before if r < row} | {row: trial}
        return trial

    @rule(id=comparisons, trial=trials)
    def adopt(self, id: str, trial: int) -> None:
        self.store.adopt(id, trial)
        self.reference.comparisons[id].trials.setdefault(trial, True)

    @rule(rows=st.lists(st.tuples(trials, INDICES, VALUES), min_size=1, max_size=4))
    def record(self, rows: list[tuple[int, int, float]]) -> None:
        taken: dict[tuple[int, int], Measurement] = {}
        for id, index, value in rows:
            ledger = Ledger(updates=10 * index, gradients=index / 3, seconds=0.1 * index)
            new = Measurement(index, ledger, value, -value, 1.0, value, {"rho": value})
            # What is recorded again is the same measurement.
            taken[id, index] = self.reference.trials[id].measurements.get(index, new)
        written = [(id, taken[id, index]) for id, index, _ in rows]
        self.store.record(written)
        for id, measurement in sorted(written, key=lambda row: row[1].index):
            self.reference.record(self.reference.trials[id], measurement)

    @rule(id=trials, index=INDICES)
    def delete_measurements(self, id: int, index: int) -> None:
        self.store.delete_measurements(id, index)
        trial = self.reference.trials[id]
        trial.measurements = {i: m for i, m in trial.measurements.items() if i < index}

    @rule(
        id=trials,
        status=st.sampled_from(["budget", "diverged", "failed", "interrupted"]),
        reason=st.none() | st.sampled_from(["a reason", "'😀'"]),
    )
    def end(self, id: int, status: Any, reason: str | None) -> None:
        trial = self.reference.trials[id]
        last = trial.measurements[max(trial.measurements)] if trial.measurements else None
        self.store.end(id, status, reason, last.ledger if last else Ledger(), last)
        self.reference.end(trial, status, reason, last)

    @rule(id=trials, owner=OWNERS)
    def reopen(self, id: int, owner: int) -> None:
        trial, name = self.reference.trials[id], self.owners[owner]
        assert self.store.reopen(id, name, {}) == self.reference.reopen(trial, name)

    # Death

    @rule(process=st.integers(0, 1))
    def kill(self, process: int) -> None:
        self.processes[process].kill()
        self.processes[process].wait()
        self.reference.dead.add(self.owners[1 + process])

    @rule(everybody=st.booleans())
    def end_dead(self, everybody: bool) -> None:
        found = self.store.end_dead(**({"older_than_s": 0} if everybody else {}))
        assert [trial.id for trial in found] == self.reference.end_dead(everybody)

    # After every step

    @invariant()
    def the_comparisons_are_equal(self) -> None:
        store, dead = self.store, self.reference.dead
        expected = list(reversed(self.reference.comparisons.values()))
        found = store.comparisons()
        assert [(c.id, c.status, c.owner, c.summary, c.reused) for c in found] == [
            (c.id, c.status, c.owner, c.summary, {t for t, reused in c.trials.items() if reused})
            for c in expected
        ]
        assert [c.id for c in found if not c.ended] == [
            c.id for c in expected if c.status in ("planned", "running")
        ]
        assert [c.id for c in store.unfinished()] == [
            c.id
            for c in expected
            if c.status != "done" and not (c.status == "running" and c.owner not in dead)
        ]
        assert store.is_running() == any(c.status == "running" for c in expected)

    @invariant()
    def the_fleets_are_equal(self) -> None:
        for id, comparison in self.reference.comparisons.items():
            plan = self.store.plan(id)
            assert plan is not None and plan.shared == comparison.shared
            expected = [f for f in self.reference.fleets.values() if f.comparison is comparison]
            assert [
                (f.id, f.number, f.cost, f.status, f.owner, f.trials) for f in self.store.fleets(id)
            ] == [
                (
                    f.id,
                    f.number,
                    f.cost,
                    f.status,
                    f.owner,
                    tuple(t for _, t in sorted(f.rows.items())),
                )
                for f in sorted(expected, key=lambda fleet: fleet.number)
            ]

    @invariant()
    def the_trials_are_equal(self) -> None:
        store, expected = self.store, self.reference.trials
        found = store.trials()
        assert [(t.id, t.seed, t.source_digest, t.attempt, t.status) for t in found] == [
            (t.id, t.seed, t.source, t.attempt, t.status) for t in expected.values()
        ]
        for trial, of in zip(found, expected.values(), strict=True):
            assert (trial.reason or "").partition(" (no heartbeat")[0] == (of.reason or "")
            assert (trial.ended is None) == (of.status == "running")
            assert trial.ledger == of.ledger
            values = (of.last.train_metric, of.last.test_metric) if of.last else (None, None)
            assert (trial.train_metric, trial.test_metric) == tuple(
                value if value is not None and math.isfinite(value) else None for value in values
            )
        assert {id: set(links) for id, links in store.comparisons_of(expected).items()} == {
            t: {c.id for c in self.reference.comparisons.values() if t in c.trials}
            for t in expected
        }

    @invariant()
    def the_measurements_are_equal(self) -> None:
        found = self.store.measurements(self.reference.trials)
        for id, trial in self.reference.trials.items():
            assert [exactly(asdict(each)) for each in found[id]] == [
                exactly(asdict(each)) for _, each in sorted(trial.measurements.items())
            ]

    @invariant()
    def the_same_trials_can_be_reused(self) -> None:
        for seed in SEEDS:
            for source in SOURCES:
                found = self.store.find_reusable(self.spec(seed).key, source, key_of(CONTEXT))
                ended = [
                    trial.id
                    for trial in self.reference.trials.values()
                    if (trial.seed, trial.source) == (seed, source)
                    and trial.status in ("budget", "diverged")
                ]
                assert (found and found.id) == max(ended, default=None)


def test_a_store_does_what_the_reference_does(store: Store, protocol: Protocol) -> None:
    """Whatever is done, in whatever order, both answer the same and hold the same."""

    class Machine(StoreBesideReference):
        def __init__(self) -> None:
            super().__init__(store, protocol)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            # A walk of 40 steps can be read; to shorten it takes minutes.
            phases=[Phase.reuse, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
