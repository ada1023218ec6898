"""Recorded comparisons judged as one: what one comparison of all would have said, or a refusal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench.harness.comparison.combine import combine_records, compare_recorded
from bench.harness.comparison.comparability import FIELDS, check_allowed
from bench.harness.comparison.compare import compare, run_one
from bench.harness.core.errors import Incomparable, Infrastructure, Usage
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.results import Store
from tests.harness.small import request

PROTOCOL = Protocol(
    "curves", {}, "quick", "curves (generated)", "d" * 64, "sparse", "cross-entropy",
    "train_squared_error", "lower", Budget("gradients", 3000), "fp32", 6,
)  # fmt: skip
OTHER: dict[str, tuple[Any, str]] = {
    "problem": ("mnist", "curves in {a}, mnist in {b}"),
    "parameters": ({"init": "he", "centred": True}, "none in {a}, centred=true, init=he in {b}"),
    "preset": ("paper", "quick in {a}, paper in {b}"),
    "data": ("curves (mine)", "curves (generated) in {a}, curves (mine) in {b}"),
    "data_digest": ("e" * 64, "dddddddddddd… in {a}, eeeeeeeeeeee… in {b}"),
    "initialization": ("sparse, but", "sparse in {a}, sparse, but in {b}"),
    "objective": ("squared", "cross-entropy in {a}, squared in {b}"),
    "metric": ("train_loss", "train_squared_error in {a}, train_loss in {b}"),
    "direction": ("higher", "lower in {a}, higher in {b}"),
    # Of one amount, in another currency.
    "budget": (Budget("updates", 3000), "3000 gradients in {a}, 3000 updates in {b}"),
    "precision": ("fp64", "fp32 in {a}, fp64 in {b}"),
    "evaluations": (7, "6 in {a}, 7 in {b}"),
    "version": (3, "2 in {a}, 3 in {b}"),
}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


class Recorded:
    """Enters finished comparisons as commands do, without training anything."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def trial(
        self, comparison: str, protocol: Protocol, label: str, seed: int, value: float
    ) -> int:
        method = MethodSpec(label.partition("[")[0], "torch", {"lr": 0.1})
        id = self.store.begin(
            comparison, TrialSpec(protocol, method, seed), label=label, purpose="reported",
            source_digest="s", context={"threads": 1, "versions": {"torch": "2.13.0"}}, info={},
            fleet_rows=1, seconds_are="alone", owner="me",
        )  # fmt: skip
        taken = [
            Measurement(i, Ledger(i, 20 * i, 20.0 * i, seconds=0.1 * i), v, v, v, v)
            for i, v in enumerate((4.0, value))
        ]
        self.store.record([(id, m) for m in taken])
        self.store.end(id, "budget", None, taken[-1].ledger, taken[-1])
        return id

    def done(
        self,
        methods: dict[str, float],
        seeds: int = 6,
        reuse: dict[str, str] | None = None,
        tuned: dict[str, int] | None = None,
        **fields: Any,
    ) -> str:
        """A comparison of methods by their level; `reuse` are methods with whose trials it has."""
        from bench.harness.analysis.summary import summarize

        protocol, labels = replace(PROTOCOL, **fields), dict[int, str]()
        id = self.store.new_comparison(protocol, "comparison", f"bench compare of {len(methods)}")
        for seed in range(seeds):
            for label, level in methods.items():
                labels[self.trial(id, protocol, label, seed, level * (1 + seed / 10))] = label
        for label, other in (reuse or {}).items():
            for trial in self.store.trials(other):
                if trial.method == label.partition("[")[0]:
                    self.store.adopt(id, trial.id)
                    labels[trial.id] = label
        trials = [replace(t, method=labels[t.id]) for t in self.store.trials(id)]
        summary = summarize(
            comparison_id=id, protocol=protocol, trials=trials,
            measurements=self.store.measurements(list(labels)), targets=(3.0, 1.0), margin=0.05,
            log_scale=True, published=lambda *_: None, reproduce=f"bench compare of {len(methods)}",
            tuning={m: {"trials": n, "chosen": {"lr": 0.1}} for m, n in (tuned or {}).items()},
        )  # fmt: skip
        self.store.save_verdicts(id, summary["pairs"])
        self.store.finish_comparison(id, "done", summary)
        return id


@pytest.fixture
def recorded(store: Store) -> Recorded:
    return Recorded(store)


def rows(store: Store) -> list[int]:
    """How many rows the tables that a comparison writes to have."""
    with store._read() as connection:
        names = ("comparison", "comparison_trial", "trial", "verdict", "protocol", "measurement")
        return [
            connection.exec_driver_sql(f"SELECT count(*) FROM bench_{name}").scalar_one()
            for name in names
        ]


