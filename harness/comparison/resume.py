"""Continue comparisons whose plan is in the store: by `bench resume`, or as a worker."""

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
from bench.harness.core.schema import Mismatch
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.run import Run, make_run
from bench.harness.planning import problems
from bench.harness.planning.plan import Plan, check_unchanged
from bench.harness.planning.preparation import prepare
from bench.harness.planning.program import in_words, names_of
from bench.harness.planning.request import Request
from bench.harness.planning.validation import check_ranks
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.interrupt import InterruptFlag, catch_signals
from bench.models.errors import ProblemError
from bench.optim import registry
from bench.optim.hyperparameters import Unavailable, UsageError
from bench.optim.text import parse, split

POLL_SECONDS = 2.0
"""Pause of an idle worker before it asks the store again."""


def resume(
    store_url: str,
    comparison: str | None,
    nproc_per_node: int | None,
    data_dir: str | None,
    no_mlflow: bool,
    plugins: Collection[str] = (),
    tracking_uri: str | None = None,
) -> dict[str, Any] | None:
    """Continue a comparison, or the newest unfinished one; return its summary.

    If the user names a comparison, all methods and problems that it uses are loaded. The newest one
    may be another user's, so it may use only what is built in or listed in `plugins`; otherwise
    raises Usage.
    """
    with Store.open(store_url, create=False) as store:
        newest = None
        if comparison is None:
            unfinished = [each for each in store.unfinished() if not _of_program(store, each.id)]
            if not unfinished:
                raise Usage(
                    f"There is no comparison to resume in {store.redacted_url}: all are done, or "
                    "are running."
                )
            comparison = newest = unfinished[0].id
        id = store.comparison(comparison).id
        plan = load_plan(store, id)
        if names := names_of(plan.request):
            raise Usage(
                f"Comparison {id}: {in_words(names, 'was', 'were')}, so no command can go on with "
                "it. Run that program again: it reuses the trials that have ended."
            )
        if newest is not None and (others := unapproved_plugins(plan.request, plugins)):
            raise Usage(
                f"Comparison {id}, the newest unfinished one, uses {others[0]}, which is not built "
                f"in. To load it, name the comparison, bench resume {id}, or add --plugin "
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
        # The threads of planned fleets are in their plans; this is for fleets planned later.
        threads=None if threads is None else min(threads, os.cpu_count() or 1),
    )
    if request.nproc_per_node is not None and (waiting or nproc_per_node is not None):
        # If everything is trained, no ranks are needed to compute the verdicts.
        check_ranks(request)
    say(f"Continuing comparison {id}: {plan.command}")
    return compare.resume(replace(plan, request=request), id)


def _of_program(store: Store, id: str) -> bool:
    """Say whether a comparison has objects of a Python program, so that no command resumes it."""
    with suppress(Usage):
        return bool(names_of(load_plan(store, id).request))
    return False


def load_plan(store: Store, id: str) -> Plan:
    """Return the plan of a comparison; raise Usage if another version of bench wrote it."""
    found = store.plan(id)
    # The id becomes part of file names, so check it: another user may have written the row.
    if found is not None and re.fullmatch("[0-9a-f]{8}", id):
        # A plan with other fields was written by another version.
        with suppress(Mismatch):
            return Plan.from_dict(found.body, store.url)
    raise Usage(
        f"Comparison {id} has no plan that this version of bench can continue, because another "
        f"version began it. Repeat its command: {store.comparison(id).command}"
    )


def unapproved_plugins(request: Request, plugins: Collection[str]) -> list[str]:
    """Return the methods and the problem of a request that are neither built in nor in `plugins`.

    This imports nothing: a plan names modules and files, and anybody who can write to the store
    could have written it.
    """
    written = chain(split(request.optimizers), *request.added)
    methods = [name for text in written for name in parse(text).names]
    problem = parse(request.problem).name
    own = [name for name in methods if not registry.is_built_in(name)]
    own += [] if problems.is_built_in(problem) else [problem]
    return [name for name in dict.fromkeys(own) if name not in plugins]


class Worker:
    """Leases fleets of comparisons that were planned for workers, and trains them.

    It loads only methods and problems that are built in or that its user listed in `plugins`.
    """

    def __init__(
        self,
        store: Store,
        interrupted: InterruptFlag,
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
        """Train until a signal comes, or until no fleet waits; return the number of fleets."""
        trained = 0
        try:
            while not self._interrupted:
                if (leased := self._next()) is not None:
                    trained += self._train(leased)
                elif exit_when_empty:
                    break
                else:
                    self._close()
                    time.sleep(POLL_SECONDS)
        finally:
            self._close()
        return trained

    def _next(self) -> FleetRecord | None:
        leased = self._store.lease(this_process(), excluded=self.refused)
        if leased is None:
            # A fleet whose process was killed may be leased again.
            self._store.end_dead()
            leased = self._store.lease(this_process(), excluded=self.refused)
        return leased

    def _train(self, leased: FleetRecord) -> bool:
        """Train a fleet; return whether that was possible here."""
        try:
            run, recorder = self._ready(leased)
        except BaseException as error:
            # Give the fleet back: its training has not begun, so another worker can take it.
            self._store.end_fleet(leased.id, this_process(), "planned")
            if not isinstance(error, BenchError | UsageError | ProblemError | Unavailable):
                raise
            self.refused.add(leased.comparison_id)
            which = f"Comparison {leased.comparison_id}"
            say(f"{which} cannot be trained here, so it is skipped: {str(error).rstrip('.')}.")
            return False
        try:
            LeasedFleet(run, leased, recorder, lambda progress: None).train()
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
        # Keep the data of one comparison at a time.
        self._close()
        id = self._id = leased.comparison_id
        plan = load_plan(self._store, id)
        if others := unapproved_plugins(plan.request, self._plugins):
            flags = " ".join(f"--plugin {shlex.quote(name)}" for name in others)
            raise Usage(
                f"it uses {' and '.join(others)}, which a worker loads only if you start it with "
                f"{flags}"
            )
        spool = self._store.artifacts.parent / "spool"
        self._recorder = Recorder(self._store, spool, say, owner=this_process())
        # Preparing data may take longer than a lease lasts without a heartbeat.
        self._recorder.hold(leased.id)
        data_dir = self._data_dir or plan.request.data_dir
        prepared = prepare(replace(plan.request, threads=None, data_dir=data_dir))
        check_unchanged(plan, prepared)
        say(f"Training fleets of comparison {id}: {plan.command}")
        sys.argv[:] = plan.argv
        self._run = make_run(prepared, self._store, id, self._interrupted, say)
        return self._run, self._recorder

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._id = self._run = self._recorder = None


def work(
    store_url: str, exit_when_empty: bool, data_dir: str | None, plugins: Collection[str] = ()
) -> int:
    """Run a worker on a store; return the exit code."""
    with catch_signals() as interrupted, Store.open(store_url, create=False) as store:
        worker = Worker(store, interrupted, data_dir, plugins)
        trained = worker.work(exit_when_empty)
        fleets = f"{trained} fleet" + ("" if trained == 1 else "s")
        if interrupted:
            say(
                f"bench: interrupted by {interrupted.name}, after {fleets}. Other workers can "
                "continue."
            )
            return 130
        if worker.refused:
            say(
                f"The fleets left in {store.redacted_url} cannot be trained here; {fleets} trained."
            )
            return Infrastructure.exit_code
        say(f"No fleet is waiting in {store.redacted_url}; {fleets} trained.")
    return 0
