"""Curves over budgets from summaries that were made by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.harness.analysis.budget_curve import budget_curve, results_of
from bench.harness.core.spec import Budget
from bench.harness.report.budget_table import with_sentences
from tests.harness.analysis.test_summary import PROTOCOL, summary, trial

AMOUNTS = (100.0, 300.0, 1000.0)


def at(amount, n=7, better=0.5, more=(), **changes):
    """The comparison of nag and hf at a budget, where nag's error is `better` times that of hf.

    `more` has names of other methods and their factors.
    """
    protocol = replace(PROTOCOL, budget=Budget("gradients", amount))
    factors = (("nag", better), ("hf", 1.0), *more)
    noise = np.random.default_rng(int(amount)).uniform(0.9, 1.1, (len(factors), n))
    trials = [
        trial(10 * m + s, name, s, float(factor * noise[m, s] / amount), protocol_key=protocol.key)
        for m, (name, factor) in enumerate(factors)
        for s in range(n)
    ]
    return summary(trials, protocol=protocol, comparison_id=f"c{amount:g}", **changes)


def curve(*summaries, written=("nag", "hf")):
    return budget_curve(summaries, written, "bench compare --budgets 'gradients=100|300'")


def test_a_point_is_the_result_of_the_comparison_at_that_budget():
    of = [at(amount) for amount in AMOUNTS]
    found = curve(*of)
    json.dumps(found, allow_nan=False)
    assert [row["method"] for row in found["methods"]] == ["nag", "hf"]
    for row, name in zip(found["methods"], ("nag", "hf"), strict=True):
        assert [point["amount"] for point in row["points"]] == list(AMOUNTS)
        assert [point["comparison"] for point in row["points"]] == ["c100", "c300", "c1000"]
        for point, each in zip(row["points"], of, strict=True):
            (own,) = (one["final"] for one in each["methods"] if one["method"] == name)
            assert {key: point[key] for key in ("mean", "low", "high", "values")} == {
                key: own[key] for key in ("mean", "low", "high", "values")
            }
            logs = np.log(point["values"])
            low, high = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
            assert (point["mean"], point["low"], point["high"]) == pytest.approx(
                (math.exp(logs.mean()), math.exp(low), math.exp(high))
            )
    assert "budget" not in found["protocol"] and found["seeds"] == list(range(7))
    assert (found["currency"], found["scale"]) == ("gradients", "log")


def test_p_is_adjusted_over_all_pairs_of_all_budgets():
    """All 7 seeds say the same at two budgets: p = 2/2⁷, by Holm 3 and 2 times; the third is 1."""
    of = [at(100.0), at(300.0), at(1000.0, better=1.0)]
    found = curve(*of)
    p = [pair["p"] for each in found["budgets"] for pair in each["pairs"]]
    alone = [pair["p"] for each in of for pair in each["pairs"]]
    assert alone[:2] == [2 / 2**7, 2 / 2**7] and alone[2] > 0.05
    assert p == [3 * 2 / 2**7, 3 * 2 / 2**7, max(alone[2], 3 * 2 / 2**7)]
    verdicts = [pair["verdict"] for each in found["budgets"] for pair in each["pairs"]]
    assert verdicts == ["a better", "a better", "cannot tell"]
    assert found["needed_seeds"] == 7
    assert any("corrected for 3 pairs over all budgets" in note for note in found["notes"])


def test_seeds_that_suffice_for_a_budget_do_not_for_three():
    of = [at(amount, n=6) for amount in AMOUNTS]
    assert {pair["verdict"] for each in of for pair in each["pairs"]} == {"a better"}
    pairs = [pair for each in curve(*of)["budgets"] for pair in each["pairs"]]
    assert {pair["verdict"] for pair in pairs} == {"too few seeds"}
    assert "At least 7 seeds are needed" in pairs[0]["reason"]
    # The difference and its interval are those of the pair alone.
    for pair, each in zip(pairs, of, strict=True):
        old = each["pairs"][0]
        assert {k: pair[k] for k in ("difference", "low", "high", "ratio", "other_data")} == {
            k: old[k] for k in ("difference", "low", "high", "ratio", "other_data")
        }


def test_a_method_whose_label_differs_is_named_as_it_was_asked_for():
    of = [at(100.0), at(300.0)]
    for row in (of[1]["methods"][0], of[1]["pairs"][0]):
        row["a" if "a" in row else "method"] = "nag[lr=0.2]"
    found = curve(*of, written=("nag[lr=0.1|0.2]", "hf"))
    assert [row["method"] for row in found["methods"]] == ["nag[lr=0.1|0.2]", "hf"]
    assert [p["label"] for p in found["methods"][0]["points"]] == ["nag", "nag[lr=0.2]"]
    assert {pair["a"] for each in found["budgets"] for pair in each["pairs"]} == {"nag[lr=0.1|0.2]"}


def test_a_method_whose_label_differs_is_named_so_on_the_other_data_too():
    of = [at(100.0), at(300.0)]
    for each, label in zip(of, ("hf[lam=1]", "hf[lam=2]"), strict=True):
        (pair,) = each["pairs"]
        pair["b"] = each["methods"][1]["method"] = label
        pair["other_data"] |= {"contradicts": True, "better": label}
    found = with_sentences(curve(*of, written=("nag", "hf[lam=1|2]")))
    for each in found["budgets"]:
        (pair,) = each["pairs"]
        assert pair["other_data"]["better"] == "hf[lam=1|2]"
        assert "squared error of hf[lam=1|2] / that of nag" in pair["evidence"]
    assert [each["pairs"][0]["other_data"]["better"] for each in of] == ["hf[lam=1]", "hf[lam=2]"]


def test_a_diverged_trial_has_no_point_at_its_budget_and_one_at_the_others():
    trials = [
        trial(i, "nag" if i < 7 else "hf", i % 7, None if i == 2 else 0.1 + i / 100)
        for i in range(14)
    ]
    gone = summary(trials, protocol=replace(PROTOCOL, budget=Budget("gradients", 300.0)))
    found = curve(at(100.0), gone)
    nag = found["methods"][0]["points"]
    assert nag[0]["mean"] is not None and nag[0]["diverged"] == 0
    assert (nag[1]["mean"], nag[1]["low"], nag[1]["diverged"]) == (None, None, 1)
    assert results_of(gone, ["nag", "hf"])["nag"][2] is None
    assert "diverged" in found["budgets"][1]["pairs"][0]["reason"]
    assert any(note.startswith("At 300: nag: 1 of 7 trials diverged") for note in found["notes"])


def test_what_is_said_of_times_to_targets_is_no_note_of_the_curves():
    of = [at(100.0), at(300.0)]
    for each in of:
        each["budget_end"]["refusals"] = ["The time of nag to ≤ 1 is not shown: it has an end."]
        each["notes"] += [*each["budget_end"]["refusals"], "A note."]
    assert "not shown" not in "".join(curve(*of)["notes"]) and "A note." in curve(*of)["notes"]
    # Earlier versions of bench did not record which notes they are.
    for each in of:
        del each["budget_end"]["refusals"]
    assert "not shown" in "".join(curve(*of)["notes"])


def test_test_data_are_judged_where_they_are_asked_for():
    of = [at(amount, metric="test_squared_error") for amount in (100.0, 300.0)]
    found = curve(*of)
    for point, each in zip(found["methods"][0]["points"], of, strict=True):
        assert point["mean"] == each["methods"][0]["final"]["test"]["mean"]
    assert results_of(of[0], ["nag", "hf"])["nag"][0] == of[0]["methods"][0]["trials"][0]["test"]


def test_what_is_said_of_tuning_and_of_the_end():
    effort = {name: {"trials": 8, "chosen": {"lr": 0.1}} for name in ("nag", "hf")}
    notes = curve(at(100.0, tuning=effort), at(300.0, tuning=effort))["notes"]
    assert "The hyperparameters were tuned for each budget by itself." in notes
    assert notes[0] == (
        "Each budget was run to its own end, as a comparison of its own: c100, c300."
    )
