"""The hidden weights' spectral radius is what was asked for, by two means that the code lacks.

The code has LAPACK's eigenvalues; here are Arnoldi iteration, and Gelfand's formula, which needs
no eigenvalue at all: ρ(W) = lim ‖Wᵏ‖^(1/k).
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg

from bench.harness.core.seeds import generator
from bench.harness.planning.problems import resolve

DOUBLINGS = 40


def gelfand(weights: np.ndarray) -> float:
    """‖Wᵏ‖^(1/k) at k = 2⁴⁰, squaring and keeping the norm apart."""
    power, logarithm = weights, 0.0
    for _ in range(DOUBLINGS):
        norm = np.linalg.norm(power)
        logarithm = 2 * (logarithm + np.log(norm))
        power = power / norm
        power = power @ power
    return float(np.exp((logarithm + np.log(np.linalg.norm(power))) / 2.0**DOUBLINGS))


def arnoldi(weights: np.ndarray) -> float:
    start = np.ones(len(weights))
    values = scipy.sparse.linalg.eigs(weights, k=6, v0=start, return_eigenvectors=False)
    return float(np.abs(values).max())


def test_the_means_themselves() -> None:
    """Of a turning pair beside smaller real values, in a basis that is not orthogonal."""
    blocks = np.diag([0.3, 0.3, 1.9, *np.linspace(-1.8, 1.8, 20)])
    blocks[:2, :2] = 2.5 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    basis = np.random.default_rng(0).standard_normal(blocks.shape)
    turned = basis @ blocks @ np.linalg.inv(basis)
    assert gelfand(turned) == pytest.approx(2.5, abs=1e-9)
    assert arnoldi(turned) == pytest.approx(2.5, abs=1e-9)


@pytest.mark.parametrize("radius", ["0.5", "1.1", "2"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["add", "mem5"])
def test_it_is_what_the_brackets_say(name: str, seed: int, radius: str) -> None:
    problem = resolve(f"{name}[radius={radius}]", "quick")
    theta = problem.initialize(generator(seed, "initialization"))
    hidden = problem.layout.views(theta)["Wh"].numpy()
    for measured in (gelfand(hidden), arnoldi(hidden)):
        assert measured == pytest.approx(float(radius), abs=1e-5)
    # Trials run in float32 too.
    assert gelfand(hidden.astype(np.float32).astype(np.float64)) == pytest.approx(
        float(radius), abs=1e-5
    )
