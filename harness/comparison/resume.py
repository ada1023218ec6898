"""Going on with a comparison of which the store has the plan: by this command, or as a worker."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

from bench.harness.comparison import compare
from bench.harness.core.errors import BenchError, Infrastructure, LeaseLost, Usage
from bench.harness.core.notices import say
from bench.harness.core.records import FleetRecord
from bench.harness.execution.run import Run, run_of
from bench.harness.planning import problems
from bench.harness.planning.plan import Plan, see_unchanged
from bench.harness.planning.preparation import prepare
from bench.harness.planning.request import Request
from bench.harness.planning.validation import check_ranks
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.interrupt import Interrupted, signals
from bench.optim import registry
from bench.optim.hyperparameters import Unavailable, UsageError
from bench.optim.text import parse, split

LOOK_SECONDS = 2.0
"""Between two looks of a worker that has nothing to do."""


def resume(
    store_url: str,
    comparison: str | None,
    nproc_per_node: int | None,
    data_dir: str | None,
    no_mlflow: bool,
    plugins: Collection[str] = (),
    tracking_uri: str | None = None,
) -> dict[str, Any] | None:
    """Go on with a comparison, or with the newest unfinished one; return its summary.

    Who names a comparison has whatever it names loaded. The newest one may be anybody's, so of
    what is not built in it may name `plugins` alone: Usage says what else it names.
    """
    with Store.open(store_url, create=False) as store:
        newest = None
        if comparison is None:
            unfinished = store.unfinished()
            if not unfinished:
                raise Usage(
                    f"There is no comparison in {store.shown_url} that could be resumed: all are "
                    "done, or are being run."
                )
            comparison = newest = unfinished[0].id
        id = store.comparison(comparison).id
        plan = plan_of(store, id)
        if newest is not None and (others := not_named(plan.request, plugins)):
            raise Usage(
                f"Comparison {id}, the newest that is unfinished, uses {others[0]}, which is not "
                f"built in and is loaded only when you ask for it: bench resume {id}, or --plugin "
                f"{others[0]}."
            )
        waiting = any(fleet.status != "ended" for fleet in store.fleets(id))
    threads = plan.request.threads
    request = replace(
        plan.request,
        no_mlflow=no_mlflow,
        tracking_uri=tracking_uri,
        data_dir=data_dir or plan.request.data_dir,
        nproc_per_node=nproc_per_node or plan.request.nproc_per_node,
        # How many a fleet has is in its plan; this is for what is planned from here on.
        threads=None if threads is None else min(threads, os.cpu_count() or 1),
    )
    if request.nproc_per_node is not None and (waiting or nproc_per_node is not None):
        # To judge what is trained takes no ranks.
        check_ranks(request)
    say(f"Going on with comparison {id}: {plan.command}")
    return compare.resume(replace(plan, request=request), id)


def plan_of(store: Store, id: str) -> Plan:
    """Return how a comparison was asked for; Usage where another version of bench entered it."""
    found = store.plan(id)
    # An id is part of the names of files, and somebody else may have written the row.
    if found is not None and re.fullmatch("[0-9a-f]{8}", id):
        # A plan with other fields is another version's.
        with suppress(KeyError, TypeError):
            return Plan.from_dict(found.body, store.url)
    raise Usage(
        f"Comparison {id} was entered by another version of bench, which left no plan that this "
        f"one can go on with: give its command again, {store.comparison(id).command}"
    )


def not_named(request: Request, plugins: Collection[str]) -> list[str]:
    """Return the methods and the problem of a request that are neither built in nor `plugins`.

    Nothing is imported for it: a plan names modules and files, and whoever can write to its
    store has written that.
    """
    written = chain(split(request.optimizers), *request.added)
    methods = [parse(text).name for text in written]
    problem = parse(request.problem).name
    own = [name for name in methods if not registry.is_built_in(name)]
    own += [] if problems.is_built_in(problem) else [problem]
    return [name for name in dict.fromkeys(own) if name not in plugins]


class Worker:
    """Leases fleets of any comparison that is open to workers, and trains them.

    Of what is not built in it loads `plugins` alone, which its user has named.
    """

    def __init__(
        self,
        store: Store,
        interrupted: Interrupted,
        data_dir: str | None,
        plugins: Collection[str] = (),
    ) -> None:
        self._store, self._interrupted, self._data_dir = store, interrupted, data_dir
        self._plugins = plugins
        self.refused: set[str] = set()
        """Comparisons that cannot be trained here."""
        self._id: str | None = None
        self._run: Run | None = None
        self._recorder: Recorder | None = None

    def work(self, exit_when_empty: bool) -> int:
        """Train until a signal comes, or until nothing waits; return how many fleets it were."""
        trained = 0
        try:
            while not self._interrupted:
                if (leased := self._next()) is not None:
                    trained += self._train(leased)
                elif exit_when_empty:
                    break
                else:
                    self._close()
                    time.sleep(LOOK_SECONDS)
        finally:
            self._close()
        return trained

    def _next(self) -> FleetRecord | None:
        leased = self._store.lease(this_process(), but=self.refused)
        if leased is None:
            # One whose process has died may be free, too.
            self._store.end_dead()
            leased = self._store.lease(this_process(), but=self.refused)
        return leased

    def _train(self, leased: FleetRecord) -> bool:
        """Train a fleet; say whether that was possible here."""
        try:
            run, recorder = self._ready(leased)
        except BaseException as error:
            # Nothing of it was begun, so another worker may.
            self._store.end_fleet(leased.id, this_process(), "planned")
            if not isinstance(error, BenchError | UsageError | Unavailable):
                raise
            self.refused.add(leased.comparison_id)
            which = f"Comparison {leased.comparison_id}"
            say(f"{which} cannot be trained here, and is left out: {str(error).rstrip('.')}.")
            return False
        try:
            run.train(leased, recorder, lambda progress: None)
        except LeaseLost as lost:
            say(str(lost))
        return True

    def _ready(self, leased: FleetRecord) -> tuple[Run, Recorder]:
        if (
            self._id == leased.comparison_id
            and self._run is not None
            and self._recorder is not None
        ):
            return self._run, self._recorder
        # One comparison's data at a time.
        self._close()
        id = self._id = leased.comparison_id
        plan = plan_of(self._store, id)
        if others := not_named(plan.request, self._plugins):
            flags = " ".join(f"--plugin {shlex.quote(name)}" for name in others)
            raise Usage(
                f"it uses {' and '.join(others)}, which a worker loads only when it is started "
                f"with {flags}"
            )
        spool = self._store.artifacts.parent / "spool"
        self._recorder = Recorder(self._store, spool, say, owner=this_process())
        # Data may take longer to make than a lease lasts without a heartbeat.
        self._recorder.hold(leased.id)
        data_dir = self._data_dir or plan.request.data_dir
        prepared = prepare(replace(plan.request, threads=None, data_dir=data_dir))
        see_unchanged(plan, prepared)
        say(f"Training fleets of comparison {id}: {plan.command}")
        sys.argv[:] = plan.argv
        self._run = run_of(prepared, self._store, id, self._interrupted, say)
        return self._run, self._recorder

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._id = self._run = self._recorder = None


def work(
    store_url: str, exit_when_empty: bool, data_dir: str | None, plugins: Collection[str] = ()
) -> int:
    """Be a worker on a store; return the exit code."""
    with signals() as interrupted, Store.open(store_url, create=False) as store:
        worker = Worker(store, interrupted, data_dir, plugins)
        trained = worker.work(exit_when_empty)
        fleets = f"{trained} fleet" + ("" if trained == 1 else "s")
        if interrupted:
            say(f"bench: interrupted by {interrupted.name}, after {fleets}. Others go on with it.")
            return 130
        if worker.refused:
            say(f"What is left in {store.shown_url} cannot be trained here; {fleets} trained.")
            return Infrastructure.exit_code
        say(f"Nothing waits any more in {store.shown_url}; {fleets} trained.")
    return 0
