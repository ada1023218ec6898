"""Which times may be compared, on courses that are evaluated at 0, 10, 20 and 30 updates."""

import math
from dataclasses import replace

import pytest

from bench.harness.analysis.budget_end import (
    dependences,
    others_with_another_end,
    reaches_late,
    refusals,
    refused,
    statement,
    without_the_end,
)
from bench.harness.analysis.profiles import profile
from bench.harness.analysis.targets import BudgetEnd, Course
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget
from tests.harness.analysis.test_summary import summary, trial

SHORT, LONG = Budget("updates", 30), Budget("updates", 300)


def course(*values, free=None, budget=SHORT):
    taken = [
        Measurement(i, Ledger(updates=10 * i, gradients=200.0 * i, seconds=1.0 * i), v, v, v, v)
        for i, v in enumerate(values)
    ]
    end = None if free is None else BudgetEnd(budget, free)
    return Course(taken, taken[-1].ledger, whole=True, end=end)


ADAM = [course(9, 4, 1, 1), course(9, 9, 9, 9)]
NAG = [course(9, 4, 2, 1, free=20), course(9, 9, 4, 3, free=20)]
COSINE = [course(9, 4, 3, 2, free=0)]


@pytest.mark.parametrize(
    ("target", "late"),
    [(5, False), (4, False), (2.5, False), (2, False), (1.5, True), (1, True), (0.5, False)],
)
def test_a_target_is_late_where_it_is_reached_in_the_updates_that_depend_on_the_end(target, late):
    assert reaches_late(NAG[0], target, "lower") is late
    # At the last of the updates that do not depend on it, and never: neither is late.
    assert not reaches_late(ADAM[0], target, "lower")


def test_the_first_update_that_depends_on_the_end_is_late():
    at_20 = [course(9, 4, 2, 1, free=free) for free in (18, 19, 20, 21)]
    assert [reaches_late(each, 2, "lower") for each in at_20] == [True, True, False, False]


def test_a_target_that_is_reached_at_the_start_is_not_late_under_any_schedule():
    assert not reaches_late(COSINE[0], 9, "lower")
    assert reaches_late(COSINE[0], 8, "lower")
    rising = course(0.1, 0.2, 0.9, free=10)
    assert [reaches_late(rising, t, "higher") for t in (0.2, 0.3, 0.95)] == [False, True, False]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (9, {}),
        # One of two trials of nag is late; all of cosine's are.
        (4, {"cosine": ["adam"]}),
        (3, {"nag": ["adam"], "cosine": ["adam"]}),
        (2, {"cosine": ["adam"]}),
        (1, {"nag": ["adam"]}),
        (0.5, {}),
    ],
)
def test_what_is_refused_beside_an_anytime_method(target, found):
    of = {"nag": NAG, "adam": ADAM, "cosine": COSINE}
    assert refused(of, target, "lower") == found


@pytest.mark.parametrize("target", [9, 4, 3, 2, 1, 0.5])
def test_methods_of_one_end_are_compared_at_every_target(target):
    assert refused({"nag": NAG, "cosine": COSINE}, target, "lower") == {}
    assert refused({"nag": NAG}, target, "lower") == {}
    # What has no outcome has no end that could be another one.
    assert refused({"nag": NAG, "gone": []}, target, "lower") == {}


def test_methods_of_two_budgets_have_two_ends():
    longer = [course(9, 4, 2, 1, free=200, budget=LONG)]
    assert refused({"nag": NAG, "longer": longer}, 1, "lower") == {"nag": ["longer"]}
    assert others_with_another_end("longer", {"nag": NAG, "longer": longer}) == ["nag"]
    assert others_with_another_end("a", {"a": ADAM, "b": ADAM}) == []
    # A method with trials of both kinds has another end than either.
    mixed = [NAG[0], ADAM[0]]
    assert others_with_another_end("nag", {"nag": NAG, "mixed": mixed}) == ["mixed"]
    assert others_with_another_end("mixed", {"nag": NAG, "mixed": mixed}) == ["nag"]


def test_a_sentence_tells_methods_without_an_end_from_those_with_another():
    longer = [course(9, 4, 2, 1, free=200, budget=LONG)]
    of = {"nag": NAG, "adam": ADAM, "longer": longer}
    (said,) = refusals(of, {1.0: refused(of, 1.0, "lower")}, "lower", profiled=False)
    assert ", and adam does not depend on it, and longer has another end. Under" in said


