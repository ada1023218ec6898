"""The factors of a recipe: those of torch's schedulers where torch has them, else the formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from bench.optim.recipe.schedules import DecaySchedule, Place, RateSchedule, count

UPDATES = 40


def rates(make: Callable[[torch.optim.Optimizer], LRScheduler]) -> list[float]:
    """The rates of a scheduler of torch for lr = 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(UPDATES):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def factors(schedule: RateSchedule) -> list[float]:
    warmed = schedule.warmup_updates(UPDATES) / UPDATES
    places = [Place(t, t / UPDATES, UPDATES) for t in range(UPDATES)]
    return [schedule.at(place, warmed) for place in places]


def after_warmup(
    updates: int, then: Callable[[torch.optim.Optimizer], LRScheduler]
) -> Callable[[torch.optim.Optimizer], LRScheduler]:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        warm = LinearLR(optimizer, 1 / updates, total_iters=updates - 1)
        return SequentialLR(optimizer, [warm, then(optimizer)], [updates])

    return make


@pytest.mark.parametrize(
    ("schedule", "torchs"),
    [
        (RateSchedule("cosine"), lambda o: CosineAnnealingLR(o, UPDATES)),
        (RateSchedule("cosine", floor=0.1), lambda o: CosineAnnealingLR(o, UPDATES, eta_min=0.1)),
        (RateSchedule("linear"), lambda o: LinearLR(o, 1.0, 0.0, UPDATES)),
        (RateSchedule("linear", floor=0.3), lambda o: LinearLR(o, 1.0, 0.3, UPDATES)),
        (
            RateSchedule("cosine", warmup=8, floor=0.05),
            after_warmup(8, lambda o: CosineAnnealingLR(o, UPDATES - 8, eta_min=0.05)),
        ),
        (
            RateSchedule("linear", warmup=0.25),
            after_warmup(10, lambda o: LinearLR(o, 1.0, 0.0, UPDATES - 10)),
        ),
        (
            RateSchedule("constant", warmup=5),
            after_warmup(5, lambda o: ConstantLR(o, 1.0, UPDATES)),
        ),
        (
            RateSchedule("wsd", cooldown=0.25),
            lambda o: SequentialLR(
                o, [ConstantLR(o, 1.0, UPDATES), LinearLR(o, 1.0, 0.0, 10)], [UPDATES - 10]
            ),
        ),
    ],
)
def test_factors_are_those_of_torchs_schedulers(
    schedule: RateSchedule, torchs: Callable[[torch.optim.Optimizer], LRScheduler]
) -> None:
    assert factors(schedule) == pytest.approx(rates(torchs), abs=1e-12)


def test_inverse_factors_continue_the_warmup() -> None:
    root, whole = (RateSchedule(shape, warmup=10) for shape in ("inverse_sqrt", "inverse"))
    assert factors(root)[9] == factors(whole)[9] == 1
    assert factors(root)[39] == pytest.approx(math.sqrt(10 / 40))
    assert factors(whole)[39] == pytest.approx(10 / 40)
    assert factors(RateSchedule("inverse"))[:3] == pytest.approx([1, 1 / 2, 1 / 3])
    assert min(factors(RateSchedule("inverse", floor=0.2))) == 0.2


def test_wsd_ends_at_its_floor_after_warmup_and_plateau() -> None:
    found = factors(RateSchedule("wsd", warmup=4, cooldown=10, floor=0.5))
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(found[4:31]) == {1.0}
    assert found[31:] == pytest.approx([1 - 0.5 * i / 10 for i in range(1, 10)])


@pytest.mark.parametrize("shape", ["linear", "cosine", "wsd"])
def test_a_run_without_a_number_of_updates_follows_what_is_spent(shape: str) -> None:
    """With equal costs the share spent is t / T, and the factors are the same."""
    schedule = RateSchedule(shape, warmup=5)  # type: ignore[arg-type]
    places = [Place(t, t / UPDATES, None) for t in range(UPDATES)]
    assert [schedule.at(place, 5 / UPDATES) for place in places] == pytest.approx(factors(schedule))


def test_factors_stay_at_the_end_behind_it() -> None:
    for shape in ("linear", "cosine", "wsd"):
        schedule = RateSchedule(shape, floor=0.25)  # type: ignore[arg-type]
        assert schedule.at(Place(50, 1.25, UPDATES), 0.0) == 0.25
    assert DecaySchedule("linear", 2.0).at(Place(50, 1.25, UPDATES)) == 2.0


@pytest.mark.parametrize(
    ("schedule", "updates", "anytime"),
    [
        (RateSchedule("constant"), 100, math.inf),
        (RateSchedule("constant", warmup=10), 100, math.inf),
        (RateSchedule("constant", warmup=0.1), 100, 0),
        (RateSchedule("inverse_sqrt", warmup=10), None, math.inf),
        (RateSchedule("cosine", warmup=10), 100, 10),
        (RateSchedule("linear"), 100, 0),
        (RateSchedule("wsd", warmup=10, cooldown=0.2), 100, 80),
        (RateSchedule("wsd", warmup=10, cooldown=30), 100, 70),
        (RateSchedule("wsd", warmup=10), None, 0),
    ],
)
def test_how_long_a_run_does_not_depend_on_its_end(
    schedule: RateSchedule, updates: int | None, anytime: float
) -> None:
    assert schedule.anytime_updates(updates) == anytime


def test_runs_of_other_lengths_agree_so_long() -> None:
    """The oracle of the test above: the factors themselves."""
    for schedule in (
        RateSchedule("cosine", warmup=10),
        RateSchedule("wsd", warmup=10, cooldown=0.2),
        RateSchedule("wsd", cooldown=30),
        RateSchedule("inverse", warmup=10),
    ):

        def course(updates: int, of: RateSchedule = schedule) -> list[float]:
            warmed = of.warmup_updates(updates) / updates
            return [of.at(Place(t, t / updates, updates), warmed) for t in range(100)]

        short, long = course(100), course(1_000)
        equal = next((t for t in range(100) if short[t] != long[t]), math.inf)
        # The first update of a fall has the factor 1 still.
        assert equal in (schedule.anytime_updates(100), schedule.anytime_updates(100) + 1)


def test_a_length_is_a_share_or_a_number() -> None:
    assert count(0.0, None) == 0
    assert count(0.001, 100) == 1
    assert count(1.0, 100) == 1
    assert math.isnan(count(0.5, None))
