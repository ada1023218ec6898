"""Ranges to tune in that a person writes in brackets: `nag[lr=0.001..0.1]`."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.harness.core.errors import Usage
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.registry import find
from bench.optim.text import ParsedEntry

DOTS = ".."


def written_ranges(written: ParsedEntry) -> dict[str, Hyperparameter]:
    """Return the hyperparameters with a written range, each with that range to tune in.

    Values are spread evenly over the logarithm, or over log(1 − x) where the method declares that,
    as for a momentum. Raises Usage for a range that has no logarithm, no room, or no numbers.
    """
    owner, space = written.name, {h.name: h for h in find(written.name).space}
    found = {}
    for name, values in written.values.items():
        h = space.get(name)
        # A text may have dots in it. An unknown name is refused where methods are made.
        if h is None or h.kind not in (int, float) or not any(DOTS in v for v in values):
            continue
        where = f"{owner}: {name}={'|'.join(values)}"
        if len(values) > 1:
            raise Usage(f"{where}: write either one range, LOW..HIGH, or values, a|b|c.")
        ends = values[0].split(DOTS)
        if len(ends) != 2 or not all(end.strip() for end in ends):
            raise Usage(f"{where}: write a range as LOW..HIGH, for example {name}=0.001..0.1.")
        low, high = (float(h.cast(end, owner)) for end in ends)
        if not low < high:
            raise Usage(f"{where}: the first end of a range must be below the second.")
        if low <= 0:
            raise Usage(
                f"{where}: a range is searched evenly over the logarithm, so both its ends must be "
                "above 0. Begin it above 0, or write values, a|b|c."
            )
        if math.isinf(high / low):
            raise Usage(
                f"{where}: the range is too wide. Write ends that are nearer to each other."
            )
        from_one = h.scale == "log from one" and high < 1
        found[name] = replace(h, tune=(low, high), scale="log from one" if from_one else "log")
    return found
