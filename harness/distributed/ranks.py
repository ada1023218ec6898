"""The processes that train one fleet together, each on its part of every batch.

Every rank holds the whole of θ and of the method's state, so all make the same updates: what is
summed over cases is summed over ranks, and what is decided is decided alike.
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
    """What a rank can do with the others; all of them call the same in the same order."""

    @property
    def rank(self) -> int:
        """Which of them this one is, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def part(self, cases: int) -> slice:
        """Return this rank's cases of a batch: see `part_of`."""

    def add_up(self, *tensors: Tensor) -> None:
        """Write to each tensor its sum over ranks, the same bits on all of them."""

    def any(self, *flags: bool) -> list[bool]:
        """Say of each flag whether any rank has raised it."""

    def first(self, value: T) -> T:
        """Return rank 0's value, a plain one, on all ranks."""

    def agree(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure on all ranks unless all have the same bits; NaN equals NaN."""

    def beat(self, updates: int) -> None:
        """Take note that this rank is alive and has made so many updates."""


class Alone:
    """A single process, which is all ranks there are."""

    rank, size = 0, 1

    def part(self, cases: int) -> slice:
        """Return all cases."""
        return slice(0, cases)

    def add_up(self, *tensors: Tensor) -> None:
        """Leave each as it is: it is the sum."""

    def any(self, *flags: bool) -> list[bool]:
        """Return the flags."""
        return list(flags)

    def first(self, value: T) -> T:
        """Return the value."""
        return value

    def agree(self, what: str, values: Sequence[float]) -> None:
        """Do nothing: there is nobody to differ from."""

    def beat(self, updates: int) -> None:
        """Do nothing: nobody waits."""


ALONE = Alone()


def part_of(cases: int, rank: int, size: int) -> slice:
    """Return a rank's cases of a batch: in order, all of them, as many each but for one.

    >>> [part_of(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    >>> [part_of(1, rank, 2) for rank in range(2)]
    [slice(0, 0, None), slice(0, 1, None)]
    """
    return slice(cases * rank // size, cases * (rank + 1) // size)


def require_agreement(what: str, found: Sequence[Sequence[float]]) -> None:
    """Raise Infrastructure unless all ranks found the same bits; `found` has a list a rank."""
    bits = [_bits(values) for values in found]
    usual, ranks = Counter(bits).most_common(1)[0]
    if ranks == len(found):
        return
    same = [rank for rank, each in enumerate(bits) if each == usual]
    others = "; ".join(
        f"rank {rank} has {_shown(found[rank], found[same[0]])}"
        for rank, each in enumerate(bits)
        if each != usual
    )
    one = next(rank for rank, each in enumerate(bits) if each != usual)
    raise Infrastructure(
        f"Ranks have parted over {what}: {named(same)} {'has' if len(same) == 1 else 'have'} "
        f"{_shown(found[same[0]], found[one])}; {others}. What is recorded until here stays. Ranks "
        "need the same files, versions and kind of device; a method must take what decides its "
        "steps from `Objective.dots`."
    )


def named(ranks: Sequence[int]) -> str:
    """Return ranks as words.

    >>> named([1]), named([0, 2])
    ('rank 1', 'ranks 0, 2')
    """
    return f"rank{'s' if len(ranks) != 1 else ''} {', '.join(map(str, ranks))}"


def _bits(values: Sequence[float]) -> bytes:
    return b"".join(struct.pack("d", math.nan if math.isnan(v) else v) for v in values)


def _shown(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the first number that differs from the others', or how many numbers there are."""
    if len(values) != len(others):
        return f"{len(values)} numbers"
    return next(repr(a) for a, b in zip(values, others, strict=True) if _bits([a]) != _bits([b]))
