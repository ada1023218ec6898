import math

import pytest

from optim.hessian_free.damping import adapted, exhausted, reduction_ratio


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


def test_damping_stays_in_its_range() -> None:
    lam = 45.0
    for _ in range(2000):
        lam = adapted(lam, -math.inf, 1.5, 45.0)
    assert exhausted(lam, 45.0)
    assert lam == 45e10
    for _ in range(4000):
        lam = adapted(lam, 1.0, 1.5, 45.0)
    assert not exhausted(lam, 45.0)
    assert 0 < lam == pytest.approx(45e-10)
    assert adapted(lam, 0.0, 1.5, 45.0) > lam


def test_no_damping_stays_none() -> None:
    assert adapted(0.0, -math.inf, 1.5, 0.0) == 0.0
    assert not exhausted(0.0, 0.0)
