"""What a verdict says: its metric and data, the other data, and what else differs."""

import math
from dataclasses import replace

import pytest

from bench.harness.analysis.judged import judged_metric
from bench.harness.analysis.summary import summarize
from bench.harness.core.errors import Usage
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import Budget, Protocol
from bench.harness.report.table import evidence, means, with_sentences

PROTOCOL = Protocol(
    problem="digits",
    parameters={},
    preset="quick",
    data="digits",
    data_digest="d",
    initialization="i",
    objective="logistic",
    metric="train_squared_error",
    direction="lower",
    budget=Budget("updates", 100),
    precision="fp32",
    evaluations=10,
)


def trials_of(method, values, *, ledger=None, status="budget", **hyperparameters):
    """Trials with (training, test) results, one for each seed."""
    spent = ledger or Ledger(updates=100, examples=1000, gradients=10.0)
    return [
        TrialRecord(
            0, f"{seed:032x}", f"{method}{seed}", 1, PROTOCOL.key, method, method, "torch",
            hyperparameters, method, seed, "reported", status, None, spent, "shared", train, test,
            "s", "c", 1, None, None, None,
        )
        for seed, (train, test) in enumerate(values)
    ]  # fmt: skip


def judge(*methods, protocol=PROTOCOL, **given):
    trials, measurements = [], {}
    for trial in (trial for method in methods for trial in method):
        trial = replace(trial, id=len(trials))
        measurements[trial.id] = [
            Measurement(
                0,
                trial.ledger,
                trial.train_metric,
                math.nan if trial.test_metric is None else trial.test_metric,
                # The losses order methods as the negative metric does.
                1 / trial.train_metric if trial.train_metric else 1.0,
                1 / trial.test_metric if trial.test_metric else 1.0,
            )
        ]
        trials.append(trial)
    usual = {"margin": 0.01, "log_scale": True, "targets": ()}
    summary = summarize(
        comparison_id="c", protocol=protocol, trials=trials, measurements=measurements,
        published=lambda *_: None, reproduce="bench compare", **{**usual, **given},
    )  # fmt: skip
    return with_sentences(summary)


def around(train, test, n=8):
    return [(train * (1 + seed / 100), test * (1 + seed / 90)) for seed in range(n)]


NAG, ADAM = around(0.1, 0.5), around(0.2, 0.4)
"""Training data are for nag, test data for adam."""


def test_a_verdict_names_metric_and_data_and_where_the_other_data_contradict_it():
    (pair,) = judge(trials_of("adam", ADAM), trials_of("nag", NAG))["pairs"]
    assert pair["claim"] == "nag is better than adam in training squared error"
    assert (
        "training squared error of nag / that of adam = 0.500 (geometric mean over 8"
        in (pair["evidence"])
    )
    other = pair["other_data"]
    assert other["contradicts"] and other["better"] == "adam"
    assert other["metric"] == "test_squared_error"
    assert (
        "On test data it is the other way round: adam is better there by its own interval, test "
        "squared error of adam / that of nag = 0.800"
    ) in pair["evidence"]


def test_the_metric_can_be_chosen():
    summary = judge(trials_of("adam", ADAM), trials_of("nag", NAG), metric="test_squared_error")
    (pair,) = summary["pairs"]
    assert pair["claim"] == "adam is better than nag in test squared error"
    assert "On training data it is the other way round: nag is better there" in pair["evidence"]
    assert summary["metric"]["name"] == pair["metric"] == "test_squared_error"
    for metric, winner in (("train_loss", "adam"), ("test_loss", "nag")):
        (pair,) = judge(trials_of("adam", ADAM), trials_of("nag", NAG), metric=metric)["pairs"]
        assert pair["claim"].startswith(f"{winner} is better than")
        assert pair["claim"].endswith({"train": "training loss", "test_": "test loss"}[metric[:5]])
    with pytest.raises(Usage, match="did you mean 'test_loss'"):
        judged_metric(PROTOCOL, "test_los")


def test_data_that_agree_or_cannot_tell_are_not_mentioned():
    for test in (0.3, 0.5):
        same = judge(trials_of("a", around(0.1, test)), trials_of("b", around(0.2, 0.5)))
        assert "other way" not in same["pairs"][0]["evidence"]
    none = judge(
        trials_of("a", [(t, None) for t, _ in NAG]), trials_of("b", [(t, None) for t, _ in ADAM])
    )
    assert none["pairs"][0]["other_data"] is None
    assert none["methods"][0]["final"]["test"]["diverged"] == 0


def test_direction_higher():
    protocol = replace(PROTOCOL, metric="train_accuracy", direction="higher")
    summary = judge(
        trials_of("a", [(0.99, 0.7)] * 8), trials_of("b", [(0.9, 0.8)] * 8),
        protocol=protocol, log_scale=False,
    )  # fmt: skip
    (pair,) = summary["pairs"]
    assert pair["claim"] == "a is better than b in training accuracy"
    assert pair["other_data"]["better"] == "b" and "other way round: b is" in pair["evidence"]


