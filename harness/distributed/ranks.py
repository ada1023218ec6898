"""The processes that train one fleet together, each on its part of every batch.

Every rank holds the whole of θ and of the method's state. Sums over cases are summed over ranks,
so all ranks compute the same numbers and make the same updates.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from bench.harness.core.errors import Infrastructure

T = TypeVar("T")


class Ranks(Protocol):
    """The operations that involve all ranks; every rank must call them in the same order."""

    @property
    def rank(self) -> int:
        """The number of this rank, from 0."""

    @property
    def size(self) -> int:
        """The number of ranks."""

    def part(self, cases: int) -> slice:
        """Return the slice of a batch that this rank computes: see `part_of`."""

    def all_reduce(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all ranks, with equal bits on all of them."""

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is true on any rank."""

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0, a plain value, on every rank."""

    def check_agreement(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure on all ranks unless all values have equal bits; NaN equals NaN."""

    def report_alive(self, updates: int) -> None:
        """Record that this rank is alive and how many updates it has made."""


class SingleProcess:
    """A single process that trains a fleet without other ranks."""

    rank, size = 0, 1

    def part(self, cases: int) -> slice:
        """Return all cases."""
        return slice(0, cases)

    def all_reduce(self, *tensors: Tensor) -> None:
        """Do nothing: each tensor is already the sum."""

    def any(self, *flags: bool) -> list[bool]:
        """Return the flags."""
        return list(flags)

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value

    def check_agreement(self, what: str, values: Sequence[float]) -> None:
        """Do nothing: there is no other rank."""

    def report_alive(self, updates: int) -> None:
        """Do nothing: no other rank waits."""


SINGLE_PROCESS = SingleProcess()


def part_of(cases: int, rank: int, size: int) -> slice:
    """Return the slice of a batch that a rank computes; the slices differ by at most one case.

    >>> [part_of(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    >>> [part_of(1, rank, 2) for rank in range(2)]
    [slice(0, 0, None), slice(0, 1, None)]
    """
    return slice(cases * rank // size, cases * (rank + 1) // size)


def require_agreement(what: str, values: Sequence[Sequence[float]]) -> None:
    """Raise Infrastructure unless the values of all ranks have equal bits.

    `values` has one list for each rank; `what` names the numbers in the message.
    """
    bits = [_bits(each) for each in values]
    usual, count = Counter(bits).most_common(1)[0]
    if count == len(values):
        return
    same = [rank for rank, each in enumerate(bits) if each == usual]
    different = [rank for rank, each in enumerate(bits) if each != usual]
    others = "; ".join(
        f"rank {rank} has {_first_difference(values[rank], values[same[0]])}" for rank in different
    )
    raise Infrastructure(
        f"The ranks disagree about {what}: {named(same)} {'has' if len(same) == 1 else 'have'} "
        f"{_first_difference(values[same[0]], values[different[0]])}; {others}. All results up to "
        "now are kept. All ranks need the same files, versions and kind of device, and a method "
        "must compute the numbers that decide its steps with `Objective.dots`."
    )


def named(ranks: Sequence[int]) -> str:
    """Return the numbers of some ranks as text.

    >>> named([1]), named([0, 2])
    ('rank 1', 'ranks 0, 2')
    """
    return f"rank{'s' if len(ranks) != 1 else ''} {', '.join(map(str, ranks))}"


def _bits(values: Sequence[float]) -> bytes:
    return b"".join(struct.pack("d", math.nan if math.isnan(v) else v) for v in values)


def _first_difference(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the first number that differs from the others, or how many numbers there are."""
    if len(values) != len(others):
        return f"{len(values)} numbers"
    return next(repr(a) for a, b in zip(values, others, strict=True) if _bits([a]) != _bits([b]))
