"""Going on with a comparison of which the store has the plan: by this command, or as a worker."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

from harness import comparing
from harness.errors import Usage
from harness.interrupt import Interrupted, signals
from harness.launch import Run, run_of
from harness.plan import Plan, Task, see_unchanged
from harness.records import FleetRecord
from harness.request import prepare, say
from harness.store.owner import this_process
from harness.store.results import Store
from harness.store.writer import Recorder

LOOK_SECONDS = 2.0
"""Between two looks of a worker that has nothing to do."""
DEAD_SECONDS = 30.0
"""Between two looks for fleets whose processes have died."""


def resume(
    store_url: str,
    comparison: str | None,
    nproc_per_node: int | None,
    data_dir: str | None,
    no_mlflow: bool,
) -> dict[str, Any] | None:
    """Go on with a comparison, or with the newest unfinished one; return its summary."""
    with Store.open(store_url, create=False) as store:
        if comparison is None:
            unfinished = store.unfinished()
            if not unfinished:
                raise Usage(
                    f"There is no comparison in {store.shown_url} that could be resumed: all are "
                    "done, or are being run."
                )
            comparison = unfinished[0].id
        id = store.comparison(comparison).id
        plan = _plan_of(store, id)
    request = replace(plan.request, no_mlflow=no_mlflow, data_dir=data_dir or plan.request.data_dir)
    if nproc_per_node is not None:
        request = replace(request, nproc_per_node=nproc_per_node)
    say(f"Going on with comparison {id}: {plan.command}")
    return comparing.resume(replace(plan, request=request), id)


def _plan_of(store: Store, id: str) -> Plan:
    found = store.plan(id)
    if found is None:
        raise Usage(
            f"Comparison {id} was recorded by an earlier version of bench, without a plan to go on "
            f"with: give its command again, {store.comparison(id).command}"
        )
    return Plan.from_dict(found.body, store.url)


class Worker:
    """Leases fleets of any comparison that is open to workers, and trains them."""

    def __init__(self, store: Store, interrupted: Interrupted, data_dir: str | None) -> None:
        self._store, self._interrupted, self._data_dir = store, interrupted, data_dir
        self._runs: dict[str, tuple[Run, Recorder]] = {}
        self._looked = 0.0

    def work(self, exit_when_empty: bool) -> int:
        """Train until a signal comes, or until nothing waits; return how many fleets it were."""
        trained = 0
        try:
            while not self._interrupted:
                if time.monotonic() - self._looked > DEAD_SECONDS:
                    self._looked = time.monotonic()
                    self._store.end_dead()
                leased = self._store.lease(this_process())
                if leased is not None:
                    self._train(leased)
                    trained += 1
                elif exit_when_empty:
                    break
                else:
                    time.sleep(LOOK_SECONDS)
        finally:
            self._close()
        return trained

    def _train(self, leased: FleetRecord) -> None:
        try:
            run, recorder = self._run(leased)
        except BaseException:
            # Nothing of it was begun, so another worker may.
            self._store.end_fleet(leased.id, this_process(), "planned")
            raise
        run.train(leased, recorder, lambda progress: None)
        recorder.settle()

    def _run(self, leased: FleetRecord) -> tuple[Run, Recorder]:
        id = leased.comparison_id
        if id not in self._runs:
            # One comparison's data at a time.
            self._close()
            plan = _plan_of(self._store, id)
            threads = Task.from_dict(leased.task).threads
            request = replace(
                plan.request, threads=threads, data_dir=self._data_dir or plan.request.data_dir
            )
            prepared = prepare(request)
            see_unchanged(plan, prepared)
            say(f"Training fleets of comparison {id}: {plan.command}")
            sys.argv[:] = plan.argv
            run = run_of(prepared, self._store, id, self._interrupted, say)
            self._runs[id] = run, run.recorder()
        return self._runs[id]

    def _close(self) -> None:
        for _, recorder in self._runs.values():
            recorder.close()
        self._runs.clear()


def work(store_url: str, exit_when_empty: bool, data_dir: str | None) -> int:
    """Be a worker on a store; return the exit code."""
    with signals() as interrupted, Store.open(store_url, create=False) as store:
        trained = Worker(store, interrupted, data_dir).work(exit_when_empty)
        fleets = f"{trained} fleet" + ("" if trained == 1 else "s")
        if interrupted:
            say(f"bench: interrupted by {interrupted.name}, after {fleets}. Others go on with it.")
            return 130
        say(f"Nothing waits any more in {store.shown_url}; {fleets} trained.")
    return 0
