"""Initialisations of weight matrices as named parts, drawn in float64 so that devices start alike.

A part gives weights of shape (fan_in, units), column j holding unit j's incoming weights, and
the value of the biases. Which there are, and what each takes, is in `INITIALIZATIONS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FAN_IN = 15
RADIUS = 1.1
"""The spectral radius of hidden-to-hidden weights in Sutskever et al. 2013, Table 4."""
TANH_SCALE, TANH_BIAS = 0.25, 0.5
"""What sparse initialisation is changed by for tanh units."""
GAUSSIAN_SCALE = 0.1


@dataclass(frozen=True)
class Initialization(ABC):
    """How a layer of any size starts."""

    scale: float = 1.0
    """Every weight is multiplied by it."""

    @property
    def bias(self) -> float:
        """The value of every bias."""
        return 0.0

    @property
    @abstractmethod
    def rule(self) -> str:
        """The rule in words and numbers; part of the protocol."""

    @abstractmethod
    def weights(
        self, rng: np.random.Generator, fan_in: int, units: int
    ) -> Float[np.ndarray, "fan_in units"]:
        """Draw the weights of a layer."""

    @property
    def _scaled(self) -> str:
        return "" if self.scale == 1 else f"{self.scale:g}·"


@dataclass(frozen=True)
class Sparse(Initialization):
    """Each unit has `fan_in` incoming weights from scale·N(0, 1), the others are 0.

    A unit with fewer inputs gets all of them.

    Reference: Martens (2010), sec. 5.
    """

    fan_in: int = FAN_IN
    biases: float = 0.0

    @property
    def bias(self) -> float:
        """0, or what was given."""
        return self.biases

    @property
    def rule(self) -> str:
        """The rule in words and numbers."""
        return (
            f"sparse: {self.fan_in} incoming weights a unit from {self._scaled}N(0, 1), "
            f"biases {self.biases:g}"
        )

    def weights(
        self, rng: np.random.Generator, fan_in: int, units: int
    ) -> Float[np.ndarray, "fan_in units"]:
        """Draw which inputs a unit has, without replacement, and their weights."""
        count = min(self.fan_in, fan_in)
        # Sorting one uniform per connection draws without replacement for all units at once.
        chosen = np.argsort(rng.random((units, fan_in)), axis=1)[:, :count]
        weights = np.zeros((units, fan_in))
        drawn = self.scale * rng.standard_normal((units, count))
        np.put_along_axis(weights, chosen, drawn, axis=1)
        return np.ascontiguousarray(weights.T)


def sparse_tanh(scale: float = 1.0, fan_in: int = FAN_IN) -> Sparse:
    """Return sparse initialisation for tanh units: weights × ¼, biases ½.

    Reference: Sutskever et al. (2013), sec. 3.
    """
    return Sparse(TANH_SCALE * scale, fan_in, TANH_BIAS)


@dataclass(frozen=True)
class Glorot(Initialization):
    """Uniform in ±scale·√(6 / (fan_in + units)) (Glorot & Bengio 2010, Eq. 16)."""

    @property
    def rule(self) -> str:
        """The rule in words and numbers."""
        return f"Glorot: uniform in ±{self._scaled}√(6 / (inputs + units)), biases 0"

    def weights(
        self, rng: np.random.Generator, fan_in: int, units: int
    ) -> Float[np.ndarray, "fan_in units"]:
        """Draw the weights of a layer."""
        limit = self.scale * math.sqrt(6 / (fan_in + units))
        return rng.uniform(-limit, limit, (fan_in, units))


@dataclass(frozen=True)
class He(Initialization):
    """Normal with standard deviation scale·√(2 / fan_in) (He et al. 2015, Eq. 10)."""

    @property
    def rule(self) -> str:
        """The rule in words and numbers."""
        return f"He: {self._scaled}√(2 / inputs)·N(0, 1), biases 0"

    def weights(
        self, rng: np.random.Generator, fan_in: int, units: int
    ) -> Float[np.ndarray, "fan_in units"]:
        """Draw the weights of a layer."""
        deviation = self.scale * math.sqrt(2 / fan_in)
        return deviation * rng.standard_normal((fan_in, units))


@dataclass(frozen=True)
class Gaussian(Initialization):
    """Normal with standard deviation `scale`, whatever the layer's size."""

    scale: float = GAUSSIAN_SCALE

    @property
    def rule(self) -> str:
        """The rule in words and numbers."""
        return f"Gaussian: {self._scaled}N(0, 1), biases 0"

    def weights(
        self, rng: np.random.Generator, fan_in: int, units: int
    ) -> Float[np.ndarray, "fan_in units"]:
        """Draw the weights of a layer."""
        return self.scale * rng.standard_normal((fan_in, units))


INITIALIZATIONS: Mapping[str, tuple[Callable[..., Initialization], Mapping[str, float]]] = {
    "sparse": (Sparse, {"scale": 1.0, "fan_in": FAN_IN}),
    "sparse_tanh": (sparse_tanh, {"scale": 1.0, "fan_in": FAN_IN}),
    "glorot": (Glorot, {"scale": 1.0}),
    "he": (He, {"scale": 1.0}),
    "gaussian": (Gaussian, {"scale": GAUSSIAN_SCALE}),
}
"""Name → what makes it, and the values that it takes with their defaults."""


@dataclass(frozen=True)
class EchoState:
    """Hidden weights as an echo state network's: sparse, rescaled to a spectral radius.

    The spectral radius is the greatest absolute value of an eigenvalue.

    Reference: Jaeger & Haas (2004); Sutskever et al. (2013), Table 4.
    """

    radius: float = RADIUS

    @property
    def rule(self) -> str:
        """The rule in words and numbers."""
        return f"sparse, {FAN_IN} incoming weights a unit, spectral radius {self.radius:g}"

    def weights(self, rng: np.random.Generator, units: int) -> Float[np.ndarray, "units units"]:
        """Draw the weights from hidden units to hidden units."""
        weights = Sparse().weights(rng, units, units)
        largest = float(np.abs(np.linalg.eigvals(weights)).max())
        return weights * (self.radius / largest)
