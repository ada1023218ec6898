import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.harness.analysis.summary import summarize
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import Budget, Protocol
from bench.harness.report.table import evidence

PROTOCOL = Protocol(
    "curves", {}, "quick", "curves (generated)", "d" * 64, "sparse", "cross-entropy",
    "train_squared_error", "lower", Budget("gradients", 1000), "fp32", 3,
)  # fmt: skip


def trial(id, method, seed, train, **changes):
    diverged = train is None
    ledger = Ledger(10 + seed, 1000, 100.0, 5, 4, 2.0, 1 << 20)
    record = TrialRecord(
        id, f"{id:032x}", f"key{id}", 1, PROTOCOL.key, method, method.split("[")[0], "torch",
        {"lr": 0.1}, method, seed, "reported", "diverged" if diverged else "budget", None, ledger,
        "alone", train,
        None if diverged else 2 * train, "source", "context", 1, None, None, f"run{id}",
    )  # fmt: skip
    return replace(record, **changes)


def measured(trials):
    return {
        t.id: [
            Measurement(i, Ledger(gradients=10.0 * i, seconds=1.0 * i), v, v, v, v)
            for i, v in enumerate((9.0, t.train_metric or math.nan))
        ]
        for t in trials
    }


def summary(trials, **changes):
    given = {
        "comparison_id": "c1",
        "protocol": PROTOCOL,
        "trials": trials,
        "measurements": measured(trials),
        "targets": (1.0, 0.3),
        "margin": 0.05,
        "log_scale": True,
        "published": lambda *_: None,
        "reproduce": "bench compare --optimizers nag,hf",
    }
    return summarize(**(given | changes))


def two_methods(n=6):
    values = np.random.default_rng(0).uniform(0.1, 0.2, (2, n))
    return [trial(10 * m + s, name, s, float(values[m, s]) * (1 + 3 * m))
            for m, name in enumerate(("nag", "hf")) for s in range(n)]  # fmt: skip


def test_keys_of_version_1():
    plain = summary(two_methods())
    json.dumps(plain, allow_nan=False)
    assert plain["schema_version"] == 1
    promised = {"schema_version", "comparison", "protocol", "methods", "pairs", "reproduce"}
    assert promised <= plain.keys()
    assert {"key", "problem", "preset", "metric", "direction"} <= plain["protocol"].keys()
    for row in plain["methods"]:
        assert {
            "method", "backend", "hyperparameters", "n", "final", "ledger", "time_to_target",
            "published", "status", "tuning", "trials",
        } <= row.keys()  # fmt: skip
        assert {"mean", "low", "high", "values"} <= row["final"].keys()
        assert {
            "updates", "examples", "gradients", "products", "seconds", "seconds_are",
        } <= row["ledger"].keys()  # fmt: skip
        assert {"target", "reached", "of", "seconds", "gradients"} <= row["time_to_target"].keys()
        assert {"trials", "chosen"} <= row["tuning"].keys()
        for t in row["trials"]:
            assert {"key", "attempt", "seed", "status", "mlflow_run_id"} <= t.keys()
    for pair in plain["pairs"]:
        assert {"a", "b", "difference", "low", "high", "p", "verdict"} <= pair.keys()


def test_figures():
    trials = two_methods()
    plain = summary(trials)
    nag, hf = plain["methods"]
    assert (nag["method"], hf["method"], nag["n"], nag["status"]) == ("nag", "hf", 6, {"budget": 6})
    logs = np.log([t.train_metric for t in trials[:6]])
    low, high = stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs))
    final = nag["final"]
    assert final["values"] == [t.train_metric for t in trials[:6]] and final["scale"] == "log"
    assert (final["mean"], final["low"], final["high"]) == pytest.approx(
        (math.exp(logs.mean()), math.exp(low), math.exp(high))
    )
    assert final["test"]["mean"] == pytest.approx(2 * final["mean"])
    assert nag["ledger"]["updates"] == 12.5 and nag["ledger"]["seconds_are"] == "alone"
    assert nag["time_to_target"] == {
        "target": 1.0, "reached": 6, "of": 6,
        "gradients": 10.0, "updates": 0.0, "examples": 0.0, "seconds": 1.0,
        "restricted_mean": {"gradients": 10.0, "updates": 0.0, "examples": 0.0, "seconds": 1.0},
        # Under seed 0 a trial made 10 updates, and more under the others.
        "horizon": {"gradients": 100.0, "updates": 10.0, "examples": 1000.0, "seconds": 2.0},
        "refused": False,
    }  # fmt: skip
    assert [t["target"] for t in nag["times_to_targets"]] == [1.0, 0.3]
    (pair,) = plain["pairs"]
    assert pair["verdict"] == "a better" and plain["needed_seeds"] == 6
    assert pair["ratio"]["value"] == pytest.approx(math.exp(pair["difference"]))
    assert nag["tuning"] == {"trials": 0, "chosen": None}