def test_a_difference_is_written_winner_first():
    values = [(1.0 + seed / 10, 1.0) for seed in range(8)]
    worse = [(train + 0.5, test) for train, test in values]
    (pair,) = judge(trials_of("a", worse), trials_of("b", values), log_scale=False)["pairs"]
    assert pair["difference"] == 0.5
    assert (
        "of b − that of a = -0.500 (arithmetic mean over 8 seeds; 95 % permutation"
        in (pair["evidence"])
    )


def test_a_column_has_one_mean_and_zeros_are_explained():
    zero = [(train, 0.0 if seed == 3 else test) for seed, (train, test) in enumerate(NAG)]
    summary = judge(trials_of("a", zero), trials_of("b", ADAM))
    assert {row["final"]["scale"] for row in summary["methods"]} == {"log"}
    assert {row["final"]["test"]["scale"] for row in summary["methods"]} == {"plain"}
    assert means(summary) == (
        "training squared error: geometric mean over n seeds; test squared error: arithmetic mean "
        "over n seeds"
    )
    assert any("test squared error of some trial is not positive" in n for n in summary["notes"])


@pytest.mark.parametrize("name", ["accuracy", "zero_one_loss"])
def test_intervals_of_shares_stay_within_0_and_1(name):
    protocol = replace(PROTOCOL, metric=f"train_{name}", direction="higher")
    near_one, near_zero = ([(v, v) for v in values] for values in ((1, 0.9, 1), (0, 0.1, 0)))
    summary = judge(
        trials_of("a", near_one), trials_of("b", near_zero), protocol=protocol, log_scale=False
    )
    for row in summary["methods"]:
        for final in (row["final"], row["final"]["test"]):
            assert 0 <= final["low"] < final["mean"] < final["high"] <= 1
    (pair,) = summary["pairs"]
    assert -1 <= pair["low"] <= pair["high"] <= 1


def test_tuned_against_untuned_is_said():
    tuned = {"nag": {"trials": 16, "chosen": None}}
    (pair,) = judge(trials_of("nag", NAG, lr=0.1), trials_of("adam", ADAM, lr=0.1), tuning=tuned)[
        "pairs"
    ]
    assert pair["cautions"] == [
        "nag was tuned for this problem (with 16 tuning trials), and adam was not: its values are "
        "general defaults, or were written by hand."
    ]
    assert pair["cautions"][0] in pair["evidence"]
    both = {"nag": {"trials": 16}, "adam": {"trials": 4}}
    (pair,) = judge(trials_of("nag", NAG, lr=0.1), trials_of("adam", ADAM, lr=0.1), tuning=both)[
        "pairs"
    ]
    assert pair["cautions"] == ["nag was tuned with 16 trials, and adam with 4."]
    (pair,) = judge(trials_of("nag", NAG, lr=0.1), trials_of("adam", ADAM, lr=0.1))["pairs"]
    assert pair["cautions"] == []


def test_defaults_that_a_tuning_run_chose_are_tuned():
    protocol = replace(PROTOCOL, problem="curves")
    for lr, count in ((0.148, 1), (0.2, 0)):
        (pair,) = judge(
            trials_of("sgd", NAG, lr=lr), trials_of("adam", ADAM, lr=0.1), protocol=protocol
        )["pairs"]
        assert len(pair["cautions"]) == count


def test_unequal_examples_under_a_budget_of_updates_are_said():
    more = Ledger(updates=100, examples=20_000, gradients=200.0)
    (pair,) = judge(trials_of("a", NAG), trials_of("b", ADAM, ledger=more))["pairs"]
    assert pair["cautions"] == [
        "The budget counts updates, and these cost different amounts: per trial, a used 1,000 "
        "training cases, and b 20,000."
    ]
    protocol = replace(PROTOCOL, budget=Budget("examples", 20_000))
    (pair,) = judge(
        trials_of("a", NAG, ledger=more), trials_of("b", ADAM, ledger=more), protocol=protocol
    )["pairs"]
    assert pair["cautions"] == []


def test_a_trial_that_diverged_or_ended_early_had_updates_of_the_same_cost():
    early = Ledger(updates=4, examples=40, gradients=0.4)
    gone = [replace(t, status="diverged") for t in trials_of("a", NAG, ledger=early)]
    for mine in (gone, trials_of("a", NAG, ledger=early)):
        (pair,) = judge(mine, trials_of("b", ADAM))["pairs"]
        assert not [said for said in pair["cautions"] if "cost different amounts" in said]


def test_different_horizons_are_said():
    (pair,) = judge(trials_of("a", NAG, total_steps=1_000), trials_of("b", ADAM, T_max=100))[
        "pairs"
    ]
    assert pair["cautions"] == [
        "The schedule of a ends after 1,000 updates (total_steps), and its trials ended after 100."
    ]
    early = Ledger(updates=40, examples=400, gradients=4.0)
    (pair,) = judge(trials_of("a", NAG, ledger=early), trials_of("b", ADAM))["pairs"]
    assert "The trials end at different points: per trial, a spent 40 updates, and b 100." in (
        evidence(pair, judge(trials_of("a", NAG), trials_of("b", ADAM)))
    )
