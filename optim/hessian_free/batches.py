"""Which cases the gradient, the curvature and the searches of an iteration see."""

from __future__ import annotations

from bench.optim.objective import FULL, Batch, Objective


def share(cases: int, parts: int) -> int:
    """Return ⌈cases / parts⌉.

    >>> share(20_000, 4), share(10, 4)
    (5000, 3)
    """
    return -(-cases // parts)


def gradient_batch(objective: Objective, whole: int, part: int = 1) -> Batch:
    """Return one `part`-th of `whole` cases, where 0 stands for the whole training set.

    Problems that draw their cases anew have no whole training set; for them `whole` is a
    number of cases, and ValueError, raised by the objective, says so.
    """
    if whole == 0 and part == 1:
        return objective.next_batch(FULL)
    return objective.next_batch(share(whole or objective.next_batch(FULL).cases, part))


def curvature_batch(objective: Objective, gradient: Batch, chunks: int) -> Batch:
    """Return ⌈cases of the gradient batch / chunks⌉ cases, chunks taken in turn.

    With one chunk it is the gradient batch itself, so that h is known on it.
    """
    if chunks == 1:
        return gradient
    return objective.next_batch(share(gradient.cases, chunks), "curvature")
