"""Recording in a background thread, so that training never waits for the store."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import Ledger, Measurement, Status
from bench.harness.core.text import visible
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store
from bench.harness.store.spool import Entry, Spool, SpooledEnd, SpooledMeasurement, deliver, replay

FLUSH_SECONDS = 2.0
HEARTBEAT_SECONDS = 10.0


def _print(sentence: str) -> None:
    with suppress(OSError, ValueError):
        print(visible(sentence), file=sys.stderr, flush=True)


class Recorder:
    """Accepts measurements at once, and a thread writes them to the store within seconds.

    While the store is away, rows go to a file in `spool`, and `warn` gets one sentence. The rows
    are written to the store when it is back, or by the next recorder of the same store. Open
    trials, held fleets and the comparison get heartbeats, if `owner` runs them. Nothing is written
    to a trial that another process has taken over from a given `owner`.
    """

    def __init__(
        self,
        store: Store,
        spool: Path,
        warn: Callable[[str], None] = _print,
        comparison_id: str | None = None,
        owner: str | None = None,
    ) -> None:
        self._store = store
        self._folder = spool
        self._spool = Spool(store, spool, warn, owner)
        self._warn = warn
        self._comparison_id = comparison_id
        self._claimed = owner
        self._owner = owner or this_process()
        self._held: set[int] = set()
        self._lost: set[int] = set()
        self._waiting: list[Entry] = []
        self._open: set[int] = set()
        self._closing = False
        self._away = False
        self._leftovers = True
        self._flushes_requested = self._flushes_done = 0
        self._unsent: list[Entry] = []
        self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def open(self, trial_id: int) -> None:
        """Send heartbeats for a trial from now until its end."""
        with self._changed:
            self._open.add(trial_id)

    def hold(self, fleet_id: int) -> None:
        """Send heartbeats for a leased fleet from now until it is released."""
        with self._changed:
            self._held.add(fleet_id)
            # The fleet may have been lost before and leased again.
            self._lost.discard(fleet_id)

    def release(self, fleet_id: int) -> None:
        """Stop the heartbeats of a fleet."""
        with self._changed:
            self._held.discard(fleet_id)

    def lost(self, fleet_id: int) -> bool:
        """Return whether another process is known to have taken over a held fleet."""
        return fleet_id in self._lost

    def measure(self, trial_id: int, measurement: Measurement) -> None:
        """Accept a measurement; returns at once."""
        with self._changed:
            self._open.add(trial_id)
            self._waiting.append(SpooledMeasurement(trial_id, measurement))

    def end(
        self,
        trial_id: int,
        status: Status,
        reason: str | None,
        ledger: Ledger,
        last: Measurement | None,
    ) -> None:
        """Accept the end of a trial, which is written after its measurements; returns at once."""
        with self._changed:
            self._open.discard(trial_id)
            self._waiting.append(SpooledEnd(trial_id, status, reason, ledger, last))

    def flush(self) -> None:
        """Wait until all accepted rows are in the store, or on disk if the store is away."""
        with self._changed:
            self._flushes_requested += 1
            wanted = self._flushes_requested
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._flushes_done >= wanted or not self._thread.is_alive()
            )

    def close(self) -> bool:
        """Write everything to the store or the spool and stop; return whether the store has all."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        return not self._away

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _work(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._flushes_requested > self._flushes_done,
                    timeout=FLUSH_SECONDS,
                )
                closing, wanted = self._closing, self._flushes_requested
                self._unsent += self._waiting
                self._waiting = []
                trials, fleets = set(self._open), set(self._held)
            try:
                self._send(trials, fleets)
            except Infrastructure as error:
                self._spool_rows(error)
            with self._changed:
                self._flushes_done = wanted
                self._changed.notify_all()
        if self._away:
            self._report_unsent()

    def _send(self, trials: set[int], fleets: set[int]) -> None:
        if self._leftovers:
            count = replay(self._store, self._folder, self._warn)
            self._leftovers = False
            if count:
                self._warn(f"{count} rows from {self._folder} have been written to the store.")
        self._spool.deliver()
        deliver(self._store, self._unsent, self._claimed)
        self._unsent = []
        # The first successful heartbeat shows that the store is back.
        if self._away or time.monotonic() >= self._next_heartbeat:
            self._lost |= self._store.heartbeat(self._owner, trials, fleets, self._comparison_id)
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        if self._away:
            self._away = False
            self._warn(f"The store {self._store.redacted_url} is back and has everything.")

    def _spool_rows(self, error: Infrastructure) -> None:
        first, self._away = not self._away, True
        where = f"in {self._spool.path}"
        try:
            self._spool.append(self._unsent)
            self._unsent = []
        except OSError as failure:
            where = f"in memory ({self._folder} cannot be written: {failure.strerror})"
        if first:
            self._warn(
                f"{error} Training goes on; what it measures is kept {where} "
                "until the store is back."
            )

    def _report_unsent(self) -> None:
        if self._spool:
            self._warn(
                f"The store is still away: the missing rows stay in {self._spool.path}, and the "
                "next run that uses this store writes them to it."
            )
        self._spool.close()
        if self._unsent:
            self._warn(
                f"{len(self._unsent)} rows are lost: neither the store nor {self._folder} "
                "could be written."
            )
