import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.harness.analysis.statistics import permutation_interval, seeds_to_decide, sign_flip_p
from bench.harness.analysis.verdict import joint_verdicts, verdicts

ERRORS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda t: (t[0] / 8, t[1] / 8)),
    min_size=6,
    max_size=8,
)
FLIPPED = {"a better": "b better", "b better": "a better"}


def results(**methods):
    return {name: dict(enumerate(values)) for name, values in methods.items()}


def judge(given, *, direction="lower", log_scale=True, margin=0.0):
    return verdicts(given, direction=direction, log_scale=log_scale, margin=margin)


def noisy(level, n=8, seed=0, spread=0.02):
    return list(level * np.exp(np.random.default_rng(seed).normal(0, spread, n)))


def test_clear_difference_is_a_ratio():
    (pair,) = judge(results(nag=noisy(0.1), sgd=noisy(0.5, seed=1)), margin=0.05)
    d = np.log(noisy(0.1)) - np.log(noisy(0.5, seed=1))
    assert (pair.a, pair.b, pair.verdict, pair.n, pair.unit) == (
        "nag",
        "sgd",
        "a better",
        8,
        "ratio",
    )
    assert pair.difference == pytest.approx(d.mean())
    assert (pair.low, pair.high) == (permutation_interval(d).low, permutation_interval(d).high)
    assert pair.p == sign_flip_p(d) and pair.interval_kind == "permutation"
    assert 0 < pair.smallest_detectable < 0.1


def test_direction():
    given = results(x=noisy(0.9), y=noisy(0.5, seed=1))
    assert judge(given, direction="higher", log_scale=False)[0].verdict == "a better"
    assert judge(given, direction="lower", log_scale=False)[0].verdict == "b better"