def test_diverged_trials_leave_no_mean():
    trials = two_methods()
    trials[2] = trial(2, "nag", 2, None)
    plain = summary(trials)
    json.dumps(plain, allow_nan=False)
    nag = plain["methods"][0]
    assert nag["status"] == {"budget": 5, "diverged": 1} and nag["n"] == 6
    final = nag["final"]
    assert (final["mean"], final["low"], final["high"], final["values"][2]) == (None,) * 4
    # It counts as never there, up to the horizon that the other trials have.
    time = nag["time_to_target"]
    assert (time["reached"], time["horizon"]["gradients"]) == (5, 100.0)
    assert time["restricted_mean"]["gradients"] == pytest.approx((5 * 10 + 100) / 6)
    assert plain["profiles"]["methods"]["nag"]["gradients"][-1] == [100.0, 5 / 6]
    assert plain["pairs"][0]["difference"] is None
    assert any("1 of 6 trials diverged" in note for note in plain["notes"])


def test_profiles():
    plain = summary(two_methods(), targets=(16.0, 0.5))
    found = plain["profiles"]
    assert found["targets"] == pytest.approx([16, 8, 4, 2, 1, 0.5])
    assert plain["targets"] == [16.0, 0.5]
    # They begin at 9, which the first target is above; hf ends above the last one.
    nag, hf = found["methods"]["nag"], found["methods"]["hf"]
    assert nag["gradients"] == [[0.0, pytest.approx(1 / 6)], [10.0, 1.0], [100.0, 1.0]]
    below = np.mean(
        [np.array(found["targets"]) >= v for v in plain["methods"][1]["final"]["values"]]
    )
    assert hf["seconds"] == [[0.0, pytest.approx(1 / 6)], [1.0, below], [2.0, below]]
    assert nag.keys() == {"gradients", "updates", "examples", "seconds"}


def test_methods_without_an_outcome_have_no_profile_and_shorten_no_horizon():
    trials = two_methods()
    gone = [replace(t, status="failed") if t.method == "nag" else t for t in trials]
    plain = summary(gone)
    assert plain["profiles"]["methods"].keys() == {"hf"}
    nag, hf = (row["time_to_target"] for row in plain["methods"])
    assert nag["of"] == 0 and set(nag["restricted_mean"].values()) == {None}
    assert nag["horizon"] == hf["horizon"]
    # One horizon for all methods: that of the shortest trial which spent its budget.
    short = [*trials[:-1], replace(trials[-1], ledger=Ledger(gradients=7.0))]
    assert {r["time_to_target"]["horizon"]["gradients"] for r in summary(short)["methods"]} == {7.0}
    stopped = [*trials[:-1], replace(short[-1], reason="The gradient is zero.")]
    assert summary(stopped)["methods"][0]["time_to_target"]["horizon"]["gradients"] == 100.0


def test_trials_that_stopped_of_themselves_count_and_are_said():
    trials = two_methods()
    trials[5] = replace(trials[5], reason="The gradient is zero.")
    plain = summary(trials)
    assert plain["methods"][0]["n"] == 6
    assert "nag: 1 of 6 trials ended early: The gradient is zero." in plain["notes"]


