import math

import pytest

from bench.optim.momentum.schedules import Constant, FinalPhase, Nesterov1983, Rising


@pytest.mark.parametrize("t", [0, 1, 249, 250, 999, 1_000, 12_250, 123_456, 749_999])
def test_rising_is_the_printed_formula(t: int) -> None:
    printed = 1 - 2 ** (-1 - math.log2(t // 250 + 1))
    assert Rising(1.0)(t) == pytest.approx(printed, rel=1e-15)


def test_rising_values() -> None:
    values = [Rising(0.999)(t) for t in (0, 249, 250, 500, 750, 1_000)]
    assert values == [0.5, 0.5, 0.75, 1 - 0.5 / 3, 0.875, 0.9]


@pytest.mark.parametrize(
    ("mu_max", "met_at"), [(0.9, 1_000), (0.99, 12_250), (0.995, 24_750), (0.999, 124_750)]
)
def test_rising_meets_its_cap(mu_max: float, met_at: int) -> None:
    schedule = Rising(mu_max)
    assert schedule(met_at - 1) < mu_max
    assert schedule(met_at) == pytest.approx(mu_max, rel=1e-15)
    assert schedule(met_at + 250) == mu_max
    assert schedule(10**9) == mu_max


def test_rising_with_another_period() -> None:
    assert [Rising(0.8, 10)(t) for t in (9, 10, 20, 30)] == [0.5, 0.75, 0.8, 0.8]


def test_rising_without_momentum() -> None:
    assert {Rising(0.0)(t) for t in range(0, 2_000, 50)} == {0.0}


def test_constant_after_a_warm_up() -> None:
    assert [Constant(0.995)(t) for t in (0, 999, 1_000, 50_000)] == [0.9, 0.9, 0.995, 0.995]
    assert {Constant(0.0)(t) for t in (0, 999, 1_000)} == {0.0}


def test_nesterov_1983_by_its_recursion() -> None:
    a, schedule = [1.0], Nesterov1983(1.0)
    for t in range(50):
        a.append((1 + math.sqrt(4 * a[t] ** 2 + 1)) / 2)
        assert schedule(t) == (a[t] - 1) / a[t + 1]


@pytest.mark.parametrize("t", [100, 1_000, 10_000, 100_000])
def test_nesterov_1983_tends_to_one_minus_three_over_t_plus_five(t: int) -> None:
    """a_t is t/2 and terms of the order log t, so 1 − μ_t is 3/t to a factor 1 + O(log t/t)."""
    assert 1 - Nesterov1983(1.0)(t) == pytest.approx(3 / (t + 5), rel=math.log(t) / t)


def test_nesterov_1983_is_capped_and_answers_in_any_order() -> None:
    schedule = Nesterov1983(0.99)
    assert schedule(10_000) == 0.99
    assert schedule(2) == Nesterov1983(1.0)(2)


def test_final_phase() -> None:
    schedule = FinalPhase(Rising(0.99), updates=30_000, length=1_000)
    assert schedule(28_999) == 0.99
    assert {schedule(t) for t in (29_000, 29_999, 30_000)} == {0.9}


def test_final_phase_never_raises_momentum() -> None:
    assert FinalPhase(Rising(0.0), 2_000, 1_000)(1_500) == 0.0
    assert FinalPhase(Rising(0.99), 600, 1_000)(100) == 0.5
    assert FinalPhase(Rising(0.99), 20_000, 10, 0.0)(19_990) == 0.0


def test_the_first_update_that_a_final_phase_lowers() -> None:
    # μ passes 0.9 at update 1,250.
    assert FinalPhase(Rising(0.99), 30_000, 1_000).first_lowered == 29_000
    assert FinalPhase(Rising(0.99), 2_000, 1_000).first_lowered == 1_250
    assert FinalPhase(Rising(0.99), 1_250, 1_000).first_lowered == math.inf
    assert FinalPhase(Rising(0.9), 30_000, 1_000).first_lowered == math.inf
    assert FinalPhase(Rising(0.99), 30_000, 0).first_lowered == math.inf
    assert FinalPhase(Constant(0.99, 0), 100, 1_000).first_lowered == 0


def test_no_final_phase() -> None:
    schedule = FinalPhase(Rising(0.99), updates=20_000, length=0)
    assert schedule(19_999) == 0.99
