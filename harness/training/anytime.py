"""How much of a run does not depend on where its budget ends."""

from __future__ import annotations

import math

from bench.harness.core.errors import BrokenContract
from bench.optim.objective import Method


def anytime_updates(method: Method, updates: int | None) -> int | None:
    """Return how many of a run's first updates do not depend on where its budget ends; None: all.

    `updates` is the number of updates of the whole run, None if it is not known. A method that does
    not say counts as anytime. Raises BrokenContract for an answer that is no number from 0 to ∞.
    """
    asked = getattr(method, "anytime_updates", None)
    if asked is None:
        return None
    found = asked(updates)
    if not isinstance(found, int | float) or isinstance(found, bool) or not found >= 0:
        raise BrokenContract(
            f"`anytime_updates` of {method.name} returned {found!r}. It must return how many of "
            "the first updates do not depend on where the budget ends: a number from 0 on, or "
            "math.inf if none does."
        )
    end = math.inf if updates is None else updates
    return None if found >= end else int(found)
