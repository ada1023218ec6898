"""Interleaved timing: candidates take turns, and what counts is the ratio within a round.

Whatever slows the machine for a while slows all candidates of a round, so that their ratio
stays while every absolute time moves. The median over rounds leaves out the rounds in which
something hit only one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import torch

LIMIT = 40.0
"""Seconds after which no further round begins, once there are LEAST, unless a caller says so."""
LEAST = 3


@dataclass(frozen=True)
class Timed:
    """A candidate: what to call, and how often in a row for one time."""

    call: Callable[[], object]
    repeat: int = 1
    makes: int = 1
    """How many of what is timed one call makes."""
    before: Callable[[], object] | None = None
    """Called before each call, off the clock."""


def interleaved(
    candidates: Mapping[str, Timed],
    rounds: int,
    device: torch.device | None = None,
    limit: float | None = None,
) -> dict[str, list[float]]:
    """Return the seconds a call of every candidate in every round, or each of what a call makes.

    One more round goes first, uncounted; fewer than `rounds` are made where they would take
    longer than `limit` seconds, or LIMIT. The order of the candidates is reversed from round to
    round, so that none always follows the same other one. With a CUDA device the clock waits
    for what it was given.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order, end = list(candidates), time.perf_counter() + (LIMIT if limit is None else limit)
    for turn in range(rounds + 1):
        if turn > LEAST and time.perf_counter() > end:
            break
        for name in order:
            spent = _seconds(candidates[name], device)
            if turn > 0:
                seconds[name].append(spent)
        order.reverse()
    return seconds


def _seconds(candidate: Timed, device: torch.device | None) -> float:
    if candidate.before is None:
        spent = _span(candidate.call, candidate.repeat, device)
    else:
        spent = 0.0
        for _ in range(candidate.repeat):
            candidate.before()
            spent += _span(candidate.call, 1, device)
    return spent / (candidate.repeat * candidate.makes)


def _span(call: Callable[[], object], repeat: int, device: torch.device | None) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles, least, greatest and number of the values.

    >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
    {'median': 3.0, 'low_quartile': 2.0, 'high_quartile': 4.0, 'min': 1.0, 'max': 5.0, 'n': 5}
    """
    low, middle, high = (
        quantiles(values, method="inclusive") if len(values) > 1 else [median(values)] * 3
    )
    return {
        "median": middle,
        "low_quartile": low,
        "high_quartile": high,
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }
