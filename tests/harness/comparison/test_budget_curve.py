"""A comparison at several budgets: each ends at its own, and nothing is trained twice."""

import json
from dataclasses import replace

import pytest

from bench.harness.comparison import budget_curve as module
from bench.harness.comparison.budget_curve import compare_budgets
from bench.harness.comparison.compare import compare
from bench.harness.comparison.session import Interruption
from bench.harness.core.errors import Usage
from bench.harness.store.results import Store
from tests.harness.small import request

pytestmark = pytest.mark.usefixtures("no_pictures")

# A schedule that depends on the end in its last 5 updates.
TEXT = "nag[batch=20,final=5,period=1,final_mu=0.3],sgd[batch=20,lr=0.05]"
BUDGETS = "updates=6|12|24"


def ask(store_url, text=TEXT, **given):
    return request(store_url, text, **{"budget": None, "seeds": 2, **given})


def trials(store_url):
    with Store.open(store_url) as store:
        return store.trials()


def test_every_budget_is_a_comparison_that_ends_there(store_url):
    found = compare_budgets(ask(store_url), BUDGETS)
    summary = found.summary
    assert [each["amount"] for each in summary["budgets"]] == [6.0, 12.0, 24.0]
    # Two methods, two seeds, and no trial is of two budgets.
    recorded = trials(store_url)
    assert len(recorded) == 12 and len({t.protocol_key for t in recorded}) == 3
    assert sorted(t.ledger.updates for t in recorded) == [6] * 4 + [12] * 4 + [24] * 4
    of_nag = {t.ledger.updates: t.anytime_updates for t in recorded if t.method_name == "nag"}
    assert of_nag == {6: 1, 12: 7, 24: 19}
    # The same comparison alone has the same trials and the same values.
    for number, each in enumerate(summary["budgets"]):
        alone = compare(ask(store_url, budget=f"updates={each['amount']:g}"))
        for row, own in zip(summary["methods"], alone["methods"], strict=True):
            assert row["points"][number]["values"] == own["final"]["values"]
            assert row["points"][number]["updates"] == own["ledger"]["updates"]
        with Store.open(store_url) as store:
            assert store.comparison(each["comparison"]).protocol.budget.amount == each["amount"]
    assert len(trials(store_url)) == 12


def test_the_same_command_again_trains_nothing_and_gives_the_same_curves(store_url):
    first = compare_budgets(ask(store_url), BUDGETS)
    again = compare_budgets(ask(store_url), BUDGETS)
    assert len(trials(store_url)) == 12
    assert (
        again.summary["methods"][0]["points"][0]["values"]
        == (first.summary["methods"][0]["points"][0]["values"])
    )
    assert first.summary["reproduce"] == again.summary["reproduce"]
    assert "--budgets 'updates=6|12|24'" in first.summary["reproduce"]


def test_its_files_are_in_the_folder_of_the_last(store_url):
    found = compare_budgets(ask(store_url), BUDGETS)
    assert found.folder.name == found.summary["budgets"][-1]["comparison"]
    assert {path.name for path in found.folder.iterdir()} >= {
        *("budgets.json", "budgets.txt", "budgets.png", "budgets.svg", "budgets.html")
    }
    assert json.loads((found.folder / "budgets.json").read_text()) == found.summary
    assert "At 12 updates:" in (found.folder / "budgets.txt").read_text()


def test_seeds_suffice_for_all_pairs_of_all_budgets(store_url, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "checked", lambda request: asked.append(request) or checked())

    def checked():
        raise Usage("enough")

    for text, budgets, seeds in ((TEXT, "updates=6|12", 7), ("sgd", "updates=6|12", 6)):
        with pytest.raises(Usage, match="enough"):
            compare_budgets(ask(store_url, text, seeds=None), budgets)
        assert asked.pop().seeds == seeds


def test_tuning_is_for_each_budget(store_url):
    text = "sgd[batch=20,lr=0.02|0.05],nag[batch=20,final=0,mu_max=0.9,lr=0.02|0.05]"
    found = compare_budgets(ask(store_url, text, tune="grid", tune_seeds=1), "updates=6|24")
    tuned = [t for t in trials(store_url) if t.purpose == "tuning"]
    assert sorted(t.ledger.updates for t in tuned) == [6] * 4 + [24] * 4
    assert [p["tuning"]["trials"] for p in found.summary["methods"][0]["points"]] == [2, 2]
    assert "The hyperparameters were tuned for each budget by itself." in found.summary["notes"]
    assert "--tune grid" in found.summary["reproduce"]


def test_what_cannot_be_run_at_a_budget_is_said_before_any_is_run(store_url):
    with pytest.raises(Usage, match="is less than one update"):
        compare_budgets(ask(store_url), "gradients=5|200")
    assert trials(store_url) == []


def test_a_dry_run_says_every_budget_and_runs_none(store_url, capsys):
    assert compare_budgets(ask(store_url, dry_run=True), BUDGETS) is None
    told = capsys.readouterr().err
    assert all(f"{amount} updates per trial" in told for amount in (6, 12, 24))
    assert trials(store_url) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": "updates=5"}, "--budget updates=5 and --budgets updates=6.12.24 exclude"),
        ({"plan": "plan.json"}, "--plan plan.json and --budgets .* a plan is of one comparison"),
    ],
)
def test_what_does_not_go_with_budgets(store_url, given, said):
    with pytest.raises(Usage, match=said):
        compare_budgets(ask(store_url, **given), BUDGETS)


@pytest.mark.parametrize(
    ("at", "left", "recorded"), [(12, "updates=24 has not begun. ", 4), (24, "", 8)]
)
def test_an_interrupt_says_what_is_left_and_the_command_goes_on(
    store_url, monkeypatch, capsys, at, left, recorded
):
    def interrupted(request):
        if request.budget == f"updates={at}":
            raise Interruption("interrupted by SIGINT.", "SIGINT")
        return compare(request)

    with monkeypatch.context() as patch:
        patch.setattr(module, "compare", interrupted)
        with pytest.raises(Interruption) as caught:
            compare_budgets(ask(store_url), BUDGETS)
    said = f"{left}Only the same command makes the curves over all budgets."
    assert caught.value.message == f"interrupted by SIGINT. {said}"
    assert (caught.value.exit_code, caught.value.signal) == (130, "SIGINT")
    assert f"bench: {said}" in capsys.readouterr().err
    before = {trial.id for trial in trials(store_url)}
    assert len(before) == recorded
    found = compare_budgets(ask(store_url), BUDGETS)
    assert before < {trial.id for trial in trials(store_url)} and len(trials(store_url)) == 12
    assert len(found.summary["budgets"]) == 3


def test_a_problem_that_has_changed_between_two_budgets_is_refused(store_url, monkeypatch):
    def other(request):
        return compare(replace(request, precision="fp64") if "24" in request.budget else request)

    monkeypatch.setattr(module, "compare", other)
    with pytest.raises(Exception, match="cannot be compared, because their protocols differ"):
        compare_budgets(ask(store_url), BUDGETS)
