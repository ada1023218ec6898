"""How training would scale over ranks: arithmetic on what was measured, and on vendors' figures.

Nothing here measures anything. `benchmarks/distributed/ranks.py` measures one and two ranks on a
CPU; what is said of GPUs is a prediction from figures that their maker publishes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

HALF = 0.5
"""Below this efficiency more ranks are called a waste."""
MOST = 2**20
"""Ranks beyond which nobody asks."""


@dataclass(frozen=True)
class Link:
    """What lies between ranks."""

    latency: float
    """Seconds from the beginning of a message until a short one is there."""
    bandwidth: float
    """Bytes a second that a rank can send while it receives as many."""


@dataclass(frozen=True)
class Exchange:
    """What ranks add up in one unit of work: how often, and bytes in all."""

    calls: float
    bytes: float

    def seconds(self, ranks: int, link: Link) -> float:
        """Return the least that summing over N ranks takes, halving and then doubling.

            t = 2 ⌈log₂ N⌉ · latency · calls + 2 (N − 1) / N · bytes / bandwidth

        A ring sends as many bytes, in 2 (N − 1) steps; for N = 2 they are the same.

        >>> Exchange(calls=3, bytes=1e6).seconds(8, Link(latency=1e-4, bandwidth=1e9))
        0.00355
        >>> Exchange(calls=3, bytes=1e6).seconds(1, Link(latency=1e-4, bandwidth=1e9))
        0.0
        """
        steps = 2 * math.ceil(math.log2(ranks))
        sent = 2 * (ranks - 1) / ranks * self.bytes
        return steps * link.latency * self.calls + sent / link.bandwidth


@dataclass(frozen=True)
class Work:
    """A unit of work of one fleet, an update or an iteration, in mode data."""

    fixed: float
    """Seconds that every rank spends however few cases it has."""
    a_case: float
    """Seconds a case."""
    cases: float
    exchange: Exchange
    fixed_alone: float | None = None
    """`fixed` of a single rank, where that can do something that several cannot."""

    def seconds(self, ranks: int, link: Link) -> float:
        """Return t(N) = fixed + a_case · ⌈cases / N⌉ + exchange; nothing of it overlaps.

        >>> work = Work(fixed=0.5, a_case=0.01, cases=100, exchange=Exchange(1, 1e6))
        >>> [work.seconds(n, Link(0.0, 1e7)) for n in (1, 2, 64)]
        [1.5, 1.1, 0.716875]
        """
        fixed = self.fixed
        if ranks == 1 and self.fixed_alone is not None:
            fixed = self.fixed_alone
        compute = self.a_case * math.ceil(self.cases / ranks)
        return fixed + compute + self.exchange.seconds(ranks, link)

    def limit(self, ranks: int, link: Link) -> str:
        """Return what takes the most of t(N)."""
        exchange = self.exchange.seconds(ranks, link)
        latency = Exchange(self.exchange.calls, 0).seconds(ranks, link)
        parts = {
            "computing": self.a_case * math.ceil(self.cases / ranks),
            "what every rank does": self.fixed,
            "latency of the reduction": latency,
            "bytes of the reduction": exchange - latency,
        }
        return max(parts, key=lambda name: parts[name])


@dataclass(frozen=True)
class Line:
    """y = at_zero + slope · x."""

    at_zero: float
    slope: float

    @classmethod
    def through(cls, one: tuple[float, float], other: tuple[float, float]) -> Line:
        """Return the line through two points, or with at_zero = 0 through the farther one.

        >>> Line.through((25, 3.0), (400, 18.0))
        Line(at_zero=2.0, slope=0.04)
        >>> Line.through((1, 0.5), (2, 2.0))
        Line(at_zero=0.0, slope=1.0)
        """
        (near, low), (far, high) = sorted((one, other))
        slope = (high - low) / (far - near)
        at_zero = low - slope * near
        if at_zero < 0 or slope < 0:
            return cls(0.0, high / far)
        return cls(at_zero, slope)

    def at(self, x: float) -> float:
        """Return y."""
        return self.at_zero + self.slope * x


def makespan(fleets: Sequence[float], ranks: int) -> float:
    """Return when the last fleet ends if each rank always takes the longest that is left.

    It lies between max(longest, total / N) and that plus the longest.

    >>> makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2)
    7.0
    >>> makespan([3.0, 3.0], 64)
    3.0
    """
    free = [0.0] * min(ranks, max(1, len(fleets)))
    for seconds in sorted(fleets, reverse=True):
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


@dataclass(frozen=True)
class Grid:
    """Trials of one comparison that can be rows of one fleet, in mode trials."""

    trials: int
    updates: int
    fixed: float
    """Seconds an update, however many rows."""
    a_row: float
    """Seconds an update and row."""
    start: float
    """Seconds until the first update of a rank."""

    def seconds(self, ranks: int) -> float:
        """Return T(N) = start + updates · (fixed + a_row · ⌈trials / N⌉).

        >>> Grid(trials=36, updates=1000, fixed=1e-3, a_row=1e-4, start=10.0).seconds(8)
        11.5
        """
        return self.start + self.updates * (self.fixed + self.a_row * self.rows(ranks))

    def rows(self, ranks: int) -> int:
        """Return the rows of the largest fleet."""
        return math.ceil(self.trials / ranks)

    def limit(self, ranks: int) -> str:
        """Return what keeps T(N) from being T(1) / N."""
        if ranks == 1:
            return ""
        if ranks > self.trials:
            return f"{ranks - self.trials:,} ranks have no trial"
        if self.fixed > self.a_row * self.rows(ranks):
            return "what an update takes however few rows"
        return "rows that do not divide evenly" if self.trials % ranks else "nothing yet"


@dataclass(frozen=True)
class Load:
    """What a rank asks of the store, in transactions a second."""

    trial_seconds: float
    evaluations: int
    flush_every: float
    beat_every: float

    def a_second(self) -> dict[str, float]:
        """Return by kind: leases, flushes of measurements, heartbeats.

        A lease is one with the fleet's end; begin and end of its trial are taken for another.
        Measurements that come within one period are flushed together.

        >>> load = Load(trial_seconds=100.0, evaluations=20, flush_every=2.0, beat_every=10.0)
        >>> load.a_second()
        {'lease': 0.02, 'measurement': 0.2, 'heartbeat': 0.1}
        """
        return {
            "lease": 2 / self.trial_seconds,
            "measurement": min(self.evaluations / self.trial_seconds, 1 / self.flush_every),
            "heartbeat": 1 / self.beat_every,
        }

    def ranks(self, capacity: Mapping[str, float]) -> float:
        """Return for how many ranks the store does: N Σ load / capacity = 1.

        >>> load = Load(100.0, 20, 2.0, 10.0)
        >>> load.ranks({"lease": 10.0, "measurement": 200.0, "heartbeat": 100.0})
        250.0
        """
        return 1 / sum(load / capacity[kind] for kind, load in self.a_second().items())


def efficiency(seconds: Callable[[int], float], ranks: int) -> float:
    """Return T(1) / (N · T(N)).

    >>> efficiency(lambda n: 1 + 1 / n, 4)
    0.4
    """
    return seconds(1) / (ranks * seconds(ranks))


def stops(seconds: Callable[[int], float]) -> int | None:
    """Return the least power of two at which efficiency is below a half; None below MOST.

    >>> stops(lambda n: 0.1 + 1 / n)
    16
    """
    ranks = 2
    while ranks <= MOST:
        if efficiency(seconds, ranks) < HALF:
            return ranks
        ranks *= 2
    return None


def fastest(seconds: Callable[[int], float]) -> int:
    """Return the power of two at which T is least.

    >>> fastest(lambda n: 1 / n + n / 100)
    8
    """
    powers: list[int] = [2**power for power in range(MOST.bit_length())]
    return min(powers, key=seconds)
