"""What is known of trials of earlier versions, and what a comparison makes of it."""

from dataclasses import replace

import pytest
import sqlalchemy

from bench.harness.comparison.anytime import with_anytime_updates
from bench.harness.comparison.compare import compare
from bench.harness.core.spec import Budget
from bench.harness.report.table import facts
from bench.harness.store.mlflow.entries import comparison_tags
from bench.harness.store.mlflow.entries import tags as trial_tags
from bench.harness.store.results import Store
from tests.harness.analysis.test_summary import PROTOCOL, trial
from tests.harness.small import request

pytestmark = pytest.mark.usefixtures("no_pictures")

BUDGET = replace(PROTOCOL, budget=Budget("gradients", 1000.0))
LOW = {"batch": 20, "final": 10, "period": 1, "final_mu": 0.6}


def known(name, hyperparameters, recorded=None, protocol=BUDGET.key):
    record = replace(
        trial(0, name, 0, 0.1),
        hyperparameters=hyperparameters,
        anytime_updates=recorded,
        protocol_key=protocol,
    )
    return with_anytime_updates([record], [BUDGET])[0].anytime_updates


def test_what_was_not_recorded_of_a_built_in_method_follows_from_its_hyperparameters():
    assert known("nag", LOW) == 40
    assert known("nag", {**LOW, "final": 0}) is None
    assert known("sgd", {"batch": 20}) is known("hf", {}) is None
    assert known("nag", LOW, recorded=7) == 7
    # Nothing is known of these.
    assert known("nag", LOW, protocol="other") is None
    assert known("nag", {**LOW, "of_another_version": 1}) is None
    assert known("gone.module:Mine", {"lr": 1}) is None


def test_a_comparison_says_it_and_one_with_an_earlier_trial_says_the_same(store_url):
    text = "nag[batch=20,final=10,period=1,final_mu=0.6],sgd[batch=20,lr=0.05]"
    asked = request(store_url, text, budget="updates=50")
    first = compare(asked)
    assert first["budget_end"]["methods"] == [
        {"method": "nag", "anytime_updates": 40, "updates": 50}
    ]
    assert facts(first)[-1] == "end-of-budget"
    assert first["budget_end"]["sentence"] in first["notes"]
    with Store.open(store_url) as store:
        tags = comparison_tags(store.comparison(first["comparison"]))
        trials = store.trials(first["comparison"])
        told = [trial_tags(t, store.protocol(t.protocol_key), (), {}, {}) for t in trials]
    assert tags["bench.budget_end"].startswith("end-of-budget: Some updates depend on ")
    assert {each["bench.method"]: each.get("bench.anytime_updates") for each in told} == {
        "nag": "40",
        "sgd": None,
    }
    engine = sqlalchemy.create_engine(store_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE bench_trial SET anytime_updates = NULL")
    engine.dispose()
    again = compare(asked)
    for name in ("budget_end", "profiles"):
        assert again[name] == first[name]
    alone = compare(replace(asked, optimizers="sgd[batch=20,lr=0.05],sgd[batch=20,lr=0.01]"))
    assert facts(alone)[-1] == "anytime" and alone["notes"] == []
