"""The judged metric: chosen, recorded, repeated, changed afterwards, and combined."""

from dataclasses import replace

import pytest

from bench.harness.comparison.combine import combine_records, compare_recorded
from bench.harness.comparison.compare import compare
from bench.harness.comparison.judgement import judged_by
from bench.harness.comparison.resume import resume
from bench.harness.core.errors import Usage
from bench.harness.store.mlflow.entries import comparison_tags
from bench.harness.store.results import Store
from tests.harness.small import request

METHODS = "nag[batch=20],sgd[batch=20]"


@pytest.fixture
def recorded(store_url):
    """A comparison that is judged by its test loss."""
    return compare(request(store_url, METHODS, metric="test_loss"))


def test_the_metric_is_part_of_the_result_and_of_its_command(recorded, store_url):
    assert (
        recorded["metric"]["name"] == "test_loss"
        and "--metric test_loss" in (recorded["reproduce"])
    )
    (pair,) = recorded["pairs"]
    assert pair["metric"] == "test_loss" and pair["claim"].endswith("a verdict on test loss")
    finals = [row["final"]["test"]["values"] for row in recorded["methods"]]
    assert finals == [[t["test_loss"] for t in row["trials"]] for row in recorded["methods"]]
    with Store.open(store_url, create=False) as store:
        tags = comparison_tags(store.comparison(recorded["comparison"]))
    assert tags["bench.verdict"] == pair["claim"] and tags["bench.metric"] == "test_loss"
    assert "test loss of nag / that of sgd" in tags["mlflow.note.content"]


def test_judged_anew_it_is_as_if_recorded_so(recorded, store_url):
    other = compare(request(store_url, METHODS))
    assert other["metric"]["name"] == "train_squared_error"
    with Store.open(store_url, create=False) as store:
        record = store.comparison(recorded["comparison"])
        anew = judged_by(store, record, "train_squared_error").summary
        assert judged_by(store, record, None) is record
        # The trials are the same: they were not run again.
        assert [r["trials"] for r in anew["methods"]] == [r["trials"] for r in other["methods"]]
        with pytest.raises(Usage, match="has no such metric"):
            judged_by(store, record, "train_error")
    assert anew["notes"][0] == (
        "The comparison was recorded with verdicts on test loss; here they are on training squared "
        "error."
    )
    for name in ("metric", "margin", "scale", "pairs"):
        assert anew[name] == other[name]
    assert [r["final"] for r in anew["methods"]] == [r["final"] for r in other["methods"]]


def test_a_resumed_comparison_keeps_its_metric(recorded, store_url):
    with Store.open(store_url, create=False) as store:
        store.finish_comparison(recorded["comparison"], "interrupted", None)
    again = resume(store_url, recorded["comparison"], None, None, True)
    assert again["metric"] == recorded["metric"] and again["pairs"] == recorded["pairs"]


def test_combined_comparisons_judge_one_metric(recorded, store_url):
    other = compare(request(store_url, "cm[batch=20]"))
    same = compare(request(store_url, "cm[batch=20]", metric="test_loss"))
    with Store.open(store_url, create=False) as store:
        ids = [recorded["comparison"], other["comparison"]]
        with pytest.raises(Usage, match=r"test_loss in .*, train_squared_error in .*--metric"):
            compare_recorded(store, ids, [])
        chosen = compare_recorded(store, ids, [], "train_loss")
        assert chosen["metric"]["name"] == "train_loss"
        assert chosen["reproduce"].endswith("--metric train_loss")
        both = [store.comparison(each["comparison"]) for each in (recorded, same)]
        assert combine_records(store, both, []).summary["metric"]["name"] == "test_loss"


def test_what_cannot_be_judged_is_refused_before_anything_is_run(store_url):
    for name in ("test_los", "loss", "train_", "TRAIN_LOSS", ""):
        with pytest.raises(Usage, match="Allowed: train_squared_error, test_squared_error"):
            compare(replace(request(store_url), metric=name))
