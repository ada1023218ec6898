"""A watchdog that names the rank that hangs or has died, so that the others need not wait for it.

A thread of each rank writes a heartbeat to the key-value store of the process group once a period.
It says how far the training has come. A rank that has waited longer than the deadline reads the
heartbeats of all ranks twice. A rank whose heartbeat did not change in between was stopped or has
died. If all have changed, the rank that has started the fewest exchanges is behind.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Literal, Protocol

from bench.harness.core.errors import Usage
from bench.harness.distributed.ranks import named

DEADLINE = 300.0
"""Seconds without a sign of life after which a run ends; BENCH_DEADLINE sets another number. One
update, one evaluation or one pass over new data may take this long on the slowest rank."""
PERIOD, PERIODS_PER_DEADLINE = 1.0, 10
"""Seconds between two heartbeats, and the least number of heartbeats within a deadline."""
STOPPED_AFTER = 3
"""A process has stopped if its heartbeat does not change for this many periods."""

DIAGNOSIS = "diagnosis"
"""The key of the sentence that all ranks say."""

Condition = Literal["is behind", "has died"]


class KeyValueStore(Protocol):
    """The methods of a `torch.distributed.Store` that are used here.

    They raise RuntimeError if the store does not answer.
    """

    def clone(self) -> KeyValueStore:
        """Return another connection to the same store."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def check(self, keys: list[str]) -> bool:
        """Return whether all of some keys exist."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return the values of some keys; wait until all exist."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Write `desired` if the value is `expected`; return the value that is then stored.

        An empty `expected` means that the key must not exist.
        """


@dataclass(frozen=True)
class Heartbeat:
    """The state of a rank, which it writes for the other ranks."""

    process: str
    """Host and number of the process."""
    beat: int = 0
    """Increases as long as the process runs, whatever the training does."""
    exchanges: int = 0
    """Number of exchanges with other ranks that the training has started."""
    updates: int = 0
    at: float = 0.0
    """Time of the last sign of life of the training, in seconds since the epoch."""


def deadline() -> float:
    """Return BENCH_DEADLINE in seconds, or `DEADLINE`; raises Usage if it is not a duration."""
    given = os.environ.get("BENCH_DEADLINE", "")
    if not given:
        return DEADLINE
    with suppress(ValueError):
        if 0 < (seconds := float(given)) < float("inf"):
            return seconds
    raise Usage(
        f"BENCH_DEADLINE={given}: write a number above 0. A run ends after this many seconds "
        f"without a sign of life from one of its ranks. Leave it out for {DEADLINE:g}."
    )


