"""The arithmetic of scaling, against cases done by hand and against what must always hold."""

from __future__ import annotations

import doctest
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.distributed import scaling, scaling_gpus
from benchmarks.distributed.scaling import (
    Exchange,
    Grid,
    Line,
    Link,
    Load,
    Work,
    efficiency,
    fastest,
    makespan,
    stops,
)
from benchmarks.distributed.scaling_gpus import (
    INFINIBAND,
    NVLINK,
    in_data_mode,
    in_trials_mode,
    link,
)

FREE = Link(latency=0.0, bandwidth=math.inf)
some_seconds = st.floats(1e-6, 1e3)
some_ranks = st.integers(1, 2_000)


def by_all_ways(fleets: list[float], ranks: int) -> float:
    """The least possible end, by trying every assignment."""
    ways = itertools.product(range(ranks), repeat=len(fleets))
    return min(
        max(
            sum(f for f, to in zip(fleets, way, strict=True) if to == rank) for rank in range(ranks)
        )
        for way in ways
    )


@pytest.mark.parametrize("module", [scaling, scaling_gpus])
def test_the_examples_of_the_model_are_right(module: object) -> None:
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)  # type: ignore[arg-type]
    assert found.attempted > 0 and found.failed == 0


def test_a_reduction_over_four_ranks_is_that_done_by_hand() -> None:
    # Halves go out and come back, then quarters: 4 messages, ½ + ¼ + ¼ + ½ of the bytes.
    seconds = Exchange(calls=2, bytes=400.0).seconds(4, Link(latency=3.0, bandwidth=100.0))
    assert seconds == pytest.approx(2 * 4 * 3.0 + (200 + 100 + 100 + 200) / 100)


def test_a_reduction_over_three_ranks_takes_as_many_steps_as_over_four() -> None:
    few, many = (Exchange(1, 0.0).seconds(n, Link(1.0, 1.0)) for n in (3, 4))
    assert few == many == 4.0


def test_an_update_on_three_ranks_is_that_of_the_rank_with_most_cases() -> None:
    work = Work(fixed=2.0, a_case=0.5, cases=10, exchange=Exchange(1, 0.0))
    assert work.seconds(3, FREE) == 2.0 + 0.5 * 4


def test_one_rank_may_have_less_to_do_that_is_fixed() -> None:
    work = Work(fixed=2.0, a_case=0.5, cases=10, exchange=Exchange(1, 0.0), fixed_alone=0.25)
    assert work.seconds(1, FREE) == 5.25
    assert work.seconds(2, FREE) == 4.5


@pytest.mark.parametrize(
    ("changed", "limit"),
    [
        ({"a_case": 9.0}, "computing"),
        ({"fixed": 9e3}, "what every rank does"),
        ({"exchange": Exchange(9e3, 1.0)}, "latency of the reduction"),
        ({"exchange": Exchange(1, 9e6)}, "bytes of the reduction"),
    ],
)
def test_the_largest_part_is_what_limits(changed: dict[str, object], limit: str) -> None:
    usual = {"fixed": 1.0, "a_case": 0.1, "cases": 100, "exchange": Exchange(1, 1.0)}
    work = Work(**{**usual, **changed})  # type: ignore[arg-type]
    assert work.limit(2, Link(latency=1.0, bandwidth=100.0)) == limit


@given(some_seconds, some_seconds, st.integers(1, 10**6), some_ranks)
def test_no_number_of_ranks_beats_its_share_of_what_can_be_shared(
    fixed: float, a_case: float, cases: int, ranks: int
) -> None:
    work = Work(fixed, a_case, cases, Exchange(1, 4e6))
    gloo = Link(1e-4, 1e9)
    assert work.seconds(ranks, gloo) >= fixed + a_case * cases / ranks
    assert work.seconds(ranks, gloo) <= work.seconds(ranks, Link(1e-3, 1e8))
    assert efficiency(lambda n: work.seconds(n, gloo), ranks) <= 1 + 1e-9


@given(some_ranks, some_ranks)
def test_a_reduction_over_more_ranks_takes_no_less(one: int, other: int) -> None:
    few, many = sorted((one, other))
    exchange, gloo = Exchange(3, 1e6), Link(1e-4, 1e9)
    assert exchange.seconds(few, gloo) <= exchange.seconds(many, gloo) * (1 + 1e-9)


@given(st.floats(0, 1e3), st.floats(1e-3, 1e3), st.floats(0.1, 10), st.floats(11, 100))
def test_a_line_is_found_again_from_two_points_in_either_order(
    at_zero: float, slope: float, near: float, far: float
) -> None:
    points = (near, at_zero + slope * near), (far, at_zero + slope * far)
    for line in (Line.through(*points), Line.through(points[1], points[0])):
        assert line.at(50.0) == pytest.approx(at_zero + slope * 50, rel=1e-6)


