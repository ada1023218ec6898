import math

import pytest

from bench.optim.hessian_free.damping import adapted, limits, reduction_ratio


@pytest.mark.parametrize(
    ("before", "after", "model", "rho"),
    [
        (10.0, 8.0, -4.0, 0.5),
        (10.0, 8.0, -1.0, 2.0),
        (10.0, 10.0, -1.0, 0.0),
        (10.0, 8.0, 1.0, -2.0),
        (10.0, 10.5, -1.0, -math.inf),
        (10.0, math.nan, -1.0, -math.inf),
        (10.0, math.inf, -1.0, -math.inf),
        (10.0, 8.0, 0.0, -math.inf),
        (10.0, 8.0, math.nan, -math.inf),
        (10.0, 8.0, -math.inf, -math.inf),
        (1e300, 0.0, -1e-300, -math.inf),
    ],
)
def test_reduction_ratio(before: float, after: float, model: float, rho: float) -> None:
    assert reduction_ratio(before, after, model) == rho


@pytest.mark.parametrize(
    ("rho", "factor"),
    [
        (-math.inf, 3 / 2),
        (math.nan, 3 / 2),
        (0.2499, 3 / 2),
        (0.25, 1),
        (0.75, 1),
        (0.7501, 2 / 3),
        (20.0, 2 / 3),
    ],
)
def test_damping_rule(rho: float, factor: float) -> None:
    assert adapted(45.0, rho, 1.5, 45.0) == pytest.approx(45.0 * factor, rel=1e-15)


@pytest.mark.parametrize("start", [45.0, 1.0, 5e-324, 1e-25, 1e25, 1e30])
@pytest.mark.parametrize("factor", [1.0, 1.5, 1e300])
def test_damping_stays_in_its_limits(start: float, factor: float) -> None:
    low, high = limits(start)
    assert 0 < low <= start <= high < math.inf
    lam = start
    for rho, limit in ((-math.inf, high), (1.0, low)):
        for _ in range(200):
            lam = adapted(lam, rho, factor, start)
        assert lam == pytest.approx(start if factor == 1 else limit)


def test_no_damping_stays_none() -> None:
    assert limits(0.0) == (0.0, 0.0)
    assert adapted(0.0, -math.inf, 1.5, 0.0) == adapted(0.0, 1.0, 1.5, 0.0) == 0.0
