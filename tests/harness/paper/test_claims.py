"""The pre-registered rules: complete, unchanged, and what becomes of their runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness.comparison import session
from bench.harness.core.errors import Infrastructure
from bench.harness.core.published import TABLE_1, TABLE_3
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.paper import claim_runs, claims
from bench.harness.paper.claim_runs import decide_claims
from bench.harness.paper.claims import NUMBERS, PRESETS, Rule, rules
from bench.harness.planning import problems
from bench.harness.planning.fleets import make_methods
from bench.harness.planning.preparation import parse_budget
from bench.harness.report.files import to_json
from bench.harness.store.results import Store
from bench.optim.text import parse
from tests.harness.rules import RULE
from tests.harness.small import request

EVERY = [rule for preset in PRESETS for rule in rules(preset)]
every_rule = pytest.mark.parametrize("rule", EVERY, ids=lambda rule: f"{rule.preset}-{rule.claim}")


def test_there_are_six_at_each_preset() -> None:
    assert [(r.preset, r.claim) for r in EVERY] == [(p, n) for p in PRESETS for n in NUMBERS]
    assert len(NUMBERS) == 6


@every_rule
def test_every_run_can_be_asked_for(rule: Rule) -> None:
    for run in rule.runs:
        problem = problems.resolve(run.problem, rule.preset)
        budget = parse_budget(run.budget, problem)
        points = [make_methods(parse(text), problem, budget, "cpu") for text in run.arms.values()]
        # Equal effort, and few enough seeds that the tuning ones are others.
        assert len({len(each) for each in points}) == 1
        assert 1 <= run.seeds < FIRST_TUNING_SEED
        assert run.tune_seeds >= 1


@every_rule
def test_every_statement_is_about_its_runs(rule: Rule) -> None:
    known = {f"{run.name}.{arm}" for run in rule.runs for arm in run.arms}
    used = set()
    for measured in rule.statements:
        statement = measured.statement
        assert set(statement.weights) <= known
        used |= set(statement.weights)
        total = sum(statement.weights.values())
        assert total == 0 or (statement.scale == "plain" and total == 1)
        assert measured.value in ("train_metric", "test_metric", "hidden_oscillation")
        assert statement.threshold > 0
    unused = {name.split(".")[0] for name in known} - {name.split(".")[0] for name in used}
    assert not unused


def test_published_figures_come_from_the_tables() -> None:
    of = {
        (rule.claim, measured.statement.says): measured.published
        for rule in rules("quick")
        for measured in rule.statements
    }
    curves, mnist = TABLE_1["curves"], TABLE_1["mnist"]
    assert of[3, "curves: sgd's error over nag's"] == pytest.approx(curves["0"] / curves["0.99N"])
    assert of[4, "mnist: cm's error over nag's at 0.999, over the same at 0.9"] == pytest.approx(
        (mnist["0.999M"] / mnist["0.999N"]) / (mnist["0.9M"] / mnist["0.9N"])
    )
    half = "curves, half of the scale: error over that at full scale"
    assert of[2, half] == pytest.approx(TABLE_3[0.5] / TABLE_3[1.0])


def test_a_changed_rule_is_refused(registered: Callable[[str], str], tmp_path: Path) -> None:
    digest = registered(RULE)
    (rule,) = rules("quick", [1])
    assert rule.digest == digest
    loosened = RULE.replace("above = 1.1", "above = 0.1")
    (tmp_path / "claim_1.toml").write_text(loosened)
    with pytest.raises(Infrastructure, match="not registered as version 1 of claim 1.*new version"):
        rules("quick", [1])
    # Nor is it enough to register it in the place of the first version.
    (tmp_path / "claim_1.toml").write_text(RULE.replace("version = 1", "version = 2"))
    second = hashlib.sha256((tmp_path / "claim_1.toml").read_bytes()).hexdigest()
    (tmp_path / "registered.toml").write_text(f'claim_1 = ["{second}"]\n')
    with pytest.raises(Infrastructure, match="version 2 of claim 1"):
        rules("quick", [1])
    (tmp_path / "registered.toml").write_text(f'claim_1 = ["{digest}", "{second}"]\n')
    assert rules("quick", [1])[0].version == 2


@pytest.mark.usefixtures("no_pictures")
def test_from_rule_to_record(registered: Callable[[str], str], store_url: str) -> None:
    digest = registered(RULE)
    shared = request(store_url, budget=None)
    (tested,) = decide_claims(rules("quick", [1]), shared)
    assert tested.decision == "holds"
    ((_, decided),) = tested.statements
    assert decided.n == 6
    assert decided.low is not None and decided.low > 1.1
    # The fast arm's best rate is the greatest of the three that were tried.
    assert tested.at_the_edge == ["two.fast lr=0.1"]
    with Store.open(store_url) as store:
        (record,) = store.claims()
        kept = [store.comparison(s["comparison"]) for s in tested.summaries.values()]
    assert (record.id, record.claim, record.version) == (tested.id, 1, 1)
    assert (record.preset, record.decision, record.rule_digest) == ("quick", "holds", digest)
    assert record.body == json.loads(to_json(tested.as_dict()))
    for comparison in kept:
        assert comparison.summary is not None
        assert comparison.summary["claim"] == {"claim": 1, "version": 1, "rule_digest": digest}
    # A second time nothing is trained, and the decision is the same.
    (again,) = decide_claims(rules("quick", [1]), shared)
    assert again.statements == tested.statements
    with Store.open(store_url) as store:
        assert len(store.claims()) == 2
        assert len(store.trials()) == 6 + 3 + 6


ARMS = (
    RULE.partition("arms.slow")[0].replace("two.fast", "one.fast")
    + """
