"""Plans and fleets are read back, and every fleet is leased to exactly one process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord
from bench.harness.core.spec import Protocol
from bench.harness.store import tables
from bench.harness.store.results import Store

ROOT = Path(__file__).parents[3]
PLAN = {"fleets": [{"trials": ["nag s0", "nag s1"], "lr": 0.01}], "names": "ä", "a": None}
COSTS = (5.0, 40.0, 5.0, 7.5)


@pytest.fixture
def planned(store: Store, protocol: Protocol) -> Callable[..., str]:
    """Enter a comparison with fleets of the given costs."""

    def enter(*costs: float, shared: bool = True, status: str = "planned") -> str:
        id = store.new_comparison(
            protocol, "comparison", "bench compare", plan=PLAN, shared=shared, status=status
        )
        store.add_fleets(id, [(cost, {"trials": [i]}) for i, cost in enumerate(costs)])
        return id

    return enter


def leased(store: Store, owner: str, comparison: str | None = None) -> list[tuple[str, int]]:
    """Lease until there is nothing left."""
    found = []
    while (fleet := store.lease(owner, comparison)) is not None:
        found.append((fleet.comparison_id, fleet.number))
    return found


def heartbeats(store: Store) -> dict[int, datetime | None]:
    with store._read() as connection:
        rows = connection.execute(tables.fleet.select())
        return {row.number: row.heartbeat for row in rows}


def test_a_plan_is_read_back(store: Store, protocol: Protocol, comparison: str) -> None:
    id = store.new_comparison(
        protocol, "run", "bench run", plan=PLAN, owner="here:1", status="planned"
    )
    found = store.comparison(id)
    assert (found.status, found.owner, found.kind) == ("planned", "here:1", "run")
    plan = store.plan(id)
    assert plan is not None and plan.body == PLAN and plan.shared is False
    canonical_json = json.dumps(PLAN, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert plan.digest == hashlib.sha256(canonical_json.encode()).hexdigest()
    assert store.plan(comparison) is None
    assert (store.comparison(comparison).status, store.comparison(comparison).owner) == (
        "running",
        None,
    )


def test_fleets_are_read_back_by_number(store: Store, planned: Callable[..., str]) -> None:
    id, other = planned(*COSTS), planned(1.0)
    found = store.fleets(id)
    assert [(f.number, f.cost, f.task) for f in found] == [
        (i, cost, {"trials": [i]}) for i, cost in enumerate(COSTS)
    ]
    assert all(
        (f.comparison_id, f.status, f.owner, f.trials) == (id, "planned", None, ()) for f in found
    )
    assert len({f.id for f in found + store.fleets(other)}) == 5
    assert store.add_fleets(other, []) == store.fleets(other)


def test_fleets_entered_twice_stay_as_they_are(store: Store, planned: Callable[..., str]) -> None:
    id = planned(1.0, 2.0)
    first = store.lease("here:1", id)
    assert first is not None and first.number == 1
    found = store.add_fleets(id, [(9.0, {"other": True})] * 3)
    assert [(f.number, f.cost, f.status) for f in found] == [
        (0, 1.0, "planned"),
        (1, 2.0, "running"),
        (2, 9.0, "planned"),
    ]
    assert found == store.fleets(id) and found[1] == first


def test_the_most_costly_fleet_is_leased_first(store: Store, planned: Callable[..., str]) -> None:
    one, other = planned(*COSTS), planned(6.0, 50.0)
    before = store.fleets(one)
    assert leased(store, "here:1") == [
        (other, 1),
        (one, 1),
        (one, 3),
        (other, 0),
        # Equal costs: as they were entered.
        (one, 0),
        (one, 2),
    ]
    assert [(f.status, f.owner) for f in store.fleets(one)] == [("running", "here:1")] * 4
    assert [f.id for f in store.fleets(one)] == [f.id for f in before]


def test_only_what_is_open_to_workers_is_leased_without_its_id(
    store: Store, planned: Callable[..., str]
) -> None:
    closed, running = planned(9.0, shared=False), planned(5.0, status="running")
    done, interrupted, failed, opened = planned(8.0), planned(7.0), planned(6.0), planned(1.0)
    store.finish_comparison(done, "done", None)
    store.finish_comparison(interrupted, "interrupted", None)
    store.finish_comparison(failed, "failed", None)
    # Who may judge it later is another matter: its fleets can be trained before.
    assert leased(store, "here:1") == [(id, 0) for id in (interrupted, failed, running, opened)]
    # Who knows its id may.
    assert leased(store, "here:1", closed) == [(closed, 0)]
    assert leased(store, "here:1", done) == [(done, 0)]


def test_comparisons_that_a_worker_leaves_out_are_passed_over(
    store: Store, planned: Callable[..., str]
) -> None:
    first, second, third = planned(3.0), planned(2.0), planned(1.0)
    found = store.lease("here:1", excluded={first, third})
    assert found is not None and found.comparison_id == second
    assert store.lease("here:1", excluded={first, third}) is None
    assert leased(store, "here:1") == [(first, 0), (third, 0)]


def test_a_comparison_is_opened_to_workers_and_closed_again(
    store: Store, planned: Callable[..., str]
) -> None:
    id, other = planned(1.0, 2.0, shared=False), planned(shared=False)
    store.share(id, True)
    plans = [store.plan(each) for each in (id, other)]
    assert [plan and plan.shared for plan in plans] == [True, False]
    assert store.lease("here:1") is not None
    store.share(id, False)
    assert store.lease("here:1") is None


def test_a_fleet_can_be_leased_by_its_number(store: Store, planned: Callable[..., str]) -> None:
    id, other = planned(*COSTS, shared=False), planned(*COSTS, shared=False)
    found = store.lease("here:1", id, 2)
    assert found is not None and (found.comparison_id, found.number) == (id, 2)
    assert store.lease("here:2", id, 2) is None
    assert store.lease("here:2", id, 4) is None
    assert [f.status for f in store.fleets(other)] == ["planned"] * 4


def test_a_lease_ends_once(store: Store, planned: Callable[..., str]) -> None:
    id = planned(1.0)
    fleet = store.lease("here:1", id)
    assert fleet is not None
    assert not store.end_fleet(fleet.id, "here:2", "failed")
    assert store.fleets(id) == [fleet]
    assert store.end_fleet(fleet.id, "here:1", "ended")
    assert not store.end_fleet(fleet.id, "here:1", "failed")
    assert not store.end_fleet(fleet.id, "here:1", "planned")
    (found,) = store.fleets(id)
    assert (found.status, found.owner) == ("ended", "here:1")
    assert store.lease("here:2", id) is None


def test_a_fleet_that_is_given_back_can_be_leased_by_another(
    store: Store, planned: Callable[..., str]
) -> None:
    id = planned(1.0)
    fleet = store.lease("here:1", id)
    assert fleet is not None and store.end_fleet(fleet.id, "here:1", "planned")
    (found,) = store.fleets(id)
    assert (found.status, found.owner, heartbeats(store)[0]) == ("planned", None, None)
    again = store.lease("here:2", id)
    assert again is not None and (again.id, again.owner) == (fleet.id, "here:2")
    # The lease was lost: what its first owner says changes nothing.
    assert not store.end_fleet(fleet.id, "here:1", "ended")
    assert store.fleets(id) == [again]


def test_a_failed_fleet_is_not_leased_again(store: Store, planned: Callable[..., str]) -> None:
    id = planned(1.0)
    fleet = store.lease("here:1", id)
    assert fleet is not None and store.end_fleet(fleet.id, "here:1", "failed")
    assert store.fleets(id)[0].status == "failed"
    assert store.lease("here:1", id) is None


def test_a_heartbeat_is_that_of_the_fleets_that_its_owner_still_has(
    store: Store, planned: Callable[..., str]
) -> None:
    id = planned(6.0, 5.0, 4.0, 3.0, 2.0)
    owners = ("here:1", "here:1", "here:1", "here:2")
    mine, idle, ended, theirs = (store.lease(owner, id) for owner in owners)
    assert mine is not None and idle is not None and ended is not None and theirs is not None
    store.end_fleet(ended.id, "here:1", "ended")
    first = heartbeats(store)
    assert first[4] is None and first[0] is not None
    assert abs((datetime.now(UTC) - first[0]).total_seconds()) < 600
    # A lease is alive as long as its owner says that it trains the fleet, not as long as it lives.
    assert store.heartbeat("here:1") == set()
    assert heartbeats(store) == first
    held = [mine.id, ended.id, theirs.id]
    assert store.heartbeat("here:1", fleet_ids=held) == {ended.id, theirs.id}
    second = heartbeats(store)
    assert second[0] is not None and second[0] > first[0]
    assert {**second, 0: None} == {**first, 0: None}


def test_a_heartbeat_is_that_of_the_trials_and_the_comparison_of_its_owner(
    store: Store, protocol: Protocol, begin: Callable[..., int]
) -> None:
    id = store.new_comparison(protocol, "comparison", "bench compare", owner="here:1")
    trials = [begin(id, owner=owner) for owner in ("here:1", "here:2", "here:1")]

    def beats() -> list[datetime]:
        with store._read() as connection:
            tried = connection.execute(tables.trial.select().order_by(tables.trial.c.id))
            (compared,) = connection.execute(tables.comparison.select())
            return [*(row.heartbeat for row in tried), compared.heartbeat]

    store.end(trials[2], "budget", None, store.trial(trials[2]).ledger, None)
    first = beats()
    # A worker does not keep a comparison alive of which the launcher has died.
    store.heartbeat("here:2", trials, comparison_id=id)
    second = beats()
    assert [new > old for new, old in zip(second, first, strict=True)] == [
        False,
        True,
        False,
        False,
    ]
    store.heartbeat("here:1", trials, comparison_id=id)
    third = beats()
    assert [new > old for new, old in zip(third, second, strict=True)] == [True, False, False, True]


def rows_of(store: Store, id: str) -> tuple[int, ...]:
    return store.fleets(id)[0].trials


def test_the_trials_of_a_fleet_stand_in_the_order_of_its_rows(
    store: Store, planned: Callable[..., str], begin: Callable[..., int]
) -> None:
    id = planned(1.0, 1.0)
    fleet, other = store.fleets(id)
    begin(id)
    apart = begin(id, fleet=(other.id, 0))
    trials = [begin(id, fleet=(fleet.id, row)) for row in range(3)]
    assert rows_of(store, id) == tuple(trials)
    assert store.fleets(id)[1].trials == (apart,)
    found = store.lease("here:1", id, 0)
    assert found is not None and found.trials == tuple(trials)
    assert [t.id for t in store.trials(id)][2:] == trials


def test_a_new_attempt_takes_the_place_of_the_one_before(
    store: Store, planned: Callable[..., str], begin: Callable[..., int]
) -> None:
    id = planned(1.0, 1.0)
    fleet, other = store.fleets(id)
    apart = [begin(id, fleet=(other.id, row)) for row in range(2)]
    old = [begin(id, fleet=(fleet.id, row)) for row in range(3)]
    first = begin(id, fleet=(fleet.id, 0))
    # If its process dies now, no trial of the attempt before is taken for one of this.
    assert rows_of(store, id) == (first,)
    second = begin(id, fleet=(fleet.id, 1))
    assert rows_of(store, id) == (first, second)
    assert store.fleets(id)[1].trials == tuple(apart)
    assert {t.id for t in store.trials(id)} == {*apart, *old, first, second}


def test_a_trial_that_cannot_be_put_into_its_fleet_is_not_begun(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    with pytest.raises(Infrastructure, match="failed"):
        begin(comparison, fleet=(77, 0))
    assert store.trials() == []


LEASE = """
import sys
from bench.harness.store.results import Store
with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while (fleet := store.lease(sys.argv[2], sys.argv[3] or None)) is not None:
        print(fleet.number, fleet.cost, flush=True)
