"""Says which rank is behind when one hangs or has died, instead of waiting for ever.

Each rank shows the others its pulse in the store where they met: a thread writes there, every
`period`, how far the training is. Who waits for longer than the deadline reads everybody's, twice.
A rank whose pulse has not moved meanwhile was stopped or has died; else the one is behind that
has entered the fewest exchanges.
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
update, one evaluation or one pass over new data may take so long, on the slowest rank."""
PERIOD, PERIODS = 1.0, 10
"""Seconds from one beat of the pulse to the next, but at least so many of them to a deadline."""
SEEN_IN = 3
"""A pulse that does not move for so many periods has stopped."""

Ended = Literal["is behind", "has died"]


class Store(Protocol):
    """What is used of a `torch.distributed.Store`; it raises RuntimeError where nobody answers."""

    def clone(self) -> Store:
        """Return another connection to it."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return values, once they are there."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Write a value unless there is another than expected ("": none); return what is there."""


@dataclass(frozen=True)
class Pulse:
    """What a rank shows of itself."""

    process: str
    """Host and number of its process."""
    beat: int = 0
    """Moves as long as the process runs, whatever its training does."""
    exchanges: int = 0
    """Exchanges with other ranks that its training has entered."""
    updates: int = 0
    at: float = 0.0
    """Time of the training's last sign of life."""


def deadline() -> float:
    """Return the seconds of BENCH_DEADLINE, or `DEADLINE`; Usage where they are none."""
    given = os.environ.get("BENCH_DEADLINE", "")
    if not given:
        return DEADLINE
    with suppress(ValueError):
        if 0 < (seconds := float(given)) < float("inf"):
            return seconds
    raise Usage(
        f"BENCH_DEADLINE={given}: it is the seconds after which a rank that shows no sign of life "
        f"ends the run, a number above 0; leave it out for {DEADLINE:g}."
    )


class Watch:
    """Shows this rank's pulse, and calls `on_hang` with a sentence once training is silent.

    `on_hang` is called in a thread of its own, once; it is to end the process.
    """

    def __init__(
        self, rank: int, size: int, store: Store, deadline: float, on_hang: Callable[[str], None]
    ) -> None:
        # What the training does with the store, it may wait for: this has connections of its own.
        self._shown, self._read = store.clone(), store.clone()
        self._rank, self._size, self._deadline = rank, size, deadline
        self._on_hang, self._period = on_hang, min(PERIOD, deadline / PERIODS)
        self._pulse = Pulse(f"{socket.gethostname()}:{os.getpid()}", at=time.time())
        self._beats = 0
        self._show()
        self._known = self._everybodys()
        self._closed = Event()
        self._threads = [Thread(target=each, daemon=True) for each in (self._beat, self._guard)]
        for thread in self._threads:
            thread.start()

    def alive(self, updates: int | None = None) -> None:
        """Take note that the training goes on."""
        made = self._pulse.updates if updates is None else updates
        self._pulse = replace(self._pulse, updates=made, at=time.time())

    def entered(self) -> None:
        """Take note that the training is about to wait for other ranks."""
        self._pulse = replace(self._pulse, exchanges=self._pulse.exchanges + 1, at=time.time())

    def close(self) -> None:
        """End the pulse."""
        self._closed.set()
        for thread in self._threads:
            # The store may not answer any more.
            thread.join(SEEN_IN * self._period)

    def verdict(self, ended: Ended) -> str:
        """Return which rank is behind, in a sentence: the same on all ranks that ask."""
        found: SimpleQueue[str] = SimpleQueue()
        # A store whose process was stopped lets its readers wait for ever.
        Thread(target=self._judge, args=(ended, found.put), daemon=True).start()
        try:
            return found.get(timeout=3 * SEEN_IN * self._period)
        except Empty:
            return (
                f"Rank 0 ({self._known[0].process}), or the launcher that started it, does not "
                f"answer; rank {self._rank} waits at update {self._pulse.updates + 1}."
            )

    def _judge(self, ended: Ended, tell: Callable[[str], None]) -> None:
        with suppress(RuntimeError):  # Nobody answers.
            before = self._everybodys()
            time.sleep(SEEN_IN * self._period)
            sentence = verdict(before, self._everybodys(), time.time(), ended)
            # Who has spoken ends, and is silent for those that look later.
            sentence = self._read.compare_set("verdict", "", sentence).decode()
            if self._rank == 0:
                # The store may be in this process, and the others are to find it there.
                time.sleep(SEEN_IN * self._period)
            tell(sentence)

    def _everybodys(self) -> list[Pulse]:
        keys = [str(rank) for rank in range(self._size)]
        return [Pulse(**json.loads(value)) for value in self._read.multi_get(keys)]

    def _show(self) -> None:
        self._beats += 1
        shown = replace(self._pulse, beat=self._beats)
        self._shown.set(str(self._rank), json.dumps(asdict(shown)))

    def _beat(self) -> None:
        while not self._closed.wait(self._period):
            with suppress(RuntimeError):  # What matters is whether the training goes on.
                self._show()

    def _guard(self) -> None:
        silent, seen, before = 0.0, self._pulse, time.monotonic()
        while not self._closed.wait(self._period):
            now = time.monotonic()
            # A process that was stopped and goes on has not waited all the while.
            silent, before = silent + min(now - before, 2 * self._period), now
            if self._pulse is not seen:
                silent, seen = 0.0, self._pulse
            if silent > self._deadline:
                self._on_hang(
                    f"{self.verdict('is behind')} No sign of life for {self._deadline:g} s ends "
                    "the run; BENCH_DEADLINE sets another limit."
                )
                return


def verdict(before: Sequence[Pulse], after: Sequence[Pulse], now: float, ended: Ended) -> str:
    """Return the sentence that names who is behind, from two looks at the pulses of all ranks."""
    ranks = range(len(after))
    fewest = min(pulse.exchanges for pulse in after)
    behind = [r for r in ranks if before[r].beat == after[r].beat]
    if not behind:
        behind, ended = [r for r in ranks if after[r].exchanges == fewest], "is behind"
    others = [rank for rank in ranks if rank not in behind]
    waiting = max(pulse.updates for pulse in after) + 1
    if not others:
        return (
            f"All ranks wait in the same exchange, at update {waiting}, and it does not come to "
            "an end: see whether the machines reach each other."
        )
    said = "; ".join(
        f"rank {r} ({after[r].process}) {ended}: it had made {after[r].updates} updates when last "
        f"heard, {max(0.0, now - after[r].at):.0f} s ago"
        for r in behind
    )
    wait = "waits" if len(others) == 1 else "wait"
    return f"{said[0].upper()}{said[1:]}; {named(others)} {wait} at update {waiting}."
