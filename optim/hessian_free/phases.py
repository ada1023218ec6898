"""The phases of a momentum-like Hessian-free run, and the published recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Annealed:
    """A rate that falls as a / (t − b) with the updates t of the whole run, from 1 at most."""

    a: float
    b: float = 0.0

    def at(self, update: int, length: float) -> float:
        """Return the rate of update t = 0, 1, …, with a and b `length` times as long.

        >>> Annealed(500, 4000).at(5000, 1.0), Annealed(500, 4000).at(50, 0.01)
        (0.5, 0.5)
        """
        a, since = self.a * length, update - self.b * length
        return a / since if since > a else 1.0


@dataclass(frozen=True)
class Phase:
    """What stays the same for a part of the run, which is measured in CG steps."""

    part: int
    """The gradient batch is this part of the training set, 1/part."""
    chunks: int
    """The curvature batch is this part of the gradient batch; 1: the same cases."""
    cg_steps: int
    """CG steps of an update."""
    decay: float
    """CG starts from this times its last iterate: it plays momentum's part."""
    rate: float | Annealed
    l2: float
    length: float = math.inf
    """CG steps; the last phase has no end."""

    def rate_at(self, update: int, length: float) -> float:
        """Return the rate of update t = 0, 1, … of the run."""
        return self.rate.at(update, length) if isinstance(self.rate, Annealed) else self.rate


def phase_at(phases: Sequence[Phase], cg_steps: int, length: float) -> int:
    """Return which phase the run is in after so many CG steps, all of them `length` times as long.

    >>> [phase_at(RECIPES["mnist"], n, 1.0) for n in (0, 24_999, 25_000, 250_000, 10**9)]
    [0, 0, 1, 2, 2]
    """
    end = 0.0
    for index, phase in enumerate(phases):
        end += phase.length * length
        if cg_steps < end:
            return index
    return len(phases) - 1


RECIPES: Mapping[str, tuple[Phase, ...]] = MappingProxyType(
    {
        "curves": (
            Phase(16, 1, 50, decay=0.95, rate=1.0, l2=2e-5, length=250_000),
            # The length of this phase is inferred, since it is not printed. On Mnist the rate is
            # annealed tenfold, from 250/500 at the phase's first update to 250/5000 at its last.
            # Here, too, it begins at 500/(5000 − 4000) = 0.5, and is down to 0.05 after 9,000
            # updates of 50 CG steps.
            Phase(16, 1, 50, decay=0.999, rate=Annealed(500, 4000), l2=2e-5, length=450_000),
            Phase(1, 1, 200, decay=0.995, rate=1.0, l2=2e-5, length=100_000),
            Phase(1, 1, 200, decay=0.995, rate=1.0, l2=0.0, length=500_000),
        ),
        "mnist": (
            Phase(20, 1, 50, decay=0.95, rate=1.0, l2=1e-5, length=25_000),
            Phase(20, 1, 50, decay=0.995, rate=Annealed(250), l2=1e-5, length=225_000),
            # Decay and CG steps of an update are not printed for this phase: those before it.
            Phase(1, 20, 50, decay=0.995, rate=1.0, l2=1e-5, length=125_000),
        ),
    }
)
"""Sutskever, Martens, Dahl & Hinton (2013), section 5 and appendix A.6: HF† of Table 1."""