@given(ERRORS, st.sampled_from([0.0, 0.5]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_swapping_the_methods_swaps_the_verdict(values, margin, log_scale):
    a, b = zip(*values, strict=True)
    (one,) = judge(results(a=a, b=b), margin=margin, log_scale=log_scale)
    (other,) = judge(results(b=b, a=a), margin=margin, log_scale=log_scale)
    assert other.p == one.p
    assert other.verdict == FLIPPED.get(one.verdict, one.verdict)
    assert other.difference == pytest.approx(-one.difference, abs=1e-14)
    assert other.low == pytest.approx(-one.high, abs=1e-14)


@given(ERRORS, st.sampled_from([0.25, 4.0, 1000.0]))
@settings(max_examples=60, deadline=None)
def test_units_do_not_matter_on_the_logarithm(values, scale):
    a, b = np.array(values).T
    (one,), (other,) = judge(results(a=a, b=b)), judge(results(a=scale * a, b=scale * b))
    assert other.difference == pytest.approx(one.difference, abs=1e-12)
    assert (other.p, other.verdict) == (one.p, one.verdict)


@given(ERRORS)
@settings(max_examples=80, deadline=None)
def test_better_exactly_where_the_interval_excludes_zero(values):
    a, b = zip(*values, strict=True)
    (pair,) = judge(results(a=a, b=b), log_scale=False)
    excluded = pair.low > 0 or pair.high < 0
    assert excluded == (pair.p <= 0.05)
    if pair.verdict != "equivalent":
        assert excluded == (pair.verdict in ("a better", "b better"))


def test_too_few_seeds_says_how_many():
    pairs = judge(results(a=noisy(1, 6), b=noisy(2, 6), c=noisy(3, 6)))
    assert {pair.verdict for pair in pairs} == {"too few seeds"}
    assert all("7 seeds are needed" in pair.reason for pair in pairs)
    assert all(pair.smallest_detectable is None for pair in pairs)


def test_seeds_to_decide_where_it_is_undecided():
    a, b = noisy(1, spread=0.5), noisy(1.2, seed=1, spread=0.5)
    (pair,) = judge(results(a=a, b=b), margin=0.1)
    d = np.log(a) - np.log(b)
    assert pair.verdict == "cannot tell" and pair.seeds_to_decide == seeds_to_decide(d, 0.1)
    # The family is larger, and so is the number.
    three = judge(results(a=a, b=b, c=noisy(1, seed=2)), margin=0.1)
    assert three[0].seeds_to_decide == seeds_to_decide(d, 0.1, 3) > pair.seeds_to_decide
    few = judge(results(a=a[:4], b=b[:4]), margin=0.1)[0]
    assert few.verdict == "too few seeds" and few.seeds_to_decide >= 6
    # On plain differences the margin, of logarithms, says nothing.
    (plain,) = judge(results(a=[*a, 0.0], b=[*b, 1.0]), margin=9.0)
    assert plain.seeds_to_decide == seeds_to_decide(np.subtract([*a, 0.0], [*b, 1.0]), 0.0)


def test_no_seeds_to_decide_where_it_is_decided_or_cannot_be_said():
    (better,) = judge(results(a=noisy(1), b=noisy(2, seed=1)))
    (equal,) = judge(results(a=noisy(1), b=noisy(1)))
    (gone,) = judge(results(a=[None, *noisy(1, 7)], b=noisy(1, seed=1)))
    (one,) = judge(results(a=[1.0], b=[2.0]))
    assert gone.verdict == "cannot tell"
    assert {pair.seeds_to_decide for pair in (better, equal, gone, one)} == {None}
    assert not any("too few" in pair.reason for pair in (better, equal, gone, one))
    (far,) = judge(results(a=[1.0, 2.0] * 4, b=[2.0, 1.0] * 4))
    assert far.seeds_to_decide is None
    assert far.reason == "With the observed mean and spread, 1,000 seeds would not be enough."


def test_few_seeds_have_a_t_interval_and_one_seed_none():
    (three,) = judge(results(a=noisy(1, 3), b=noisy(2, 3, seed=1)))
    assert three.interval_kind == "t" and three.low < three.difference < three.high
    (one,) = judge(results(a=[1.0], b=[2.0]))
    assert (one.low, one.high, one.p, one.n) == (None, None, 1.0, 1)


def test_holm_over_pairs():
    # Three pairs with p = 2/128 each: three times that is still below 0.05.
    pairs = judge(results(a=noisy(1, 7, 0), b=noisy(2, 7, 1), c=noisy(4, 7, 2)))
    assert [pair.p for pair in pairs] == [6 / 128] * 3
    assert {pair.verdict for pair in pairs} == {"a better"}


def test_equal_results():
    same = noisy(1)
    (pair,) = judge(results(a=same, b=same))
    assert (pair.p, pair.difference, pair.low, pair.high) == (1.0, 0.0, 0.0, 0.0)
    assert pair.verdict == "equivalent" and pair.smallest_detectable == 0.0


def test_equivalent_within_the_margin_even_where_a_difference_is_sure():
    a = np.array(noisy(1))
    (pair,) = judge(results(a=a, b=a * 1.001), margin=0.05)
    assert pair.verdict == "equivalent" and pair.p <= 0.05
    assert "within the margin" in pair.reason
    assert judge(results(a=a, b=a * 1.001), margin=0.0005)[0].verdict == "a better"


def test_a_difference_of_the_margin_is_not_within_it():
    b = np.arange(1.0, 9.0)
    same = {"direction": "lower", "log_scale": False}
    for shift, verdict in ((0.5, "b better"), (-0.5, "a better")):
        (pair,) = judge(results(a=b + shift, b=b), margin=0.5, **same)
        assert (pair.verdict, abs(pair.low), abs(pair.high)) == (verdict, 0.5, 0.5)
        assert judge(results(a=b + shift, b=b), margin=0.50001, **same)[0].verdict == "equivalent"


def test_cannot_tell():
    (pair,) = judge(results(a=noisy(1, spread=0.5), b=noisy(1, seed=1, spread=0.5)), margin=0.01)
    assert pair.verdict == "cannot tell" and pair.smallest_detectable > 0.2


@pytest.mark.parametrize(
    ("direction", "log_scale"), [("lower", True), ("lower", False), ("higher", False)]
)
def test_diverged_ranks_below_every_finite(direction, log_scale):
    good = noisy(1)
    (pair,) = judge(
        results(a=[None] * 8, b=good), direction=direction, log_scale=log_scale, margin=1.0
    )
    assert pair.verdict == "b better" and pair.p == 2 / 256
    assert (pair.difference, pair.low, pair.high, pair.interval_kind) == (None,) * 4
    assert "8 of 8 trials of a diverged" in pair.reason


def test_some_diverged():
    # a is better wherever both are finite, but for two seeds that diverged: ranks 7.5, 7.5
    # against 1 … 6 say nothing.
    a, b = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, None, None], [2.0] * 8
    (pair,) = judge(results(a=a, b=b))
    assert pair.verdict == "cannot tell"
    assert pair.p == sign_flip_p([-6, -5, -4, -3, -2, -1, 7.5, 7.5])
    (both,) = judge(results(a=[None] * 8, b=[math.nan] * 8))
    assert (both.p, both.verdict) == (1.0, "cannot tell")


def test_seeds_of_one_method_only_are_left_out_and_named():
    (pair,) = judge({"a": dict(enumerate(noisy(1))), "b": dict.fromkeys(range(1, 9), 2.0)})
    assert pair.n == 7 and pair.verdict == "a better"
    assert "seeds 0, 8" in pair.reason
    (none,) = judge({"a": {0: 1.0}, "b": {1: 1.0}})
    assert (none.n, none.p, none.verdict) == (0, 1.0, "too few seeds")


def test_values_that_have_no_logarithm():
    a, b = [0.0, *noisy(1, 7)], noisy(5)
    (pair,) = judge(results(a=a, b=b), margin=100.0)
    assert pair.unit == "difference" and pair.verdict == "a better"
    assert pair.difference == pytest.approx(np.mean(a) - np.mean(b))
    assert "so the values are compared" in pair.reason


def test_no_pairs():
    assert judge(results(a=[1.0])) == []


def test_rate_of_false_verdicts_over_three_equal_methods():
    """Holm keeps the chance of any wrong verdict at 0.05 or less, diverged trials included."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(300):
        values = np.exp(rng.normal(0, 1, (3, 7)))
        drawn = [[None if rng.random() < 0.1 else float(v) for v in row] for row in values]
        pairs = judge(results(a=drawn[0], b=drawn[1], c=drawn[2]))
        wrong += any(pair.verdict.endswith("better") for pair in pairs)
    assert wrong / 300 <= 0.05 + 3.5 * math.sqrt(0.0475 / 300)


def test_joint_verdicts_are_corrected_for_all_pairs_together():
    first = results(a=noisy(0.1, n=7), b=noisy(0.5, n=7, seed=1))
    second = results(a=noisy(0.1, n=7, seed=2), b=noisy(0.1, n=7, seed=3), c=noisy(0.3, n=7))
    given = {"direction": "lower", "log_scale": True, "margin": 0.0}
    assert joint_verdicts([first], **given) == [verdicts(first, **given)]
    found = joint_verdicts([first, second], **given)
    assert [[(pair.a, pair.b) for pair in of_one] for of_one in found] == [
        [("a", "b")],
        [("a", "b"), ("a", "c"), ("b", "c")],
    ]
    raw = [
        joint_verdicts([{pair.a: of[pair.a], pair.b: of[pair.b]}], **given)[0][0].p
        for of, pairs in zip((first, second), found, strict=True)
        for pair in pairs
    ]
    # Holm by hand: the i-th smallest of m times m − i, no less than those before it, at most 1.
    order, before, adjusted = sorted(range(4), key=raw.__getitem__), 0.0, [0.0] * 4
    for place, i in enumerate(order):
        before = adjusted[i] = max(before, min(1.0, raw[i] * (4 - place)))
    assert [pair.p for of_one in found for pair in of_one] == adjusted