def test_a_line_never_says_that_nothing_takes_less_than_no_time() -> None:
    assert Line.through((1.0, 1.0), (2.0, 8.0)) == Line(0.0, 4.0)
    assert Line.through((1.0, 9.0), (2.0, 8.0)) == Line(0.0, 4.0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6), st.integers(1, 3))
def test_fleets_end_no_later_than_the_bound_says(fleets: list[float], ranks: int) -> None:
    least = max(max(fleets), sum(fleets) / ranks)
    assert least - 1e-9 <= makespan(fleets, ranks) <= least + max(fleets) + 1e-9
    # What taking the longest first is known to reach (Graham 1969).
    assert makespan(fleets, ranks) <= by_all_ways(fleets, ranks) * (4 / 3) + 1e-9


def test_the_longest_goes_first() -> None:
    assert makespan([1.0, 1.0, 1.0, 3.0], 2) == 3.0
    assert makespan([2.0] * 8, 3) == 6.0


def test_a_grid_stops_where_every_trial_has_a_rank() -> None:
    grid = Grid(trials=10, updates=100, fixed=0.01, a_row=0.1, start=5.0)
    assert grid.seconds(4) == pytest.approx(5 + 100 * (0.01 + 0.3))
    assert grid.seconds(10) == grid.seconds(1_000) == pytest.approx(5 + 100 * 0.11)
    assert grid.limit(12) == "2 ranks have no trial"
    assert grid.limit(4) == "rows that do not divide evenly"
    assert grid.limit(5) == "nothing yet"
    assert grid.limit(1) == ""
    slow = Grid(trials=10, updates=100, fixed=1.0, a_row=0.1, start=5.0)
    assert slow.limit(2) == "what an update takes however few rows"


def test_a_store_is_full_where_the_loads_of_its_ranks_add_up_to_it() -> None:
    load = Load(trial_seconds=10.0, evaluations=50, flush_every=2.0, beat_every=10.0)
    # Measurements come faster than they are flushed: 0.5/s. 0.2/2 + 0.5/5 + 0.1/1 of it a rank.
    assert load.a_second() == {"lease": 0.2, "measurement": 0.5, "heartbeat": 0.1}
    capacity = {"lease": 2.0, "measurement": 5.0, "heartbeat": 1.0}
    assert load.ranks(capacity) == pytest.approx(1 / 0.3)


def test_scaling_stops_at_the_first_power_below_a_half_and_may_never() -> None:
    assert stops(lambda n: 1.0) == 4
    assert stops(lambda n: 1 / n) is None


def test_what_is_fastest_is_found_on_both_sides_of_it() -> None:
    assert fastest(lambda n: abs(n - 16) + 1.0) == 16
    assert fastest(lambda n: 1.0 * n) == 1


def counted(name: str, unit: str, parameters: int, cases: int) -> dict[str, object]:
    return {
        "name": name, "unit": unit, "parameters": parameters, "cases": cases, "calls": 5,
        "bytes": 40 * parameters, "gradients": 3 * cases, "operations": 100,
    }  # fmt: skip


CASES = [
    counted("add/paper", "update", 1_000, 100),
    counted("mnist/paper", "update", 1_000_000, 200),
    counted("curves/quick", "iteration", 10_000, 1_000),
]


def test_gpus_are_reckoned_from_the_largest_update_and_the_iteration() -> None:
    update, iteration = in_data_mode(CASES)
    assert isinstance(update.work, Work) and isinstance(iteration.work, Work)
    assert update.work.cases == 200 and iteration.work.cases == 60_000
    # 6 operations a parameter for each of 3 gradients a case, at half of 66.9e12 a second.
    assert update.work.a_case == pytest.approx(6 * 1_000_000 * 3 / 33.45e12)
    assert update.work.fixed == pytest.approx(100 * 5e-6)
    assert update.work.fixed_alone == pytest.approx(100 * 1e-6)
    assert update.work.exchange == Exchange(5, 40e6)
    # Its reductions are longer as mnist/paper has more parameters than curves/quick.
    assert iteration.work.exchange.calls == 5
    assert iteration.work.exchange.bytes == pytest.approx(40 * 2_837_314)


def test_gpus_of_one_machine_have_the_fast_link_and_more_the_slow_one() -> None:
    assert link(2) == link(8) == NVLINK
    assert link(9) == INFINIBAND


def test_grids_are_those_of_the_published_tables() -> None:
    one, five, tuning = in_trials_mode(CASES, start=10.0)
    assert isinstance(one.work, Grid) and isinstance(five.work, Grid)
    assert one.work.updates == 750_000
    assert f"{one.work.trials} trials" in one.name and one.work.start == 10.0
    assert isinstance(tuning.work, Grid) and tuning.work.trials == 4_096
    assert five.work.fixed == pytest.approx(100 * 1e-6)