"""


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "shared"])
def test_processes_that_lease_at_once_get_every_fleet_once(
    url: str, store: Store, planned: Callable[..., str], by_id: bool
) -> None:
    costs = [float(i % 7) for i in range(60)]
    id = planned(*costs, shared=not by_id)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LEASE, url, f"here:{i}", id if by_id else ""],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(6)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    taken: dict[int, str] = {}
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for i, process in enumerate(processes):
        lines = [line.split() for line in process.communicate()[0].splitlines()]
        assert process.returncode == 0
        # Each gets the most costly that is left, so its own never rise.
        assert [float(cost) for _, cost in lines] == sorted(
            (float(cost) for _, cost in lines), reverse=True
        )
        for number, _ in lines:
            assert int(number) not in taken
            taken[int(number)] = f"here:{i}"
    assert {f.number: f.owner for f in store.fleets(id)} == taken
    assert sorted(taken) == list(range(60))


def test_sixteen_threads_that_lease_at_once_get_every_fleet_once(
    url: str, store: Store, planned: Callable[..., str]
) -> None:
    id = planned(*range(48), shared=False)
    together = threading.Barrier(16)

    def work(i: int) -> list[FleetRecord]:
        found = []
        with Store.open(url) as mine:
            together.wait(60)
            while (fleet := mine.lease(f"here:{i}", id)) is not None:
                found.append(fleet)
        return found

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(work, range(16)))
    numbers = sorted(fleet.number for fleets in found for fleet in fleets)
    assert numbers == list(range(48))
    for i, fleets in enumerate(found):
        assert all(fleet.owner == f"here:{i}" for fleet in fleets)
        assert [f.cost for f in fleets] == sorted((f.cost for f in fleets), reverse=True)


@pytest.mark.postgres
def test_a_fleet_that_is_being_leased_is_passed_over(postgres_url: str, protocol: Protocol) -> None:
    # Who waits for the other transaction fails after a second.
    with Store.open(f"{postgres_url}?options=-c%20lock_timeout%3D1000") as store:
        id = store.new_comparison(protocol, "comparison", "bench compare", plan=PLAN)
        first, second = store.add_fleets(id, [(2.0, {}), (1.0, {})])
        with store._write() as connection:
            held = tables.fleet.c.id == first.id
            connection.execute(tables.fleet.update().where(held).values(status="running"))
            found = store.lease("here:1", id)
            assert found is not None and found.id == second.id
            assert store.lease("here:1", id) is None