def joined(store: Store, *ids: str, allowed: tuple[str, ...] = ()) -> dict[str, Any]:
    return combine_records(store, [store.comparison(id) for id in ids], allowed).summary


def names(summary: dict[str, Any]) -> list[str]:
    return [row["method"] for row in summary["methods"]]


# The oracle: one comparison of all


@pytest.mark.usefixtures("no_pictures")
def test_two_comparisons_say_what_one_of_all_says(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.harness.comparison.combine.write_files", lambda *given: None)
    given = {"seeds": 7, "budget": "updates=12", "precision": "fp64"}
    nag, sgd, cm = "nag[batch=20]", "sgd[batch=20]", "cm[batch=20]"
    whole = compare(request(store_url, f"{nag},{sgd},{cm}", **given))
    parts = [compare(request(store_url, each, **given)) for each in (f"{nag},{sgd}", cm)]
    assert whole is not None and None not in parts
    before = rows(store)
    said = compare_recorded(store, [part["comparison"] for part in parts if part], [])
    assert names(said) == names(whole) == ["nag", "sgd", "cm"]
    assert len(said["pairs"]) == 3
    for one, other in zip(said["pairs"], whole["pairs"], strict=True):
        assert (one["a"], one["b"], one["n"]) == (other["a"], other["b"], 7)
        assert (one["verdict"], one["p"]) == (other["verdict"], other["p"])
        for figure in ("difference", "low", "high"):
            assert one[figure] == pytest.approx(other[figure], rel=1e-9)
    # 7 seeds can decide three pairs, and some of these are decided.
    assert any(pair["verdict"].endswith("better") for pair in said["pairs"])
    for one, other in zip(said["methods"], whole["methods"], strict=True):
        assert one["final"]["values"] == pytest.approx(other["final"]["values"], rel=1e-12)
    # A comparison with the trials of both, and its verdicts; no trial was run.
    after = rows(store)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 21, 0, 3, 0, 0]
    # Its parts may be judged again, by themselves or with more.
    again = joined(store, said["comparison"], whole["comparison"])
    assert len(names(again)) == 6 and len(again["pairs"]) == 15


def test_it_is_recorded_as_a_comparison_of_its_own(recorded: Recorded, store: Store) -> None:
    a, b = recorded.done({"nag": 1.0, "sgd": 2.0}), recorded.done({"cm": 1.5})
    summary = compare_recorded(store, [a, b], [])
    record = store.comparison(summary["comparison"])
    assert (record.kind, record.status, record.summary) == ("comparison", "done", summary)
    assert record.command == summary["reproduce"] == f"bench compare {a} {b}"
    assert [dict(pair) for pair in record.pairs] == summary["pairs"]
    assert "allowed" not in summary and all("allowed" not in pair for pair in record.pairs)
    assert record.protocol == store.comparison(a).protocol
    trials = store.trials(record.id)
    assert record.reused == {t.id for t in trials} and len(trials) == 18
    assert [part["comparison"] for part in summary["joined"]] == [a, b]
    assert [part["reproduce"] for part in summary["joined"]] == [
        "bench compare of 2", "bench compare of 1",
    ]  # fmt: skip
    files = store.files_of_comparison(record.id)
    assert sorted(file.name for file in files.iterdir()) == [
        "comparison.json", "learning_curves.png", "report.html", "report.txt",
    ]  # fmt: skip
    assert json.loads((files / "comparison.json").read_text()) == summary
    assert f"bench compare {a} {b}" in (files / "report.txt").read_text()
    # It can be part of another.
    c = recorded.done({"adam": 3.0})
    assert names(joined(store, record.id, c)) == ["nag", "sgd", "cm", "adam"]


def test_three_at_once(recorded: Recorded, store: Store) -> None:
    ids = [recorded.done({name: level}, 7) for name, level in (("a", 1), ("b", 2), ("c", 3))]
    summary = compare_recorded(store, ids, [])
    assert [(p["a"], p["b"], p["verdict"]) for p in summary["pairs"]] == [
        ("a", "b", "a better"), ("a", "c", "a better"), ("b", "c", "a better"),
    ]  # fmt: skip


# Methods that several have


def test_a_method_that_both_have_run_is_told_apart_by_id(recorded: Recorded, store: Store) -> None:
    a, b = recorded.done({"nag": 1.0, "sgd": 2.0}), recorded.done({"nag": 1.1, "cm": 3.0})
    summary = joined(store, a, b)
    assert names(summary) == [f"nag ({a})", "sgd", f"nag ({b})", "cm"]
    assert [row["final"]["values"][0] for row in summary["methods"]] == [1.0, 2.0, 1.1, 3.0]
    attempts = {row["method"]: {t["attempt"] for t in row["trials"]} for row in summary["methods"]}
    assert attempts == {f"nag ({a})": {1}, "sgd": {1}, f"nag ({b})": {2}, "cm": {1}}


