"""A law, whether it holds, and by how much it does not."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench.models.problem import DataError
from bench.optim.plugins import short

State = Literal["holds", "fails", "not applicable"]
Law = Callable[[], str]
"""Returns what was measured; raises Broken, or NotApplicable."""

EXACT = 1e-12
"""Relative difference that rounding in float64 explains."""


@dataclass(frozen=True)
class Finding:
    """What came of one law."""

    law: str
    state: State
    figure: str
    """What was measured; else what was expected and what was found, or why it does not apply."""


class Broken(Exception):
    """A law does not hold: what was expected, what was found, by how much."""


class NotApplicable(Exception):
    """There is nothing that this law could be tried on, and why."""


def examine(laws: Mapping[str, Law]) -> list[Finding]:
    """Try every law; one that fails stops no other.

    What somebody's code prints goes to stderr. Raises DataError where data is missing.
    """
    with redirect_stdout(sys.stderr):
        return [_tried(name, law) for name, law in laws.items()]


def _tried(name: str, law: Law) -> Finding:
    try:
        return Finding(name, "holds", law())
    except Broken as broken:
        return Finding(name, "fails", str(broken))
    except NotApplicable as reason:
        return Finding(name, "not applicable", str(reason))
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # Somebody's own code.
        return Finding(name, "fails", f"raised {short(error).splitlines()[0]}")


def expect(holds: bool, expected: str, found: str) -> None:
    """Raise Broken unless something holds."""
    if not holds:
        raise Broken(f"expected {expected}; found {found}")


def near(what: str, found: Tensor, expected: Tensor, tolerance: float = EXACT) -> float:
    """Return max|found − expected| / max|expected|; Broken where it is above `tolerance`."""
    if found.shape != expected.shape:
        raise Broken(f"{what}: expected {tuple(expected.shape)}; found {tuple(found.shape)}")
    if not expected.numel():
        return 0.0
    difference = (found - expected).abs().double().flatten()
    # A difference of NaN is the greatest there is.
    worst = int(difference.nan_to_num(nan=torch.inf).argmax())
    scale = float(expected.abs().max())
    off = float(difference[worst]) / scale if scale else float(difference[worst])
    if not off <= tolerance:
        a, b = float(expected.flatten()[worst]), float(found.flatten()[worst])
        raise Broken(
            f"{what}: expected {a:.9g}; found {b:.9g}, off by {off:.2g} where {tolerance:g} "
            "is allowed"
        )
    return off


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute by one thread: on a few hundred numbers others only wait for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def undisturbed(what: str) -> Iterator[None]:
    """Raise Broken where what is done inside draws from, or seeds, a global random stream."""
    before = _streams()
    yield
    after = _streams()
    moved = [name for name in before if before[name] != after[name]]
    if moved:
        raise Broken(
            f"{what}: expected no draw from a global stream; found {' and '.join(moved)} moved"
        )


@contextmanager
def settings_kept() -> Iterator[None]:
    """Raise Broken where what is done inside changes how torch computes; it is set back."""
    before = _settings()
    yield
    after = _settings()
    changed = [f"{name} {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        torch.set_default_dtype(before["default type"])
        torch.set_num_threads(before["number of threads"])
        torch.use_deterministic_algorithms(before["deterministic algorithms"])
        raise Broken(f"expected torch's settings as they were; found {', '.join(changed)}")


def _settings() -> dict[str, Any]:
    return {
        "default type": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _streams() -> dict[str, Any]:
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    return {
        "torch's": torch.get_rng_state().numpy().tobytes(),
        "NumPy's": (numpy["state"]["key"].tobytes(), numpy["state"]["pos"]),
        "Python's": random.getstate(),
    }


def equal(a: Any, b: Any) -> bool:
    """Say whether two values are equal bit for bit, inside containers too."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple | deque):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)