def test_what_is_said_of_a_comparison():
    assert statement({"adam": ADAM})["kind"] == "anytime"
    said = statement({"nag": NAG, "adam": ADAM, "cosine": COSINE})
    assert (said["kind"], said["methods"]) == (
        "end-of-budget",
        [
            {"method": "nag", "anytime_updates": 20, "updates": 30},
            {"method": "cosine", "anytime_updates": 0, "updates": 30},
        ],
    )
    assert "(nag: its last 10 of 30 updates; cosine: every update)" in said["sentence"]
    (gone,) = dependences({"nag": [course(9, math.nan, free=20)]})
    assert gone.words == "every update after update 20"


def test_a_profile_is_compared_as_far_as_it_does_not_depend_on_the_end():
    of = without_the_end({"nag": NAG, "adam": ADAM, "cosine": COSINE})
    assert of["adam"] == ADAM and of["cosine"] == []
    found = profile(of["nag"], [5, 1], "lower")["updates"]
    # Of four pairs: 5 after 10 and after 20 updates; 1 is reached by then in no trial.
    assert found == [[0.0, 0.0], [10.0, 0.25], [20.0, 0.5]]
    assert without_the_end({"nag": NAG, "cosine": COSINE}) == {"nag": NAG, "cosine": COSINE}


def trials(free, budget=None):
    """Two seeds of nag, which ends at 100 updates, and of adam, and what they have reached."""
    made = [
        replace(trial(10 * m + s, name, s, 0.2), ledger=Ledger(100, 1000, 100.0, seconds=2.0))
        for m, name in enumerate(("nag", "adam"))
        for s in range(2)
    ]
    return [replace(t, anytime_updates=free if t.method == "nag" else None) for t in made]


def measured(of):
    values = {t.id: (9.0, 0.9, 0.2) for t in of}
    return {
        id: [
            Measurement(i, Ledger(50 * i, 500 * i, 50.0 * i, seconds=1.0 * i), v, v, v, v)
            for i, v in enumerate(row)
        ]
        for id, row in values.items()
    }


def of_comparison(free, **given):
    of = trials(free)
    return summary(of, measurements=measured(of), targets=(1.0, 0.3), **given)


def test_a_summary_shows_no_amount_for_a_time_that_is_refused():
    plain = of_comparison(60)
    nag, adam = (row["times_to_targets"] for row in plain["methods"])
    assert [time["refused"] for time in nag] == [False, True]
    assert [time["refused"] for time in adam] == [False, False]
    assert (nag[0]["updates"], nag[0]["restricted_mean"]["updates"]) == (50.0, 50.0)
    assert nag[1]["updates"] is nag[1]["gradients"] is nag[1]["seconds"] is None
    assert set(nag[1]["restricted_mean"].values()) == {None}
    assert nag[1]["reached"] == 2 and adam[1]["updates"] == 100.0
    assert [pair["refused_targets"] for pair in plain["pairs"]] == [[0.3]]
    assert plain["profiles"]["methods"]["nag"]["updates"][-1][0] == 50.0
    assert plain["profiles"]["methods"]["adam"]["updates"][-1][0] == 100.0
    assert plain["budget_end"]["kind"] == "end-of-budget"
    said = " ".join(plain["notes"])
    assert "nag: its last 40 of 100 updates" in said
    assert "The time of nag to ≤ 0.3 is not shown" in said and "adam does not depend on it" in said
    assert "The profile of nag ends at update 60" in said
    # The result at the end of the budget is judged as ever.
    assert plain["pairs"][0]["verdict"] == of_comparison(None)["pairs"][0]["verdict"]


def test_a_summary_of_anytime_methods_refuses_nothing():
    plain = of_comparison(None)
    assert plain["budget_end"]["kind"] == "anytime" and plain["notes"] == []
    assert plain["pairs"][0]["refused_targets"] == []
    assert {t["refused"] for row in plain["methods"] for t in row["times_to_targets"]} == {False}


def test_a_schedule_over_the_whole_budget_has_neither_time_nor_profile():
    plain = of_comparison(0)
    assert [t["refused"] for t in plain["methods"][0]["times_to_targets"]] == [True, True]
    assert plain["profiles"]["methods"].keys() == {"adam"}
    assert any(note.startswith("nag has no profile") for note in plain["notes"])


def test_budgets_of_other_protocols_are_other_ends():
    of = [replace(t, anytime_updates=60) for t in trials(60)]
    same = summary(of, measurements=measured(of), targets=(0.3,))
    assert [row["time_to_target"]["refused"] for row in same["methods"]] == [False, False]
    of = [replace(t, protocol_key="other") if t.method == "adam" else t for t in of]
    apart = summary(of, measurements=measured(of), targets=(0.3,), budgets={"other": LONG})
    assert [row["time_to_target"]["refused"] for row in apart["methods"]] == [True, True]
    assert "adam has another end" in " ".join(apart["notes"])