def test_trials_without_an_outcome_are_left_out_and_said():
    trials = two_methods()
    trials[5] = replace(trials[5], status="interrupted")
    plain = summary(trials)
    nag = plain["methods"][0]
    assert nag["n"] == 5 and len(nag["trials"]) == 6 and plain["pairs"][0]["n"] == 5
    assert any("1 interrupted" in note for note in plain["notes"])
    empty = summary([replace(t, status="failed", train_metric=None) for t in trials])
    json.dumps(empty, allow_nan=False)
    assert empty["methods"][0]["final"]["mean"] is None
    assert empty["methods"][0]["ledger"]["updates"] is None


def test_the_last_attempt_counts_and_tuning_trials_do_not():
    trials = two_methods()
    failed = replace(trials[0], id=90, status="failed", train_metric=None)
    trials[0] = replace(trials[0], attempt=2)
    tuning = trial(91, "nag", 999, 1e-9, purpose="tuning")
    plain = summary([*trials, failed, tuning])
    nag = plain["methods"][0]
    assert nag["n"] == 6 and nag["trials"][0]["attempt"] == 2
    assert plain["methods"] == summary(trials)["methods"]


def test_seconds_are_ranked_only_in_one_context():
    trials = two_methods()
    assert summary([*trials[:-1], replace(trials[-1], seconds_are="shared")])["methods"][1][
        "ledger"]["seconds_are"] == "shared"  # fmt: skip
    # Rows that were trained together were not alone, whatever they say.
    together = summary([replace(t, fleet_rows=2) for t in trials])
    assert {row["ledger"]["seconds_are"] for row in together["methods"]} == {"shared"}
    mixed = summary([*trials[:-1], replace(trials[-1], context_digest="other")])
    assert {row["ledger"]["seconds_are"] for row in mixed["methods"]} == {"shared"}
    assert any("different conditions" in note for note in mixed["notes"])


def test_published_and_tuning_are_passed_on():
    asked = []

    def published(*given):
        asked.append(given)
        return 0.096

    tuning = {"nag": {"trials": 12, "chosen": {"lr": 0.1}}}
    plain = summary(two_methods(), published=published, tuning=tuning)
    assert plain["methods"][0]["published"] == 0.096 and plain["published_note"]
    assert asked[0] == ("curves", "quick", "nag", {"lr": 0.1})
    assert plain["methods"][0]["tuning"] == tuning["nag"]


def test_a_problem_with_brackets_is_not_the_published_one():
    scaled = replace(PROTOCOL, parameters={"scale": 0.5})
    plain = summary(two_methods(), protocol=scaled, published=lambda *_: 0.096)
    assert [row["published"] for row in plain["methods"]] == [None, None]
    assert plain["published_note"] is None


def test_one_seed_one_method_no_targets_and_plain_scale():
    plain = summary([trial(1, "nag", 0, 0.0)], targets=(), log_scale=True)
    json.dumps(plain, allow_nan=False)
    row = plain["methods"][0]
    assert plain["pairs"] == [] and row["time_to_target"]["target"] is None
    assert set(row["time_to_target"]["restricted_mean"].values()) == {None}
    assert plain["profiles"] == {"targets": [], "methods": {}} and row["times_to_targets"] == []
    assert row["final"]["mean"] == 0.0 and row["final"]["scale"] == "plain"
    assert row["final"]["low"] is None


def test_huge_intervals_are_still_numbers():
    trials = [
        trial(i, m, i % 2, v)
        for i, (m, v) in enumerate([("a", 1e-200), ("a", 1e200), ("b", 1.0), ("b", 1.0)])
    ]
    json.dumps(summary(trials), allow_nan=False)


def test_a_ratio_that_no_float_holds_is_written_as_a_power_of_ten():
    apart = [replace(t, train_metric=t.train_metric * (1e250 if t.method == "hf" else 1e-250))
             for t in two_methods()]  # fmt: skip
    plain = summary(apart)
    assert "of nag / that of hf = 10^-50" in evidence(plain["pairs"][0], plain)


def test_a_diverged_trial_leaves_no_mean_difference_and_the_sentence_says_it_so():
    plain = summary([replace(t, train_metric=None, status="diverged") if t.method == "hf" else t
                     for t in two_methods()])  # fmt: skip
    assert "no mean difference is given" in evidence(plain["pairs"][0], plain)
