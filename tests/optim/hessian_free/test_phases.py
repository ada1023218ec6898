import math

import pytest

from bench.optim.hessian_free.phases import RECIPES, Annealed, Phase, phase_at


def test_curves_as_printed() -> None:
    first, annealed, full, last = RECIPES["curves"]
    assert first == Phase(16, 1, 50, 0.95, 1.0, 2e-5, 250_000)
    assert (annealed.decay, annealed.rate) == (0.999, Annealed(500, 4000))
    assert (annealed.part, annealed.cg_steps, annealed.l2) == (16, 50, 2e-5)
    assert full == Phase(1, 1, 200, 0.995, 1.0, 2e-5, 100_000)
    assert last == Phase(1, 1, 200, 0.995, 1.0, 0.0, 500_000)


def test_mnist_as_printed() -> None:
    first, annealed, last = RECIPES["mnist"]
    assert first == Phase(20, 1, 50, 0.95, 1.0, 1e-5, 25_000)
    assert annealed == Phase(20, 1, 50, 0.995, Annealed(250), 1e-5, 225_000)
    assert (last.part, last.chunks, last.rate, last.length) == (1, 20, 1.0, 125_000)


@pytest.mark.parametrize("recipe", RECIPES)
def test_annealing_begins_at_a_half_and_ends_at_a_twentieth(recipe: str) -> None:
    first, annealed = RECIPES[recipe][:2]
    start = first.length / first.cg_steps
    end = start + annealed.length / annealed.cg_steps
    assert annealed.rate_at(int(start), 1.0) == 0.5
    assert annealed.rate_at(int(end), 1.0) == 0.05


def test_a_rate_is_one_at_most() -> None:
    rate = Annealed(500, 4000)
    assert [rate.at(t, 1.0) for t in (0, 3999, 4000, 4500)] == [1.0] * 4
    assert rate.at(4501, 1.0) == 500 / 501
    assert rate.at(14_000, 1.0) == 0.05


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("length", [1.0, 0.02])
def test_a_shorter_run_sees_the_same_phases_and_rates(recipe: str, length: float) -> None:
    phases, position = RECIPES[recipe], 0.0
    for index, phase in enumerate(phases):
        for share in (0.0, 0.5):
            at = round((position + share * phase.length) * length)
            assert phase_at(phases, at, length) == index
            update, whole = round(at / 50), round((position + share * phase.length) / 50)
            assert phase.rate_at(update, length) == pytest.approx(phase.rate_at(whole, 1.0))
        position += phase.length
    assert phase_at(phases, math.ceil(position), length) == len(phases) - 1


def test_the_last_phase_goes_on() -> None:
    phases = (Phase(1, 1, 5, 0.9, 1.0, 0.0, length=10), Phase(2, 1, 5, 0.9, 1.0, 0.0))
    assert [phase_at(phases, n, 1.0) for n in (0, 9, 10, 10**12)] == [0, 0, 1, 1]
    assert phase_at(phases[:1], 10**12, 1.0) == 0
