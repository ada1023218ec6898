"""Laws and findings: whether a law holds, and if not, by how much it is violated."""

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

from bench.harness.core.notices import say
from bench.models.errors import ProblemError
from bench.models.problem import DataError
from bench.optim.plugins import short

State = Literal["holds", "fails", "not applicable"]
Law = Callable[[], str]
"""Returns the measured result as text; raises LawViolation or NotApplicable."""

EXACT = 1e-12
"""Relative difference that rounding in float64 explains."""


@dataclass(frozen=True)
class Finding:
    """The result of checking one law."""

    law: str
    state: State
    figure: str
    """The measured result; else what was expected and found, or why the law does not apply."""


class LawViolation(Exception):
    """A law does not hold; the message says what was expected and what was found."""


class NotApplicable(Exception):
    """The law does not apply to this subject; the message says why."""


class CheckInterrupted(KeyboardInterrupt):
    """Ctrl-C while laws are checked; `findings` are those so far, `total` counts all laws."""

    def __init__(self, findings: list[Finding], total: int) -> None:
        super().__init__()
        self.findings, self.total = findings, total


def check_laws(laws: Mapping[str, Law]) -> list[Finding]:
    """Check every law; a law that fails does not stop the others.

    Says which law it checks. Output of the checked code goes to stderr. Raises DataError if data
    are missing, and CheckInterrupted after Ctrl-C.
    """
    findings: list[Finding] = []
    with redirect_stdout(sys.stderr):
        for number, (name, law) in enumerate(laws.items(), 1):
            say(f"[{number}/{len(laws)}] {name}")
            try:
                findings.append(_finding(name, law))
            except KeyboardInterrupt:
                raise CheckInterrupted(findings, len(laws)) from None
    return findings


def _finding(name: str, law: Law) -> Finding:
    try:
        return Finding(name, "holds", law())
    except (LawViolation, ProblemError) as broken:
        return Finding(name, "fails", str(broken))
    except NotApplicable as reason:
        return Finding(name, "not applicable", str(reason))
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # The user's own code may raise anything.
        return Finding(name, "fails", f"raised {short(error).splitlines()[0]}")


def expect(holds: bool, expected: str, found: str) -> None:
    """Raise LawViolation unless `holds`."""
    if not holds:
        raise LawViolation(f"expected {expected}; found {found}")


def check_close(what: str, found: Tensor, expected: Tensor, tolerance: float = EXACT) -> float:
    """Return max|found − expected| / max|expected|; raise LawViolation if above `tolerance`."""
    if found.shape != expected.shape:
        raise LawViolation(f"{what}: expected {tuple(expected.shape)}; found {tuple(found.shape)}")
    if not expected.numel():
        return 0.0
    difference = (found - expected).abs().double().flatten()
    # NaN counts as an infinite difference.
    worst = int(difference.nan_to_num(nan=torch.inf).argmax())
    scale = float(expected.abs().max())
    off = float(difference[worst]) / scale if scale else float(difference[worst])
    if not off <= tolerance:
        a, b = float(expected.flatten()[worst]), float(found.flatten()[worst])
        raise LawViolation(
            f"{what}: expected {a:.9g}; found {b:.9g}, a relative difference of {off:.2g} where "
            f"{tolerance:g} is allowed"
        )
    return off


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: on a few hundred numbers, more threads only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def unchanged_random_streams(what: str) -> Iterator[None]:
    """Raise LawViolation if the block draws from, or seeds, a global random stream."""
    before = _streams()
    yield
    after = _streams()
    moved = [name for name in before if before[name] != after[name]]
    if moved:
        raise LawViolation(
            f"{what}: expected no draw from a global random stream; found "
            f"{' and '.join(moved)} changed"
        )


@contextmanager
def unchanged_torch_settings() -> Iterator[None]:
    """Raise LawViolation if the block changes a global setting of torch; restore the setting."""
    before = _settings()
    yield
    after = _settings()
    changed = [f"{name} {after[name]}" for name in before if before[name] != after[name]]
    if changed:
        torch.set_default_dtype(before["default type"])
        torch.set_num_threads(before["number of threads"])
        torch.use_deterministic_algorithms(before["deterministic algorithms"])
        raise LawViolation(f"expected unchanged settings of torch; found {', '.join(changed)}")


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


def equal_bits(a: Any, b: Any) -> bool:
    """Return whether two values are equal bit for bit, also inside containers."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return (
            isinstance(b, dict) and a.keys() == b.keys() and all(equal_bits(a[k], b[k]) for k in a)
        )
    if isinstance(a, list | tuple | deque):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal_bits, a, b))
    return bool(a == b)