class Watchdog:
    """Writes this rank's heartbeat, and calls `on_hang` with a sentence if the training hangs.

    A separate thread calls `on_hang` once; it must end the process.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        store: KeyValueStore,
        deadline: float,
        on_hang: Callable[[str], None],
    ) -> None:
        # Separate connections, because the training may wait for an answer on its own.
        self._writer, self._reader = store.clone(), store.clone()
        self._rank, self._size, self._deadline = rank, size, deadline
        self._on_hang, self._period = on_hang, min(PERIOD, deadline / PERIODS_PER_DEADLINE)
        self._heartbeat = Heartbeat(f"{socket.gethostname()}:{os.getpid()}", at=time.time())
        self._beats = 0
        self._diagnosis = ""
        """What another rank has found; it ends then, and so may the store."""
        self._write()
        self._first_heartbeats = self._all_heartbeats()
        self._closed = Event()
        loops = (self._write_heartbeats, self._check_activity)
        self._threads = [Thread(target=each, daemon=True) for each in loops]
        for thread in self._threads:
            thread.start()

    def record_activity(self, updates: int | None = None) -> None:
        """Record a sign of life of the training, and the number of its updates."""
        updates = self._heartbeat.updates if updates is None else updates
        self._heartbeat = replace(self._heartbeat, updates=updates, at=time.time())

    def record_exchange(self) -> None:
        """Record that the training is about to wait for other ranks."""
        exchanges = self._heartbeat.exchanges + 1
        self._heartbeat = replace(self._heartbeat, exchanges=exchanges, at=time.time())

    def close(self) -> None:
        """Stop the threads of the watchdog."""
        self._closed.set()
        for thread in self._threads:
            # With a limit, because the store may not answer any more.
            thread.join(STOPPED_AFTER * self._period)

    def diagnose(self, condition: Condition) -> str:
        """Return a sentence that names the rank that is behind, the same on all ranks that ask."""
        sentences: SimpleQueue[str] = SimpleQueue()
        # In a thread, because a store whose process was stopped never answers its readers.
        Thread(target=self._write_diagnosis, args=(condition, sentences.put), daemon=True).start()
        try:
            return sentences.get(timeout=3 * STOPPED_AFTER * self._period)
        except Empty:
            return self._diagnosis or (
                f"Rank 0 ({self._first_heartbeats[0].process}), or the launcher that started it, "
                f"does not answer; rank {self._rank} waits at update {self._heartbeat.updates + 1}."
            )

    def _write_diagnosis(self, condition: Condition, put: Callable[[str], None]) -> None:
        if self._diagnosis:
            put(self._diagnosis)
            return
        with suppress(RuntimeError):  # The store does not answer.
            before = self._all_heartbeats()
            time.sleep(STOPPED_AFTER * self._period)
            sentence = diagnosis(before, self._all_heartbeats(), time.time(), condition)
            # The first diagnosis counts: a rank that has one ends, and later ranks would blame it.
            sentence = self._reader.compare_set(DIAGNOSIS, "", sentence).decode()
            if self._rank == 0:
                # The store may live in this process; the others need time to read it.
                time.sleep(STOPPED_AFTER * self._period)
            put(sentence)

    def _all_heartbeats(self) -> list[Heartbeat]:
        keys = [str(rank) for rank in range(self._size)]
        return [Heartbeat(**json.loads(value)) for value in self._reader.multi_get(keys)]

    def _write(self) -> None:
        self._beats += 1
        heartbeat = replace(self._heartbeat, beat=self._beats)
        self._writer.set(str(self._rank), json.dumps(asdict(heartbeat)))

    def _read_diagnosis(self) -> None:
        """Keep the diagnosis of another rank: this one may notice only when that one has ended."""
        if not self._diagnosis and self._writer.check([DIAGNOSIS]):
            self._diagnosis = self._writer.multi_get([DIAGNOSIS])[0].decode()

    def _write_heartbeats(self) -> None:
        while not self._closed.wait(self._period):
            with suppress(RuntimeError):  # Training may continue although the store is away.
                self._write()
                self._read_diagnosis()

    def _check_activity(self) -> None:
        silent, last, before = 0.0, self._heartbeat, time.monotonic()
        while not self._closed.wait(self._period):
            now = time.monotonic()
            # The time during which this process was stopped does not count.
            silent, before = silent + min(now - before, 2 * self._period), now
            if self._heartbeat is not last:
                silent, last = 0.0, self._heartbeat
            if silent > self._deadline:
                self._on_hang(
                    f"{self.diagnose('is behind')} No sign of life for {self._deadline:g} s ends "
                    "the run; BENCH_DEADLINE sets another limit."
                )
                return


def diagnosis(
    before: Sequence[Heartbeat], after: Sequence[Heartbeat], now: float, condition: Condition
) -> str:
    """Return a sentence that names the ranks that are behind, from two heartbeats of each rank."""
    ranks = range(len(after))
    fewest = min(heartbeat.exchanges for heartbeat in after)
    behind = [r for r in ranks if before[r].beat == after[r].beat]
    if not behind:
        behind, condition = [r for r in ranks if after[r].exchanges == fewest], "is behind"
    others = [rank for rank in ranks if rank not in behind]
    waiting = max(heartbeat.updates for heartbeat in after) + 1
    if not others:
        return (
            f"All ranks wait in the same exchange, at update {waiting}, and it does not end: check "
            "that the machines reach each other."
        )
    text = "; ".join(
        f"rank {r} ({after[r].process}) {condition}: its last sign of life came "
        f"{max(0.0, now - after[r].at):.0f} s ago, after {after[r].updates} updates"
        for r in behind
    )
    wait = "waits" if len(others) == 1 else "wait"
    return f"{text[0].upper()}{text[1:]}; {named(others)} {wait} at update {waiting}."