arms.slow = "sgd[lr=0.0001|0.0002,batch=20]"
arms.cm = "cm[lr=0.0003|0.0004,batch=20]"
arms.fast = "sgd[lr=0.1|0.05,batch=20]"
"""
)


@pytest.mark.usefixtures("no_pictures")
def test_each_arm_has_its_own_results(registered: Callable[[str], str], store_url: str) -> None:
    """Two of them are one optimizer, and labels tell them apart only once they are tuned."""
    registered(ARMS)
    (tested,) = decide_claims(rules("quick", [1]), request(store_url, budget=None))
    assert tested.decision == "holds"
    arms = tested.as_dict()["comparisons"]["one"]["arms"]
    rates = {name: arm["hyperparameters"]["lr"] for name, arm in arms.items()}
    assert rates == {"slow": 0.0002, "cm": 0.0004, "fast": 0.1}
    assert max(arms["fast"]["train"]) < min(arms["slow"]["train"])


@pytest.mark.usefixtures("no_pictures")
def test_a_statement_may_be_about_what_a_problem_shows_of_itself(
    registered: Callable[[str], str], store_url: str
) -> None:
    """As claim 6 is; here it is of two seeds, which are hardly trained."""
    text = (claims.files("bench.harness.paper") / "rules" / "claim_6.toml").read_text("utf-8")
    short = re.sub(r"lr=0\.0+1", "lr=1e-9", text.replace("updates=1000", "updates=2"))
    short = short.replace("version = 2", "version = 1")
    registered(short.replace("T=80", "T=20").replace("seeds = 6", "seeds = 2"))
    (tested,) = decide_claims(rules("quick", [1]), request(store_url, budget=None))
    assert len(tested.statements) == 2
    for measured, decided in tested.statements:
        assert measured.value == "hidden_oscillation"
        assert decided.n == 2
        # The start is the same but for a bias that no hidden unit sees.
        assert decided.estimate == pytest.approx(1, rel=1e-3)


@pytest.mark.usefixtures("no_pictures")
def test_mlflow_is_brought_up_to_date_however_it_ends(
    registered: Callable[[str], str], store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(RULE)
    heard: list[str] = []
    monkeypatch.setattr(session, "_mirror", lambda *_: heard.append("begun"))
    monkeypatch.setattr(session, "_finish_mirror", lambda *_: heard.append("completed"))
    shared = request(store_url, budget=None, no_mlflow=False)
    decide_claims(rules("quick", [1]), shared)
    # Once, for all runs.
    assert heard == ["begun", "completed"]

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claim_runs, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decide_claims(rules("quick", [1]), shared)
    assert heard == ["begun", "completed"] * 2


def test_what_a_later_run_lacks_is_found_out_first(
    registered: Callable[[str], str], store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    registered(re.sub(r'(runs.two\]\nproblem = )".*"', r'\1"mnist"', RULE))
    with pytest.raises(Infrastructure, match="mnist needs the file"):
        decide_claims(rules("quick", [1]), request(store_url, budget=None))
    with Store.open(store_url) as store:
        assert store.trials() == []
