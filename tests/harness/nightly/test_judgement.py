"""What is said of a metric: by its reference, its noise and its direction."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.harness.analysis.noise import Noise, threshold
from bench.harness.nightly.judgement import (
    FinalValues,
    final_values,
    judge_digest,
    judge_quality,
    judge_time,
)
from tests.harness.recorded_nights import digest, night, quality

FAMILY = 8
FOUND = replace(
    quality(), state="not judged", value=None, reference=None, threshold=None, sd=None, n=None
)
TIME = quality(kind="time", metric="update / kernel 1", value=0.5, state="not judged", n=9)


def noise(sd=0.01, reason=""):
    return Noise(
        kind="quality",
        protocol_key=FOUND.protocol_key,
        problem=FOUND.problem,
        method="nag",
        metric=FOUND.metric,
        context_digest=FOUND.context_digest,
        scale="log",
        sd=sd,
        df=19,
        n=20,
        seeds=3,
        false_alarms=0.05,
        reason=reason,
    )


LIMIT = threshold(0.01, 19, FAMILY)


def held(now, before, found=FOUND, of=None):
    tonight, accepted = (FinalValues(dict(enumerate(values)), 0) for values in (now, before))
    return judge_quality(found, tonight, accepted, of or noise(), FAMILY)


@pytest.mark.parametrize(
    ("times", "direction", "state"),
    [
        (0.99, "lower", "same"),
        (-0.99, "lower", "same"),
        (1.01, "lower", "worse"),
        (-1.01, "lower", "better"),
        (1.01, "higher", "better"),
        (-1.01, "higher", "worse"),
    ],
)
def test_a_difference_is_a_finding_beyond_the_threshold_whichever_side(times, direction, state):
    before = [0.5, 0.25, 1.0]
    now = [value * math.exp(times * LIMIT) for value in before]
    judged = held(now, before, replace(FOUND, direction=direction))
    assert judged.state == state and judged.is_finding == (state != "same")
    assert judged.value == pytest.approx(sum(map(math.log, now)) / 3)
    assert judged.reference == pytest.approx(math.log(0.5))
    assert (judged.threshold, judged.sd, judged.n) == (LIMIT, 0.01, 3)


def test_a_plain_scale_is_not_logarithmic():
    judged = held([3.0, -1.0], [0.0, 0.0], replace(FOUND, scale="plain"))
    assert (judged.value, judged.reference, judged.state) == (
        1.0,
        0.0,
        "worse",
    )


def test_only_seeds_that_both_have_count():
    tonight, accepted = FinalValues({0: 1.0, 1: 9.0}, 0), FinalValues({0: 1.001, 2: 5.0}, 0)
    judged = judge_quality(FOUND, tonight, accepted, noise(), FAMILY)
    assert (judged.state, judged.n, judged.value) == ("same", 1, 0.0)
    # The noise is that of a mean over three.
    assert judged.sd == pytest.approx(0.01 * math.sqrt(3))
    assert judged.threshold == pytest.approx(LIMIT * math.sqrt(3))
    equal = judge_quality(FOUND, tonight, FinalValues({0: 1.0, 2: 5.0}, 0), noise(), FAMILY)
    assert (equal.state, equal.value, equal.reference) == ("same", 0.0, 0.0)
    assert equal.threshold == judged.threshold


@pytest.mark.parametrize(
    ("now", "before", "state"),
    [
        ([None, 1.0], [1.0, 1.0], "worse"),
        ([1.0, 1.0], [None, 1.0], "better"),
    ],
)
def test_a_diverged_trial_is_worse_than_any_other(now, before, state):
    judged = held(now, before)
    assert judged.state == state and judged.value is None
    assert "trials diverged" in judged.reason


def test_as_many_diverged_trials_as_before_leave_the_others_to_be_judged():
    judged = held([None, 2.0, 1.0], [None, 1.0, 1.0])
    assert (judged.state, judged.n) == ("worse", 2)
    assert judged.reason == "1 of 3 trials diverged; in the baseline, 1 did."
    judged = held([None, 0.1], [5.0, None])
    assert judged.state == "not judged" and "No seed has a finite value in both" in judged.reason
    assert held([None, None], [None, None]).state == "same"


@pytest.mark.parametrize("of", [None, noise(None, "They diverged.")])
@pytest.mark.parametrize("values", [[0.0, 1.0], [None, 1.0], [2.0, 2.0]])
def test_equal_values_need_no_noise(values, of):
    tonight = FinalValues(dict(enumerate(values)), 0)
    judged = judge_quality(FOUND, tonight, tonight, of, FAMILY)
    assert judged.state == "same" and judged.value == judged.reference


@pytest.mark.parametrize(
    ("tonight", "accepted", "of", "told"),
    [
        (FinalValues({0: 1.0}, 0), None, noise(), "no comparison with this protocol"),
        (
            FinalValues({0: 1.0}, 2),
            FinalValues({0: 1.0}, 0),
            noise(),
            "2 of the method's trials have no outcome",
        ),
        (FinalValues({0: 1.0}, 0), FinalValues({1: 1.0}, 0), noise(), "none of tonight's seeds"),
        (FinalValues({0: 0.0}, 0), FinalValues({0: 1.0}, 0), noise(), "not positive"),
        (FinalValues({0: 1.0}, 0), FinalValues({0: 1.1}, 0), None, "Its noise is unknown"),
        (
            FinalValues({0: 1.0}, 0),
            FinalValues({0: 1.1}, 0),
            noise(None, "They diverged."),
            "They diverged",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(tonight, accepted, of, told):
    judged = judge_quality(FOUND, tonight, accepted, of, FAMILY)
    assert judged.state == "not judged" and told in judged.reason


@pytest.mark.parametrize(
    ("values", "value"), [([1.0, 4.0], math.log(2)), ([None, 1.0], None), ([0.0, 1.0], None)]
)
def test_what_is_not_accepted_yet_is_shown(values, value):
    judged = judge_quality(FOUND, FinalValues(dict(enumerate(values)), 0), None, noise(), FAMILY)
    assert judged.value == (value if value is None else pytest.approx(value)) and judged.n == 2


def test_trials_without_an_outcome_are_counted():
    trials = [
        {"seed": 0, "status": "budget", "train": 0.5},
        {"seed": 1, "status": "diverged", "train": None},
        {"seed": 2, "status": "failed", "train": None},
    ]
    assert final_values({"trials": trials}) == FinalValues({0: 0.5, 1: None}, 1)


def test_a_first_digest_is_new_and_the_same_one_again_is_the_same():
    tonight = digest("a", state="not judged")
    assert judge_digest(tonight, [], "f" * 40).state == "new"
    assert judge_digest(tonight, [(night(0), digest("a"))], "f" * 40).state == "same"


def test_another_digest_says_since_which_commit():
    history = [(night(day), digest(letter)) for day, letter in enumerate("aaba")]
    judged = judge_digest(digest("b"), history, "f" * 40)
    assert judged.state == "changed"
    assert "tonight, at commit ffffffffffff" in judged.reason
    assert "night of 2026-03-04, at commit 000000000000" in judged.reason
    history += [(night(4), digest("b")), (night(5), digest("c"))]
    judged = judge_digest(digest("c"), history, "f" * 40)
    assert "since the night of 2026-03-05" in judged.reason
    assert "The last night with the accepted θ was the night of 2026-03-04" in judged.reason


def test_a_change_is_told_until_it_is_accepted():
    history = [(night(0), digest("a"))]
    for day in range(1, 5):
        judged = judge_digest(digest("b"), history, None)
        assert judged.state == "changed"
        history.append((night(day), judged))


def test_a_time_is_held_against_the_first_of_its_series():
    history = [(night(0), replace(TIME, value=0.5)), (night(1), replace(TIME, value=0.9))]
    assert judge_time(TIME, [], noise(), FAMILY).state == "new"
    assert judge_time(TIME, history, noise(), FAMILY).state == "same"
    slower = replace(TIME, value=0.5 + 1.01 * LIMIT)
    assert judge_time(slower, history, noise(), FAMILY).state == "worse"
    assert judge_time(slower, history, None, FAMILY).state == "not judged"


@pytest.mark.parametrize(
    ("first", "again", "state"),
    [(1.1, 1.2, "worse"), (1.1, 0.9, "same"), (1.1, -1.1, "same"), (-1.1, -1.1, "better")],
)
def test_a_time_is_a_finding_if_it_is_one_twice(first, again, state):
    history = [(night(0), replace(TIME, value=0.5))]
    tonight = replace(TIME, value=0.5 + first * LIMIT)
    judged = judge_time(tonight, history, noise(), FAMILY, 0.5 + again * LIMIT)
    assert judged.state == state
    assert ("measured again" in judged.reason) == (state == "same")
    assert judged.value == pytest.approx(0.5 + (first if judged.is_finding else again) * LIMIT)