def test_what_tuning_took_is_said(recorded: Recorded, store: Store) -> None:
    a = recorded.done({"nag": 1.0, "sgd": 2.0}, tuned={"nag": 16, "sgd": 16})
    b = recorded.done({"nag": 1.1, "cm": 3.0})
    summary = joined(store, a, b)
    efforts = {row["method"]: row["tuning"]["trials"] for row in summary["methods"]}
    assert efforts == {f"nag ({a})": 16, "sgd": 16, f"nag ({b})": 0, "cm": 0}
    assert [note for note in summary["notes"] if "tuned with" in note] == [
        "The methods were tuned with different effort: "
        f"nag ({a}) with 16, sgd with 16, nag ({b}) with 0, cm with 0 trials."
    ]
    same = recorded.done({"cm": 3.0}, tuned={"cm": 16})
    assert not [note for note in joined(store, a, same)["notes"] if "tuning" in note]


def test_a_method_under_two_labels_is_told_apart_too(recorded: Recorded, store: Store) -> None:
    a, b = recorded.done({"nag": 1.0}), recorded.done({"nag[lr=0.1]": 1.1})
    assert names(joined(store, a, b)) == [f"nag ({a})", f"nag[lr=0.1] ({b})"]


@pytest.mark.parametrize("label", ["nag", "nag[lr=0.1]"])
def test_trials_that_both_have_are_there_once(recorded: Recorded, store: Store, label: str) -> None:
    a = recorded.done({"nag": 1.0, "sgd": 2.0})
    b = recorded.done({"cm": 3.0}, reuse={label: a})
    summary = compare_recorded(store, [a, b], [])
    assert names(summary) == ["nag", "sgd", "cm"]
    assert [row["n"] for row in summary["methods"]] == [6, 6, 6]
    assert len(store.trials(summary["comparison"])) == 18


def test_more_seeds_of_the_same_trials_are_one_method(recorded: Recorded, store: Store) -> None:
    a = recorded.done({"nag": 1.0}, seeds=4)
    b = recorded.done({"cm": 3.0}, seeds=6, reuse={"nag": a})
    with_more = store.comparison(b)
    extra = recorded.trial(b, PROTOCOL, "nag", 4, 1.4)
    summary: Any = json.loads(json.dumps(with_more.summary))
    row = next(row for row in summary["methods"] if row["method"] == "nag")
    row["trials"].append({**row["trials"][0], "key": store.trial(extra).key, "seed": 4})
    store.finish_comparison(b, "done", summary)
    found = joined(store, a, b)
    assert {row["method"]: row["n"] for row in found["methods"]} == {"nag": 5, "cm": 6}


# Protocols that differ


def test_every_field_is_tried() -> None:
    assert set(OTHER) == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_differs_is_refused_by_name_with_both_values(
    recorded: Recorded, store: Store, field: str
) -> None:
    value, told = OTHER[field]
    a, b = recorded.done({"nag": 1.0}), recorded.done({"cm": 3.0}, **{field: value})
    before = rows(store)
    for attempt in (joined, lambda store, *ids: compare_recorded(store, ids, [])):
        with pytest.raises(Incomparable) as refused:
            attempt(store, a, b)
        said = str(refused.value)
        assert f"because their protocols differ: {field} ({told.format(a=a, b=b)})." in said
        may = f" With --allow {field} they are compared nevertheless, and the report notes it."
        assert said.endswith(").") if field == "direction" else said.endswith(may)
    assert rows(store) == before
    if field == "direction":
        return
    summary = joined(store, a, b, allowed=(field,))
    assert list(summary["allowed"]) == [field]
    assert set(summary["allowed"][field]) == {a, b}
    assert [pair["allowed"] for pair in summary["pairs"]] == [[field]]
    assert rows(store) == before


