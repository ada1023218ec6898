"""Which points a round of --extend adds, and what is an edge of what was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.analysis.grids import Edge
from bench.harness.planning.grid_extension import next_round
from bench.harness.planning.selection import TuningResult
from bench.harness.planning.tuning import tuning_points
from bench.optim.hyperparameters import Hyperparameter
from bench.optim.registry import make
from bench.optim.text import parse
from tests.harness.plugins import Watcher

Score = Callable[[Mapping[str, Any]], float | None]


def tried(text: str, score: Score, tune: str = "none", direction: Any = "lower") -> TuningResult:
    """Return a method whose points reach what `score` says of them, under two seeds."""
    written = parse(text)
    points = [method for point in tuning_points(written, tune) for method in make(point)]
    values = [[score(point.hyperparameters)] * 2 for point in points]
    return TuningResult(written, points, values, tune, direction)


def off(name: str, best: float) -> Score:
    return lambda hp: abs(hp[name] - best)


def changes(*every: TuningResult) -> list[str] | None:
    added = next_round(every)
    return None if added is None else [point.change for point in added]


def test_the_chosen_value_at_the_end_of_a_grid_is_an_edge() -> None:
    at = tried("nag[lr=0.01|0.05|0.1,mu_max=0.9|0.99]", lambda hp: hp["lr"] - hp["mu_max"])
    assert at.chosen["lr"] == 0.01 and at.chosen["mu_max"] == 0.99
    assert at.edges == [
        Edge("lr", 0.01, "smallest", [0.01, 0.05, 0.1]),
        Edge("mu_max", 0.99, "largest", [0.9, 0.99]),
    ]
    assert at.edges[0].sentence == (
        "lr=0.01 is at the lower end of the 3 values tried, 0.01 to 0.1"
    )


def test_no_edge_inside_nor_of_what_is_not_a_number_or_not_varied() -> None:
    inside = tried("nag[lr=0.01|0.05|0.1,schedule=constant|sutskever]", off("lr", 0.05))
    assert inside.edges == []
    assert [axis.name for axis in inside.axes] == ["lr"]


def test_draws_from_a_range_are_at_its_edge_only_in_its_outer_twentieth() -> None:
    # The outermost of eight draws, yet well inside.
    smallest = tried("nag", lambda hp: hp["lr"], "8")
    assert smallest.chosen["lr"] == min(point.hyperparameters["lr"] for point in smallest.points)
    assert smallest.chosen["lr"] > 1.42e-3 and smallest.edges == []
    many = tried("sgd", lambda hp: -hp["lr"], "64")
    ((edge),) = many.edges
    assert (edge.name, edge.side, len(edge.tried)) == ("lr", "largest", 64)
    assert edge.value > 0.71
    # What is written beside it is a grid.
    both = tried("nag[mu_max=0.9|0.99]", lambda hp: -hp["mu_max"], "2")
    assert [edge.name for edge in both.edges] == ["mu_max"]


def test_what_choosing_took_and_found() -> None:
    at = tried("sgd[lr=1|2|3|1e38]", lambda hp: None if hp["lr"] > 9 else hp["lr"])
    effort = at.effort([7, 8], "abc", 2)
    assert {k: effort[k] for k in ("trials", "comparison", "extended")} == {
        "trials": 8, "comparison": "abc", "extended": 2,
    }  # fmt: skip
    assert effort["chosen"]["lr"] == 1
    # Of every two points one has a result: of the six pairs three hold 1, two 2 and one 3.
    assert effort["expected_best"] == [None, pytest.approx(10 / 6), pytest.approx(5 / 4), 1]
    assert [point["values"] for point in effort["points"]] == [
        [1, 1], [2, 2], [3, 3], [None, None],
    ]  # fmt: skip
    assert all(point["seeds"] == [7, 8] for point in effort["points"])
    assert [point["hyperparameters"]["lr"] for point in effort["points"]] == [1, 2, 3, 1e38]
    assert effort["edges"] == [
        {"name": "lr", "value": 1.0, "side": "smallest", "tried": [1, 2, 3, 1e38]}
    ]


def test_every_method_gets_a_point_where_one_is_at_an_edge() -> None:
    edge = tried("sgd", off("lr", 9), "grid")
    right = tried("nag", off("lr", 0.009), "grid")
    left = tried("cm[lr=0.01|0.1|1]", lambda hp: {0.01: 2.0, 0.1: 1.0, 1.0: 3.0}[hp["lr"]])
    assert changes(edge, right, left) == ["sgd lr=0.1", "nag lr=0.00707", "cm lr=0.0316"]
    assert changes(right, left) is None, "no best value is at an edge"


def test_an_added_point_is_the_chosen_one_but_for_a_value() -> None:
    at = tried("nag[lr=0.01|0.05,mu_max=0.9|0.99,batch=7]", lambda hp: -hp["lr"] - hp["mu_max"])
    added = next_round([at])
    assert added is not None
    (point,) = added
    (method,) = make(parse(point.text))
    assert method.hyperparameters == {**at.chosen, "lr": 0.25}


def test_it_looks_to_the_better_neighbour_by_the_worst_seed() -> None:
    methods = make(parse("sgd[lr=0.01|0.1|1]"))
    values = [[1.0, 9.0], [0.0, 0.0], [5.0, 5.0]]
    inside = TuningResult(parse("sgd[lr=0.01|0.1|1]"), methods, values, "none", "lower")
    edge = tried("nag[lr=1|2]", off("lr", 9))
    assert changes(inside, edge) == ["sgd lr=0.316", "nag lr=4"]
    higher = TuningResult(
        parse("sgd[lr=0.01|0.1|1]"), methods, [[1.0], [9.0], [5.0]], "none", "higher"
    )
    assert changes(higher, edge) == ["sgd lr=0.316", "nag lr=4"]


def test_a_bound_is_no_value_to_go_on_to() -> None:
    zero = tried("torch.optim.AdamW[weight_decay=0|0.1|0.2]", off("weight_decay", 0))
    assert zero.edges and changes(zero) is None, "torch takes no negative one"
    one = tried("nag[mu_max=0.5|1.0]", off("mu_max", 1))
    assert one.edges and changes(one) is None
    # Another's edge has what is beyond, so this one gets a point within.
    assert changes(one, tried("sgd[lr=1|2]", off("lr", 9))) == ["nag mu_max=0.75", "sgd lr=4"]


def test_the_next_hyperparameter_at_an_edge_where_the_first_is_at_its_bound() -> None:
    both = tried("nag[mu_max=0.5|1,lr=0.1|0.2]", lambda hp: -hp["mu_max"] - hp["lr"])
    assert {edge.name for edge in both.edges} == {"lr", "mu_max"}
    assert changes(both) == ["nag lr=0.4"]
    bound = tried("nag[mu_max=0.5|1,batch=1|2]", lambda hp: hp["batch"] - hp["mu_max"])
    assert changes(bound) is None


def test_whole_numbers_stay_whole_and_go_outwards_where_none_is_between() -> None:
    edge = tried("sgd[lr=1|2]", off("lr", 9))
    tight = tried("hf[chunks=3|4|5]", off("chunks", 4))
    assert changes(tight, edge) == ["hf chunks=6", "sgd lr=4"]
    low = tried("hf[chunks=2|3|4|5]", off("chunks", 3))
    assert changes(low, edge) == ["hf chunks=1", "sgd lr=4"]
    wide = tried("hf[chunks=1|4|16]", lambda hp: {1: 2, 4: 1, 16: 1.5}[hp["chunks"]])
    assert changes(wide, edge) == ["hf chunks=8", "sgd lr=4"]


class OneOrTwo(Watcher):
    """Has a whole number of which there are two, instead of a rate."""

    space = (Watcher.space[0], Hyperparameter("n", int, 1, "a number", low=1, high=2))


def test_it_ends_for_all_where_one_method_has_nothing_left_to_try() -> None:
    edge = tried("sgd[lr=1|2]", off("lr", 9))
    assert changes(edge) == ["sgd lr=4"]
    assert changes(edge, tried(f"{__name__}:OneOrTwo[n=1|2]", off("n", 1))) is None


@given(st.floats(1e-3, 1e3), st.lists(st.integers(1, 999), min_size=2, max_size=5, unique=True))
def test_what_is_added_lies_beyond_the_edge_of_the_best(best: float, grid: list[int]) -> None:
    text = "|".join(str(value) for value in grid)
    at = tried(f"sgd[lr={text}]", off("lr", best))
    added = next_round([at])
    assert (added is None) == (min(grid) < at.chosen["lr"] < max(grid))
    if added is not None:
        (method,) = make(parse(added[0].text))
        new = method.hyperparameters["lr"]
        assert new > max(grid) if at.edges[0].side == "largest" else 0 < new < min(grid)


def test_what_follows_from_another_value_is_no_grid() -> None:
    """A period that follows from the batch differs between points, and nobody asked for it."""
    written = parse("nag@torch[batch=100|200]")
    methods = [
        type(m)(m.backend, **{**m.hyperparameters, "period": p})
        for m, p in zip(make(written), (5, 7), strict=True)
    ]
    found = TuningResult(written, methods, [[1.0], [2.0]], "none", "lower")
    assert [axis.name for axis in found.axes] == ["batch"]
    added = next_round([found])
    assert added is not None and added[0].text == "nag@torch[batch=50]"


def test_where_every_point_diverged_nothing_is_at_an_edge() -> None:
    written = parse("sgd[lr=3|2|1]")
    found = TuningResult(written, make(written), [[None], [None], [1.0, None]], "none", "lower")
    assert found.all_diverged and found.edges == []
    some = TuningResult(written, make(written), [[None], [None], [1.0]], "none", "lower")
    assert not some.all_diverged and [edge.value for edge in some.edges] == [1.0]
