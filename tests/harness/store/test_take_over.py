"""Work of the dead is ended, reopened and taken over; that of the living is left alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import ComparisonRecord, Measurement
from bench.harness.core.spec import Protocol
from bench.harness.store import tables
from bench.harness.store.liveness import dead_rows, update_unless_alive
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store

HOST = socket.gethostname()
PLAN = {"problem": "curves"}


@pytest.fixture(scope="module")
def gone() -> str:
    """The name of a process of this host that was killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    child.kill()
    child.communicate()
    return f"{HOST}:{child.pid}"


@pytest.fixture
def living() -> Iterator[str]:
    """The name of another process of this host, which is there."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        yield f"{HOST}:{child.pid}"


@pytest.fixture
def enter(store: Store, protocol: Protocol) -> Callable[..., str]:
    """Enter a comparison with a plan."""

    def make(**given: Any) -> str:
        usual: dict[str, Any] = {"plan": PLAN, "owner": "elsewhere:1"}
        return store.new_comparison(protocol, "comparison", "bench compare", **{**usual, **given})

    return make


def age(store: Store, table: Table, seconds: float, **of: Any) -> None:
    """Make the last heartbeat so much older."""
    with store._write() as connection:
        changed = table.update().values(heartbeat=datetime.now(UTC) - timedelta(seconds=seconds))
        connection.execute(changed.filter_by(**of))


def row(store: Store, table: Table, id: Any) -> Any:
    with store._read() as connection:
        return connection.execute(table.select().where(table.c.id == id)).one()


# The dead


def test_what_a_dead_process_of_this_host_ran_ends_at_once(
    store: Store, enter: Callable[..., str], begin: Callable[..., int], gone: str, living: str
) -> None:
    dead, alive = enter(owner=gone), enter(owner=living)
    trials = {owner: begin(dead, owner=owner) for owner in (gone, living, this_process())}
    fleets = store.add_fleets(dead, [(3.0, {}), (2.0, {}), (1.0, {})])
    for owner in trials:
        store.lease(owner, dead)
    (ended,) = store.end_dead()
    assert (ended.id, ended.status) == (trials[gone], "interrupted")
    assert ended.reason == "its process died" and ended.ended is not None
    assert store.trial(trials[living]).status == "running"
    assert store.trial(trials[this_process()]).status == "running"
    assert [(f.id, f.status, f.owner) for f in store.fleets(dead)] == [
        (fleets[0].id, "planned", None),
        (fleets[1].id, "running", living),
        (fleets[2].id, "running", this_process()),
    ]
    assert row(store, tables.fleet, fleets[0].id).heartbeat is None
    # Others train fleets of it, but nobody runs it any more.
    assert store.comparison(dead).status == "interrupted"
    assert store.comparison(dead).ended is not None
    assert store.comparison(alive).status == "running"
    assert store.end_dead() == []


@pytest.mark.parametrize("seconds", [50, 70])
def test_a_process_elsewhere_is_dead_after_a_minute(
    store: Store, enter: Callable[..., str], begin: Callable[..., int], seconds: float
) -> None:
    id = enter()
    trial = begin(id, owner="elsewhere:1")
    store.add_fleets(id, [(1.0, {})])
    store.lease("elsewhere:1", id)
    for table in (tables.trial, tables.fleet, tables.comparison):
        age(store, table, seconds)
    dead = seconds > 60
    ended = store.end_dead()
    assert [(t.id, (t.reason or "")[:36]) for t in ended] == (
        [(trial, "its process died (no heartbeat since")] if dead else []
    )
    assert store.trial(trial).status == ("interrupted" if dead else "running")
    assert store.comparison(id).status == ("interrupted" if dead else "running")
    assert store.fleets(id)[0].status == ("planned" if dead else "running")


def test_what_has_ended_is_not_ended_again(
    store: Store, enter: Callable[..., str], gone: str
) -> None:
    id, planned = enter(owner=gone), enter(owner=gone, status="planned")
    fleets = store.add_fleets(id, [(2.0, {}), (1.0, {})])
    for fleet, status in zip(fleets, ("ended", "failed"), strict=True):
        store.lease(gone, id)
        assert store.end_fleet(fleet.id, gone, status)
    store.finish_comparison(id, "done", {"n": 1})
    assert store.comparison(id).owner == gone
    before = store.fleets(id), store.comparison(id), store.comparison(planned)
    assert store.end_dead() == []
    assert (store.fleets(id), store.comparison(id), store.comparison(planned)) == before


def test_who_is_heard_of_in_time_is_not_taken_for_dead(
    store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    beating, reopened, silent = (begin(comparison, owner="elsewhere:1") for _ in range(3))
    age(store, tables.trial, 70)
    with store._read() as connection:
        found = dead_rows(connection, tables.trial, datetime.now(UTC) - timedelta(seconds=60))
    assert [each.id for each in found] == [beating, reopened, silent]
    # Between the question and the change:
    store.heartbeat("elsewhere:1", [beating])
    assert store.reopen(reopened, "here:2", {})
    with store._write() as connection:
        # The same time, but another owner.
        again = tables.trial.update().where(tables.trial.c.id == reopened)
        connection.execute(again.values(heartbeat=found[1].heartbeat))
        changed = [
            update_unless_alive(connection, tables.trial, each, status="failed") for each in found
        ]
    assert changed == [False, False, True]
    assert [store.trial(id).status for id in (beating, reopened, silent)] == [
        "running",
        "running",
        "failed",
    ]


def test_a_dead_fleet_is_leased_again_with_the_trials_it_had(
    store: Store, enter: Callable[..., str], begin: Callable[..., int], gone: str
) -> None:
    id = enter(owner=this_process())
    store.add_fleets(id, [(1.0, {})])
    fleet = store.lease(gone, id)
    assert fleet is not None
    trials = tuple(begin(id, owner=gone, fleet=(fleet.id, row)) for row in range(2))
    assert store.lease(this_process(), id) is None
    store.end_dead()
    again = store.lease(this_process(), id)
    assert again is not None and (again.id, again.trials) == (fleet.id, trials)
    assert not store.end_fleet(fleet.id, gone, "ended")
    assert all(store.reopen(trial, this_process(), {}) for trial in trials)


# Trials


def test_an_interrupted_trial_goes_on_with_what_it_had(
    store: Store,
    comparison: str,
    begin: Callable[..., int],
    measured: Callable[..., Measurement],
) -> None:
    id = begin(comparison)
    started = store.trial(id).started
    rows = [measured(0), measured(1)]
    store.record([(id, m) for m in rows])
    store.end(id, "interrupted", "by a signal", rows[1].ledger, rows[1])
    store.mark_synced(id, "run", 1, ended=True)
    age(store, tables.trial, 1000)
    assert store.reopen(id, "here:2", {"from": 20, "host": "here"})
    found = store.trial(id)
    assert (found.id, found.attempt, found.status) == (id, 1, "running")
    assert found.reason is None and found.ended is None and found.started == started
    assert found.ledger == rows[1].ledger and found.train_metric == 1.0
    assert store.measurements([id])[id] == rows
    assert store.info_of(id) == {"host": "here", "resumed": [{"from": 20, "host": "here"}]}
    now = row(store, tables.trial, id)
    assert (now.lease_owner, now.mlflow_ended, now.mlflow_synced) == ("here:2", False, 1)
    assert now.heartbeat > datetime.now(UTC) - timedelta(seconds=900)
    assert store.end_dead() == []
    last = measured(2)
    store.record([(id, measured(1, 7.0)), (id, last)])
    assert store.measurements([id])[id] == [*rows, last]
    store.end(id, "interrupted", "again", last.ledger, last)
    assert store.reopen(id, "here:3", {"from": 30})
    assert [each["from"] for each in store.info_of(id)["resumed"]] == [20, 30]
    store.end(id, "budget", None, last.ledger, last)
    assert store.trial(id).status == "budget"


@pytest.mark.parametrize("status", ["budget", "diverged", "failed"])
def test_a_trial_that_ended_is_not_reopened(
    store: Store, comparison: str, begin: Callable[..., int], status: Any, gone: str
) -> None:
    id = begin(comparison, owner=gone)
    store.end(id, status, "a reason", store.trial(id).ledger, None)
    before = store.trial(id)
    assert not store.reopen(id, gone, {"from": 1})
    assert store.trial(id) == before and store.info_of(id) == {"host": "here"}
    assert not store.reopen(id + 1, gone, {})


def test_a_running_trial_is_reopened_only_by_its_owner_or_after_a_death(
    store: Store, comparison: str, begin: Callable[..., int], gone: str, living: str
) -> None:
    mine, theirs, dead, silent = (
        begin(comparison, owner=owner) for owner in ("here:1", living, gone, "elsewhere:1")
    )
    age(store, tables.trial, 70, id=silent)
    age(store, tables.trial, 50, id=theirs)
    assert [store.reopen(id, "here:1", {}) for id in (mine, theirs, dead, silent)] == [
        True,
        False,
        True,
        True,
    ]
    assert row(store, tables.trial, theirs).lease_owner == living
    assert row(store, tables.trial, dead).lease_owner == "here:1"


def at_once(url: str, work: Callable[[Store, str], Any], count: int = 4) -> list[Any]:
    """Do the same from threads with a store each, all at once; return what each got or raised."""
    together = threading.Barrier(count)

    def one(i: int) -> Any:
        with Store.open(url) as mine:
            together.wait(60)
            try:
                return work(mine, f"here:{i}")
            except Infrastructure as error:
                return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_those_that_reopen_a_trial_at_once_one_may(
    url: str, store: Store, comparison: str, begin: Callable[..., int]
) -> None:
    for _ in range(5):
        id = begin(comparison)
        store.end(id, "interrupted", None, store.trial(id).ledger, None)
        got = at_once(url, lambda mine, owner, id=id: mine.reopen(id, owner, {"by": owner}))
        assert sorted(got) == [False, False, False, True]
        winner = f"here:{got.index(True)}"
        assert row(store, tables.trial, id).lease_owner == winner
        assert store.info_of(id)["resumed"] == [{"by": winner}]


# Comparisons


@pytest.mark.parametrize("status", ["planned", "interrupted", "failed", "gone", "silent"])
def test_what_nobody_runs_is_taken_over(
    store: Store, enter: Callable[..., str], gone: str, status: Any
) -> None:
    if status == "planned":
        id = enter(owner=None, status="planned")
    else:
        id = enter(owner=gone if status == "gone" else "elsewhere:1")
        if status in ("interrupted", "failed"):
            store.finish_comparison(id, status, {"n": 3})
    age(store, tables.comparison, 70 if status == "silent" else 50)
    before = store.comparison(id)
    found = store.take_over(id[:7], "here:2")
    assert found == store.comparison(id)
    assert (found.status, found.owner, found.ended) == ("running", "here:2", None)
    assert (found.summary, found.created) == (before.summary, before.created)
    assert row(store, tables.comparison, id).heartbeat > datetime.now(UTC) - timedelta(seconds=40)
    assert store.end_dead() == []


def test_only_a_living_trial_begun_in_it_keeps_a_silent_comparison(
    store: Store, enter: Callable[..., str], begin: Callable[..., int]
) -> None:
    id, other = enter(), enter()
    silent, ended, elsewhere = begin(id), begin(id), begin(other)
    store.end(ended, "budget", None, store.trial(ended).ledger, None)
    store.adopt(id, elsewhere)
    age(store, tables.trial, 70, id=silent)
    for seconds, unheard in ((50, []), (70, [id])):
        age(store, tables.comparison, seconds, id=id)
        assert [c.id for c in store.unfinished()] == unheard
    assert store.take_over(id, "here:2").owner == "here:2"


def test_what_is_being_run_is_left_alone(
    store: Store, enter: Callable[..., str], living: str, begin: Callable[..., int]
) -> None:
    id, silent, nameless = enter(owner=living), enter(), enter(owner=None)
    for each in (id, nameless):
        age(store, tables.comparison, 20, id=each)
    with pytest.raises(Infrastructure) as told:
        store.take_over(id, "here:2")
    said, _, ago = str(told.value).partition(" (heartbeat ")
    assert said == f"Comparison {id} is being run by {living}"
    assert 20 <= int(ago.split()[0]) < 55
    assert ago.split(maxsplit=1)[1] == (
        f"s ago), so this command leaves it alone; bench show {id} shows where it stands."
    )
    assert store.comparison(id).owner == living
    with pytest.raises(Infrastructure, match="being run by another process "):
        store.take_over(nameless, "here:2")
    # One of its trials lives, so its process is only slow to say so.
    begin(silent, owner="elsewhere:1")
    age(store, tables.comparison, 70, id=silent)
    with pytest.raises(Infrastructure, match="being run by elsewhere:1"):
        store.take_over(silent, "here:2")


def test_what_is_done_is_not_taken_over(store: Store, enter: Callable[..., str]) -> None:
    id = enter()
    store.finish_comparison(id, "done", {"n": 6})
    before = store.comparison(id)
    with pytest.raises(Usage, match=f"Comparison {id} is done; bench show {id} shows it"):
        store.take_over(id, "here:2")
    assert store.comparison(id) == before and before.owner == "elsewhere:1"
    with pytest.raises(Usage, match="There is no comparison"):
        store.take_over("zzzz", "here:2")


def test_fleets_that_have_failed_are_planned_again(store: Store, enter: Callable[..., str]) -> None:
    id, other = enter(status="planned"), enter(status="planned")
    for comparison in (id, other):
        for fleet in store.add_fleets(comparison, [(1.0, {}), (2.0, {})]):
            store.lease("here:2", comparison, fleet.number)
            store.end_fleet(fleet.id, "here:2", "ended" if fleet.number else "failed")
    store.take_over(id, "here:3")
    assert [fleet.status for fleet in store.fleets(id)] == ["planned", "ended"]
    assert [fleet.status for fleet in store.fleets(other)] == ["failed", "ended"]
    assert store.fleets(id)[0].owner is None


def test_of_those_that_take_over_at_once_one_gets_it(
    url: str, store: Store, enter: Callable[..., str], gone: str
) -> None:
    for turn in range(6):
        id = enter(owner=gone)
        if turn % 2:
            store.finish_comparison(id, "interrupted", None)
        got = at_once(url, lambda mine, owner, id=id: mine.take_over(id, owner))
        won = [i for i, each in enumerate(got) if isinstance(each, ComparisonRecord)]
        assert len(won) == 1
        winner = f"here:{won[0]}"
        assert store.comparison(id).owner == winner == got[won[0]].owner
        for i, each in enumerate(got):
            assert i in won or f"{id} is being run by {winner} (heartbeat " in str(each)


def test_mlflow_hears_of_the_second_end(store: Store, enter: Callable[..., str]) -> None:
    id = enter()
    store.finish_comparison(id, "interrupted", None)
    store.mark_comparison_synced(id, "run")
    store.take_over(id, "here:2")
    assert store.unsynced_comparisons() == []
    # MLflow is told of the first end only now.
    store.mark_comparison_synced(id, "run")
    store.finish_comparison(id, "done", None)
    assert [c.id for c in store.unsynced_comparisons()] == [id]


def test_the_unfinished_are_those_that_can_be_resumed(
    store: Store, enter: Callable[..., str], gone: str, living: str
) -> None:
    planned = enter(status="planned")
    without_plan = enter(plan=None, owner=gone)
    running, done, dead = enter(owner=living), enter(), enter(owner=gone)
    interrupted, failed, silent, heard = enter(), enter(), enter(), enter()
    for id, status in ((done, "done"), (interrupted, "interrupted"), (failed, "failed")):
        store.finish_comparison(id, status, None)
    age(store, tables.comparison, 50)
    age(store, tables.comparison, 70, id=silent)
    found = store.unfinished()
    assert [c.id for c in found] == [silent, failed, interrupted, dead, planned]
    assert found[0] == store.comparison(silent)
    assert {without_plan, running, heard} & {c.id for c in found} == set()
    store.take_over(silent, "here:2")
    store.end_dead()
    assert [c.id for c in store.unfinished()] == [failed, interrupted, dead, planned]