def test_what_was_allowed_is_recorded_with_each_verdict_that_rests_on_it(
    recorded: Recorded, store: Store
) -> None:
    a = recorded.done({"nag": 1.0, "sgd": 2.0})
    b = recorded.done({"cm": 3.0}, budget=Budget("gradients", 6000), precision="fp64")
    for one, other in (("budget", "precision"), ("precision", "budget")):
        with pytest.raises(Incomparable, match=rf"differ: {other} \(.*With --allow {other} they"):
            compare_recorded(store, [a, b], [one])
    with pytest.raises(Incomparable, match="With --allow budget --allow precision they are"):
        compare_recorded(store, [a, b], [])
    # A field that is equal may be allowed to differ, which changes nothing.
    summary = compare_recorded(store, [a, b], ["budget", "precision", "preset"])
    assert summary["allowed"] == {
        "budget": {a: {"amount": 3000, "currency": "gradients"},
                   b: {"amount": 6000, "currency": "gradients"}},
        "precision": {a: "fp32", b: "fp64"},
    }  # fmt: skip
    resting = {(p["a"], p["b"]): p["allowed"] for p in summary["pairs"]}
    both = ["budget", "precision"]
    assert resting == {("nag", "sgd"): [], ("nag", "cm"): both, ("sgd", "cm"): both}
    record = store.comparison(summary["comparison"])
    assert [dict(pair) for pair in record.pairs] == summary["pairs"]
    assert record.summary == summary
    report = store.files_of_comparison(record.id).joinpath("report.txt").read_text()
    said = " ".join(report.split())
    assert (
        said.count("different protocols: budget and precision differ, which --allow permitted.")
        == 2
    )
    assert f"(3000 gradients in {a}, 6000 gradients in {b})" in said
    assert "--allow precision: the protocols differ here, as allowed (fp32 in" in said
    words = shlex.split(summary["reproduce"])
    options = ["--allow", "budget", "--allow", "precision", "--allow", "preset"]
    assert words == ["bench", "compare", a, b, *options]
    with pytest.raises(Usage, match=f"{record.id} was itself combined .*: {a} {b}"):
        joined(store, record.id, a)


def test_what_was_published_is_not_beside_another_protocol(
    recorded: Recorded, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.harness.comparison.combine.published_value", lambda *given: 0.096)
    a, b = recorded.done({"nag": 1.0}, preset="paper"), recorded.done({"cm": 3.0})
    c = recorded.done({"hf": 1.0}, preset="paper")
    assert [row["published"] for row in joined(store, a, c)["methods"]] == [0.096, 0.096]
    found = joined(store, a, b, allowed=("preset",))
    assert [row["published"] for row in found["methods"]] == [None, None]


@pytest.mark.parametrize("field", ["budgte", "seed", "", "direction"])
def test_a_field_that_may_not_differ(recorded: Recorded, store: Store, field: str) -> None:
    a, b = recorded.done({"nag": 1.0}), recorded.done({"cm": 3.0})
    with pytest.raises(Usage) as refused:
        joined(store, a, b, allowed=(field,))
    said = str(refused.value)
    assert said.startswith(f"--allow {field}: this is not a protocol field that may differ")
    assert ("did you mean 'budget'?" in said) is (field == "budgte")
    assert "direction" not in said.partition("Allowed: ")[2]
    assert check_allowed(["budget", "data_digest"]) == ["budget", "data_digest"]


# What is none


def test_what_cannot_be_judged_is_said_and_leaves_no_trace(
    recorded: Recorded, store: Store
) -> None:
    a = recorded.done({"nag": 1.0})
    open_ = store.new_comparison(PROTOCOL, "comparison", "bench compare")
    tuning = store.new_comparison(PROTOCOL, "tuning", "bench compare --tune 4")
    store.finish_comparison(tuning, "done", None)
    before = rows(store)
    for ids, told in (
        ([a, a], f"Comparison {a} is given twice"),
        ([a, a[:6]], f"Comparison {a} is given twice"),
        ([a, open_], f"{open_} is running and has no result yet. `bench resume {open_}`"),
        ([tuning, a], f"{tuning} is a tuning, and its trials are not reported"),
        ([a], f"{a}: give two or more comparisons. `bench show {a}` shows a single one"),
        ([a, "zzzz"], "There is no comparison 'zzzz'"),
    ):
        with pytest.raises(Usage) as refused:
            compare_recorded(store, ids, [])
        assert told in str(refused.value)
    assert rows(store) == before


@pytest.mark.usefixtures("no_pictures")
def test_a_trial_of_a_tuning_is_never_reported(store: Store, store_url: str) -> None:
    asked = request(store_url, "nag[batch=20]", budget="updates=2")
    tried, reported = run_one(asked, 1_000_000), run_one(asked, 0)
    assert tried is not None and reported is not None
    with pytest.raises(Usage, match="ran on a tuning seed, whose results are never reported"):
        joined(store, tried["comparison"], reported["comparison"])


def test_no_room_for_the_files(
    recorded: Recorded, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.harness.comparison.combine.write_files", full)
    a, b = recorded.done({"nag": 1.0}), recorded.done({"cm": 3.0})
    with pytest.raises(Infrastructure, match="No space left on device. The comparison is recorded"):
        compare_recorded(store, [a, b], [])
    newest = store.comparisons()[0]
    assert (newest.status, len(newest.pairs)) == ("done", 1)
    assert newest.summary is not None and newest.summary["comparison"] == newest.id
