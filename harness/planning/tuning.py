"""Tuning: every method gets the same number of trials, on seeds that are never reported."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from scipy.stats import qmc

from bench.harness.analysis.grids import Axis, Scale
from bench.harness.core.errors import Usage
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.planning.ranges import Tuned, tuned, written_ranges
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.objective import Method
from bench.optim.registry import class_of
from bench.optim.text import ParsedEntry
from bench.optim.values import Value, is_number, leaves, value_text

MAX_POINTS = 1024
MAX_SEEDS = 1000


def tuning_seeds(count: int) -> range:
    """Return the seeds on which every point is trained."""
    return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + count)


def tuning_points(written: ParsedEntry, tune: str) -> list[ParsedEntry]:
    """Return the entries that tuning tries for one entry of --optimizers.

    `tune` is "none" (the entry itself, with its grid if it has one), "grid" (the declared grid of
    the method's first hyperparameter that has one) or the number N of points of a scrambled Sobol
    sequence over the ranges that the entry writes, as in lr=0.001..0.1, and over the declared
    ranges of what it leaves open. The sequence depends only on the method's name, and N points are
    the first of N + M. Values that the entry gives stay fixed, and grids that it writes are all
    tried.
    """
    given = written_ranges(written)
    if given and not tune.isdecimal():
        which = ", ".join(f"{name}={written.values[name][0]}" for name in given)
        option = "Without --tune" if tune == "none" else f"With --tune {tune}"
        raise Usage(
            f"{written.name}: {which} is a range to tune in. {option} nothing is drawn from it. "
            "Use `bench compare --tune N`, for example --tune 8, to try N points, or write values, "
            "a|b|c."
        )
    if tune == "none":
        return [written]
    space = _open(written)
    if tune == "grid":
        first = _first_grid(space)
        if first is None and _has_grid(written):
            return [written]
        if first is None:
            raise Usage(
                f"--tune grid: {written.name} declares no grid for what {written.text} "
                f"leaves open. Write one: {_example(written, space, 'a', 'b', 'c')}."
            )
        values = {**written.values, first.name: tuple(map(value_text, first.grid))}
        return [ParsedEntry(written.name, written.backend, values)]
    drawn = tuned(written)
    if not drawn:
        raise Usage(
            f"--tune {tune}: {written.name} declares no range to tune in. Write one, for example "
            f"{_example(written, space, '0.001..0.1')}. Or leave out --tune and write a "
            "grid of the same size for every method, key=a|b|c."
        )
    seed = int.from_bytes(hashlib.sha256(written.name.encode()).digest()[:8], "big")
    sobol = qmc.Sobol(sum(len(each.ranges) for each in drawn), scramble=True, rng=seed)
    # Whole powers of two keep the sequence balanced; the first N of them are used.
    points = sobol.random_base2(max(0, math.ceil(math.log2(int(tune)))))[: int(tune)]
    texts = [
        {each.name: (each.text(coordinates),) for each in drawn}
        for coordinates in map(iter, points.tolist())
    ]
    if len({str(values) for values in texts}) < len(texts):
        raise Usage(
            f"--tune {tune}: the ranges of {written.name} are too narrow for so many different "
            "points. Use fewer points, or write a grid."
        )
    return [
        ParsedEntry(written.name, written.backend, {**written.values, **values}) for values in texts
    ]


def _open(written: ParsedEntry) -> list[Hyperparameter]:
    """Return the hyperparameters to which an entry gives no value."""
    return [h for h in class_of(written).space if h.name not in written.values]


def _has_grid(written: ParsedEntry) -> bool:
    return any(len(texts) > 1 for texts in written.values.values())


def has_range(written: ParsedEntry) -> bool:
    """Return whether `--tune N` can draw points for an entry."""
    return bool(tuned(written))


def _example(written: ParsedEntry, space: Sequence[Hyperparameter], *values: str) -> str:
    """Return an entry with values for a rate, or else for the first number that is left open."""
    names = [h.name for h in space if h.kind is float]
    name = "lr" if "lr" in names or not names else names[0]
    own = written.values if len(written.names) > 1 else {}
    return replace(written, values={**own, name: values}).text


def _first_grid(space: Sequence[Hyperparameter]) -> Hyperparameter | None:
    return next((h for h in space if h.grid), None)


def tuned_names(written: ParsedEntry, tune: str) -> set[str]:
    """Return the hyperparameters whose values the user asked to tune.

    Others may also differ between points, for example a default that follows from the batch size.
    """
    names = {name for name, texts in written.values.items() if len(texts) > 1}
    if tune == "grid" and (first := _first_grid(_open(written))):
        names.add(first.name)
    if tune.isdecimal():
        names |= {each.name for each in tuned(written)}
    return names


def axes(written: ParsedEntry, points: Sequence[Method], tune: str) -> list[Axis]:
    """Return the tuned numbers of a method, with the values of its points.

    Values from a range come from a Sobol sequence (`tune` is a number); all other numbers form
    grids. A grid of tuples, of words, or with none in it has no axis.
    """
    found, names = list[Axis](), tuned_names(written, tune)
    drawn = {each.name: each for each in tuned(written)} if tune.isdecimal() else {}
    for h in class_of(written).space:
        values = [point.hyperparameters[h.name] for point in points]
        if h.name in drawn:
            found += _drawn_axes(drawn[h.name], values)
        elif h.name in names and all(map(is_number, values)):
            tried = tuple(sorted(set(values)))
            found.append(Axis(h.name, tried, _scale(h, tried)))
    return [axis for axis in found if len(axis.tried) > 1]


def _drawn_axes(drawn: Tuned, values: Sequence[Value]) -> list[Axis]:
    """Return an axis for each range of a hyperparameter."""
    several = [tuple(leaves(value)) for value in values]
    return [
        Axis(
            drawn.name,
            tuple(sorted({each[place] for each in several})),
            of.scale,
            (of.low, of.high),
            place if isinstance(values[0], tuple) else None,
        )
        for place, of in drawn.by_place.items()
    ]


def _scale(h: Hyperparameter, tried: Sequence[float]) -> Scale:
    """Return the declared scale if the values fit it.

    Without a declaration, as for optimizers of `torch.optim`, the scale is logarithmic if all
    values are positive and each is at least twice the one before.
    """
    if h.scale == "log from one":
        return h.scale if tried[-1] < 1 else "linear"
    is_declared = h.tune is not None or h.grid
    doubles = all(b >= 2 * a for a, b in pairwise(tried))
    is_log = h.scale == "log" or (doubles and not is_declared)
    return "log" if is_log and tried[0] > 0 else "linear"
