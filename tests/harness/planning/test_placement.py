"""Over how many processes a plan's fleets go, by what they cost."""

import pytest

from bench.harness.core.spec import Budget
from bench.harness.planning.fleets import label_methods, make_methods, make_protocol, make_trials
from bench.harness.planning.placement import (
    MIN_SECONDS_FOR_PROCESSES,
    OPERATIONS_PER_SECOND,
    estimated_seconds,
    process_count,
)
from bench.harness.planning.problems import resolve
from bench.models.problem import DataSource
from bench.optim.text import parse
from tests.harness.small import make

WORTH = MIN_SECONDS_FOR_PROCESSES


@pytest.mark.parametrize(
    ("seconds", "threads", "expected"),
    [
        ([WORTH], 8, 1),
        ([WORTH, WORTH], 1, 1),
        ([WORTH / 2, WORTH / 2], 2, 2),
        # A millisecond short of what a start costs.
        ([WORTH / 2, WORTH / 2 - 0.001], 8, 1),
        ([WORTH] * 3, 2, 2),
        ([WORTH] * 3, 8, 3),
        ([WORTH] * 12, 8, 8),
        # As many as are busy while the longest runs.
        ([6 * WORTH] + [WORTH] * 6, 8, 2),
        ([6 * WORTH] + [WORTH] * 5, 8, 1),
        ([0.2] * 300, 2, 2),
        ([0.2] * 3, 2, 1),
    ],
)
def test_as_many_as_work_and_threads_allow(seconds, threads, expected):
    assert process_count(seconds, threads) == expected


def seconds(problem, text, currency, amount, rows=1):
    budget = Budget(currency, amount)
    data = problem.data(DataSource(()))
    every = make_methods(parse(text), problem, budget, "cpu")
    planned = make_trials(
        label_methods(every), make_protocol(problem, data, budget, "fp32"), range(rows), "x"
    )
    return estimated_seconds(planned, problem, data)


@pytest.mark.parametrize(
    ("text", "currency", "amount", "gradients"),
    [
        ("nag[batch=20]", "gradients", 3000, 3000),
        ("nag[batch=20]", "examples", 3000, 3000),
        ("nag[batch=20]", "updates", 100, 2000),
        ("hf", "gradients", 3000, 3000),
        # A gradient on all 60 cases, at least.
        ("hf", "updates", 100, 6000),
    ],
)
def test_gradients_are_counted_whatever_the_budget_is_in(text, currency, amount, gradients):
    problem = make("quick")
    one = gradients * 6 * problem.layout.size / OPERATIONS_PER_SECOND
    assert seconds(problem, text, currency, float(amount)) == pytest.approx(one)
    assert seconds(problem, text, currency, float(amount), rows=3) == pytest.approx(3 * one)


def test_a_recurrent_network_is_passed_at_every_step():
    problem = resolve("add[T=30]", "quick")
    steps = problem.data(DataSource(())).train_inputs.shape[1]
    assert steps >= 30
    expected = 1000 * 6 * problem.layout.size * steps / OPERATIONS_PER_SECOND
    assert seconds(problem, "nag", "gradients", 1000.0) == pytest.approx(expected)


def test_rows_that_share_a_fleet_share_its_seconds():
    assert seconds(make("quick"), "nag[batch=20]", "seconds", 40.0, rows=3) == 40.0
