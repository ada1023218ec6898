"""Comparisons from request to result, on a problem that takes moments."""

import json
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness.comparison.compare import compare, prepare, run_one
from bench.harness.comparison.resume import resume
from bench.harness.comparison.session import Runs
from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.planning import tuning
from bench.harness.report.files import to_json
from bench.harness.store.results import Store
from bench.harness.training.fleet import evaluation_grid
from tests.harness.small import PROBLEM, QUICK_HF, request

pytestmark = pytest.mark.usefixtures("no_pictures")

OWN = "tests.harness.plugins:"
HEAVY_BALL = Path(__file__).parents[3] / "examples" / "heavy_ball.py"


@pytest.fixture
def store(store_url):
    with Store.open(store_url) as opened:
        yield opened


def parsed(command):
    """Return the request that a command line makes."""
    words = shlex.split(command)
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["bench", "compare"]
    return {name.removeprefix("--"): value for name, value in options.items()}


def values(row):
    return {t["seed"]: t["train"] for t in row["trials"]}


def test_what_is_reported_is_what_is_recorded(store, store_url):
    summary = compare(request(store_url, f"nag[batch=20],{QUICK_HF}"))
    record = store.comparison(summary["comparison"])
    assert (record.kind, record.status, record.reused) == ("comparison", "done", frozenset())
    assert record.summary == json.loads(to_json(summary))
    assert list(record.pairs) == json.loads(to_json(summary))["pairs"]
    assert record.command == summary["reproduce"]
    trials = store.trials(record.id)
    assert {t.purpose for t in trials} == {"reported"}
    grid = evaluation_grid(record.protocol.budget, record.protocol.evaluations)
    for row in summary["methods"]:
        mine = [t for t in trials if t.method == row["method"]]
        assert [t.seed for t in mine] == [t["seed"] for t in row["trials"]] == [0, 1]
        assert [t.key for t in mine] == [t["key"] for t in row["trials"]]
        assert row["final"]["values"] == [t.train_metric for t in mine]
        assert row["status"] == {"budget": 2}
        assert row["tuning"] == {"trials": 0, "chosen": None}
        for trial in mine:
            spent = [m.ledger.gradients for m in store.measurements([trial.id])[trial.id]]
            assert spent[0] == 0
            assert spent == sorted(spent)
            if trial.method == "nag":
                # The first update at or after each point of the grid; two points can share one.
                met = sorted({20 * math.ceil(point / 20) for point in grid})
                assert spent[1:] == met


def test_two_seeds_are_too_few(store_url):
    summary = compare(request(store_url, "nag[batch=20],sgd[batch=20]"))
    (pair,) = summary["pairs"]
    assert (pair["a"], pair["b"], pair["verdict"]) == ("nag", "sgd", "too few seeds")
    assert summary["needed_seeds"] == 6


@pytest.mark.parametrize(
    ("optimizers", "seeds"),
    [("nag", 6), ("nag,sgd", 6), ("nag,sgd,cm", 7), ("nag,sgd,cm,hf", 8)],
)
def test_default_seeds_are_the_fewest_that_can_decide(store_url, optimizers, seeds):
    assert prepare(request(store_url, optimizers, seeds=None, budget=None)).seeds == seeds


def test_methods_start_alike_and_see_the_same_cases(store, store_url):
    compare(request(store_url, f"{OWN}Watcher,{OWN}Greedy,nag[batch=20],{QUICK_HF}"))
    at_first = {}
    seen = {}
    for trial in store.trials():
        _, *others = store.measurements([trial.id])[trial.id]
        # What is measured there may differ in the last digit, by how many rows a fleet has.
        assert trial.certificate is not None
        at_first.setdefault(trial.seed, set()).add(trial.certificate.theta)
        if trial.method in ("watcher", "greedy"):
            told = [tuple(sorted(m.diagnostics.items())) for m in others]
            seen.setdefault(trial.seed, set()).add(tuple(told))
    # One beginning a seed, not the same under two; likewise what Watcher and Greedy saw.
    for each in (at_first, seen):
        assert each.keys() == {0, 1}
        assert all(len(found) == 1 for found in each.values())
        assert each[0] != each[1]


def test_no_method_spends_more_than_the_budget(store, store_url):
    compare(request(store_url, f"{QUICK_HF},nag[batch=70]"))
    for trial in store.trials():
        assert trial.ledger.gradients <= 3_000
        if trial.method == "nag":
            assert trial.ledger.updates == 3_000 // 70
            assert trial.ledger.gradients == 70 * trial.ledger.updates
        else:
            assert trial.ledger.updates > 1
            assert trial.ledger.products > trial.ledger.cg_steps > 0


@pytest.mark.parametrize(
    ("budget", "updates", "examples"),
    [("updates=12", 12, 240), ("examples=250", 12, 240), ("gradients=2.4e2", 12, 240)],
)
def test_budgets_in_other_currencies(store, store_url, budget, updates, examples):
    compare(request(store_url, budget=budget))
    assert {(t.ledger.updates, t.ledger.examples) for t in store.trials()} == {(updates, examples)}


def test_a_budget_of_seconds(store, store_url):
    compare(request(store_url, budget="seconds=0.2", seeds=1))
    (trial,) = store.trials()
    assert trial.ledger.seconds >= 0.2
    assert trial.hyperparameters["period"] == 250, "nobody knows where the run ends"


def test_said_are_hyperparameters_that_follow_from_the_budget(store_url, capsys):
    compare(request(store_url, "nag[batch=20]", dry_run=True))
    out, err = capsys.readouterr()
    assert out == ""
    # √(150 / 750,000) of 250 and of 1,000.
    assert "period=4,final=14" in err
    assert "small / quick on planes (generated): 4×4 images; " in err
    assert "; 3,000 gradients per trial, 2 seeds, cpu, 1 thread." in err


def test_a_dry_run_makes_nothing(store_url, tmp_path, capsys):
    assert compare(request(store_url, "nag,hf", dry_run=True)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "optimizers",
    [
        f"nag[batch=20],{QUICK_HF}",
        "nag[batch=20,lr=0.1],nag[batch=20,lr=0.123456789]",
        f"{HEAVY_BALL}:HeavyBall[batch=20],torch.optim.AdamW[batch=20,lr=1e-3]",
        f"{OWN}Watcher,nag@torch[batch=20,mu_max=.99875]",
    ],
)
def test_the_command_that_repeats_it(store, store_url, capsys, optimizers):
    summary = compare(request(store_url, optimizers))
    options = parsed(summary["reproduce"])
    assert options.pop("problem") == PROBLEM
    assert options.pop("seeds") == "2"
    assert options.pop("threads") == "1"
    again = compare(request(store_url, **options))
    assert "4 of 4 trials are on record" in capsys.readouterr().err
    assert again["comparison"] != summary["comparison"]
    assert again["reproduce"] == summary["reproduce"]
    for name in ("methods", "pairs"):
        assert again[name] == summary[name]
    assert len(store.trials()) == 4
    assert store.comparison(again["comparison"]).reused == {t.id for t in store.trials()}


def test_fresh_is_another_attempt(store, store_url):
    first = compare(request(store_url))
    second = compare(request(store_url, fresh=True))
    assert [t["attempt"] for t in second["methods"][0]["trials"]] == [2, 2]
    assert [t["key"] for t in second["methods"][0]["trials"]] == [
        t["key"] for t in first["methods"][0]["trials"]
    ]
    assert values(first["methods"][0]) == values(second["methods"][0])
    # The third takes the newest.
    third = compare(request(store_url))
    assert [t["attempt"] for t in third["methods"][0]["trials"]] == [2, 2]


def test_a_trial_taken_over_has_the_label_of_this_comparison(store_url):
    one = compare(request(store_url, f"{OWN}Watcher[lr=0.1]"))
    other = compare(request(store_url, f"{OWN}Watcher[lr=0.2]"))
    assert [s["methods"][0]["method"] for s in (one, other)] == ["watcher", "watcher"]
    both = compare(request(store_url, f"{OWN}Watcher[lr=0.2],{OWN}Watcher[lr=0.1]"))
    assert [row["method"] for row in both["methods"]] == ["watcher[lr=0.2]", "watcher[lr=0.1]"]
    assert [row["n"] for row in both["methods"]] == [2, 2]
    assert [values(row) for row in both["methods"]] == [
        values(other["methods"][0]), values(one["methods"][0]),
    ]  # fmt: skip
    assert len(both["pairs"]) == 1


def test_an_edited_optimizer_is_another(store, store_url, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(HEAVY_BALL.read_text())
    mine = f"{file}:HeavyBall[batch=20]"
    compare(request(store_url, mine))
    file.write_text(file.read_text().replace("(1 - mu) * lr", "(1 - mu**2) * lr"))
    for name in [name for name in sys.modules if name.startswith("bench_plugin_mine_")]:
        del sys.modules[name]
    capsys.readouterr()
    compare(request(store_url, mine))
    assert "on record" not in capsys.readouterr().err
    first, _, second, _ = store.trials()
    assert first.key == second.key
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.source_digest != second.source_digest
    assert first.train_metric != second.train_metric


def test_tuning(store, store_url, capsys):
    summary = compare(request(store_url, f"nag[batch=20],{OWN}Watcher", tune="3"))
    tuned, reported = (
        [t for t in store.trials() if t.purpose == purpose] for purpose in ("tuning", "reported")
    )
    effort = 3 * 2
    assert len(tuned) == 2 * effort
    assert {t.seed for t in tuned} == set(tuning.tuning_seeds(2))
    assert min(t.seed for t in tuned) >= FIRST_TUNING_SEED
    assert {t.seed for t in reported} == {0, 1}
    (kind,) = {c.kind for c in store.comparisons() if c.id != summary["comparison"]}
    assert kind == "tuning"
    for row in summary["methods"]:
        name = row["method"]
        tried = [t for t in tuned if t.method_name == name]
        points = {t.method_key: [u for u in tried if u.method_key == t.method_key] for t in tried}
        assert len(points) == 3
        best = min(points.values(), key=lambda p: max(t.train_metric for t in p))
        assert row["hyperparameters"] == dict(best[0].hyperparameters)
        assert row["tuning"]["trials"] == effort
        assert row["tuning"]["chosen"] == row["hyperparameters"]
        assert {t.method_key for t in reported if t.method == name} == {best[0].method_key}
        curve = row["tuning"]["expected_best"]
        assert len(curve) == 3
        assert curve == sorted(curve, reverse=True)
    json.loads(to_json(summary))
    assert "12 trials on seeds that are not reported" in capsys.readouterr().err
    # More points: those there are, are taken over where their fleet is the same.
    compare(request(store_url, f"{OWN}Watcher,nag[batch=20]", tune="4"))
    said = capsys.readouterr().err
    assert "6 of 16 trials are on record" in said


def test_tuning_on_the_declared_grid(store, store_url):
    summary = compare(request(store_url, "nag[batch=20],sgd[batch=20]", tune="grid", seeds=1))
    (tried, other) = (row["tuning"]["trials"] for row in summary["methods"])
    assert tried == other == 6 * 2
    rates = {t.hyperparameters["lr"] for t in store.trials() if t.purpose == "tuning"}
    assert rates == {0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001}


def test_tuning_on_written_grids(store, store_url):
    written = "nag[batch=20,lr=0.01|1e38],torch.optim.AdamW[batch=20,lr=1e-3|1e-2]"
    summary = compare(request(store_url, written, seeds=1))
    nag, adam = summary["methods"]
    assert nag["hyperparameters"]["lr"] == 0.01, "the other diverges"
    assert adam["hyperparameters"]["lr"] in (1e-3, 1e-2)
    assert {t.status for t in store.trials() if t.purpose == "tuning"} == {"budget", "diverged"}
    json.loads(to_json(summary))
    # Repeating it is not tuning again.
    assert "|" not in summary["reproduce"]
    assert "--tune" not in summary["reproduce"]


GRIDS = f"nag[batch=20,lr=1e-4|2e-4],{OWN}Watcher[lr=1e-3|1e-2]"


def tunings(store):
    """Return every tuning in the order of the rounds, each with the rates that it tried."""
    return [
        sorted({(t.method_name, t.hyperparameters["lr"]) for t in store.trials(record.id)})
        for record in sorted(store.comparisons(), key=lambda record: record.created)
        if record.kind == "tuning"
    ]


def test_grids_grow_by_as_many_points_of_every_method(store, store_url, capsys, monkeypatch):
    monkeypatch.setattr("bench.harness.comparison.compare.MAX_ROUNDS", 2)
    summary = compare(request(store_url, GRIDS, extend=True, seeds=1, tune_seeds=1))
    # Rates this small are too small: every best is the largest, round after round.
    assert tunings(store) == [
        [("nag", 1e-4), ("nag", 2e-4), ("watcher", 1e-3), ("watcher", 1e-2)],
        [("nag", 4e-4), ("watcher", 1e-1)],
        [("nag", 8e-4), ("watcher", 1.0)],
    ]
    said = capsys.readouterr().err
    assert "Tried besides: nag lr=0.0004, watcher lr=0.1." in said
    assert "Tried besides: nag lr=0.0008, watcher lr=1." in said
    assert "The grids were extended 2 times, which is the most." in said
    assert "lr=0.0008 is at the upper end of the 4 values tried, 0.0001 to 0.0008" in said
    nag, watcher = summary["methods"]
    for row, rates in ((nag, [1e-4, 2e-4, 4e-4, 8e-4]), (watcher, [1e-3, 1e-2, 0.1, 1.0])):
        effort = row["tuning"]
        assert (effort["trials"], effort["extended"], len(effort["expected_best"])) == (4, 2, 4)
        assert [point["hyperparameters"]["lr"] for point in effort["points"]] == rates
        on_record = {
            t.hyperparameters["lr"]: [t.train_metric]
            for t in store.trials(purpose="tuning")
            if t.method_name == row["name"]
        }
        assert {p["hyperparameters"]["lr"]: p["values"] for p in effort["points"]} == on_record
        assert {tuple(point["seeds"]) for point in effort["points"]} == {(FIRST_TUNING_SEED,)}
    assert nag["hyperparameters"]["lr"] == 8e-4, "chosen among all that were tried"
    assert nag["tuning"]["edges"] == [
        {"name": "lr", "value": 8e-4, "side": "largest", "tried": [1e-4, 2e-4, 4e-4, 8e-4]}
    ]
    assert {t.hyperparameters["lr"] for t in store.trials(purpose="reported")} >= {8e-4}
    # Given again, nothing of it is tried again.
    known = len(store.trials())
    compare(request(store_url, GRIDS, extend=True, seeds=1, tune_seeds=1))
    assert len(store.trials()) == known


def test_an_extension_is_gone_on_with(store, store_url, monkeypatch, capsys):
    monkeypatch.setattr("bench.harness.comparison.compare.MAX_ROUNDS", 2)
    given = {"extend": True, "seeds": 1, "tune_seeds": 1}
    whole = compare(request(store_url, GRIDS, **given))
    real, rounds = Runs.execute, []

    def stopped(runs, run, plan, planned):
        rounds.append(plan)
        if len(plan.rounds) == 1:
            raise KeyboardInterrupt
        return real(runs, run, plan, planned)

    monkeypatch.setattr(Runs, "execute", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(request(store_url, GRIDS, fresh=True, **given))
    monkeypatch.setattr(Runs, "execute", real)
    again = resume(store_url, store.unfinished()[0].id, None, None, no_mlflow=True)
    assert [row["tuning"]["points"] for row in again["methods"]] == [
        row["tuning"]["points"] for row in whole["methods"]
    ]
    assert [values(row) for row in again["methods"]] == [values(row) for row in whole["methods"]]
    # The first round was trained anew before the interrupt, and not once more.
    first = [t for t in store.trials(purpose="tuning") if t.hyperparameters["lr"] == 1e-4]
    assert [t.attempt for t in first] == [1, 2]


def test_a_best_value_inside_its_grid_ends_the_extension(store, store_url, capsys):
    inside = "sgd[batch=20,lr=1e-9|0.5|1e38]"
    summary = compare(request(store_url, inside, extend=True, seeds=1, tune_seeds=1))
    effort = summary["methods"][0]["tuning"]
    assert (effort["trials"], effort["extended"], effort["edges"]) == (3, 0, [])
    said = capsys.readouterr().err
    assert "edge" not in said and "extended" not in said


@pytest.mark.parametrize(
    ("optimizers", "tune", "message"),
    [
        ("nag,sgd", "8", r"--extend --tune 8: only grids can be extended"),
        ("nag,sgd", "none", r"--extend: nag has no grid of numbers"),
        ("sgd[lr=1|2],nag[schedule=constant|sutskever]", "none", r"--extend: nag has no grid"),
    ],
)
def test_only_grids_of_numbers_are_extended(store_url, tmp_path, optimizers, tune, message):
    with pytest.raises(Usage, match=message):
        compare(request(store_url, optimizers, tune=tune, extend=True))
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_method(store, store_url):
    summary = compare(request(store_url, "nag[batch=20,lr=1e38],nag[batch=20]"))
    wild, tame = summary["methods"]
    assert wild["status"] == {"diverged": 2}
    assert wild["final"]["mean"] is None
    assert wild["final"]["values"] == [None, None]
    assert tame["status"] == {"budget": 2}
    assert all("not finite at update" in t["reason"] for t in wild["trials"])
    text = to_json(summary)
    assert "NaN" not in text and "Infinity" not in text
    with store._read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT train_metric, test_metric, train_loss, nonfinite FROM bench_trial "
            "WHERE status = 'diverged'"
        ).all()
    for row in rows:
        assert None in row[:3]
        assert json.loads(row[3])
    assert any("diverged" in note for note in summary["notes"])


def test_one_trial(store, store_url, capsys):
    asked = replace(request(store_url), seeds=None)
    summary = run_one(asked, 3)
    assert "seed 3, cpu" in capsys.readouterr().err
    (trial,) = store.trials()
    assert trial.seed == 3
    assert summary["pairs"] == []
    assert store.comparison(summary["comparison"]).kind == "run"
    words = shlex.split(summary["reproduce"])
    assert words[:3] == ["bench", "run", "--optimizer"]
    assert words[words.index("--seed") + 1] == "3"
    # A comparison takes it over, if its fleet is of one row as well.
    compare(request(store_url, seeds=4, timed=False))
    assert len(store.trials()) == 5


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_that_is_none(store_url, seed):
    with pytest.raises(Usage, match=r"allowed are whole numbers from 0 to 2\^53 - 1"):
        run_one(request(store_url), seed)


@pytest.mark.parametrize("seed", [FIRST_TUNING_SEED, 2**53 - 1])
def test_a_seed_for_tuning_is_shown_and_not_reported(store, store_url, seed):
    summary = run_one(request(store_url), seed)
    assert [trial["seed"] for trial in summary["methods"][0]["trials"]] == [seed]
    (trial,) = store.trials()
    assert (trial.seed, trial.purpose) == (seed, "tuning")


def test_a_run_is_of_one_method(store_url):
    for optimizers in ("nag,hf", "nag[lr=1|2]"):
        with pytest.raises(Usage, match="runs one"):
            run_one(request(store_url, optimizers), 0)


def test_a_failure_is_written_down(store, store_url):
    with pytest.raises(ZeroDivisionError):
        compare(request(store_url, f"{OWN}Failing"))
    (record,) = store.comparisons()
    assert (record.status, record.summary) == ("failed", None)


def test_no_room_for_the_files(store, store_url, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.harness.comparison.compare.write_files", full)
    with pytest.raises(Infrastructure, match="No space left on device. The comparison is recorded"):
        compare(request(store_url))
    (record,) = store.comparisons()
    assert record.status == "done"
    assert record.summary["comparison"] == record.id


def test_a_timed_comparison_is_run_alone(store, store_url):
    summary = compare(request(store_url, "nag[batch=20],sgd[batch=20]", timed=True))
    assert {t.seconds_are for t in store.trials()} == {"alone"}
    assert {t.fleet_rows for t in store.trials()} == {1}
    assert [t.method for t in store.trials()] == ["nag", "sgd", "nag", "sgd"]
    assert summary["methods"][0]["ledger"]["seconds_are"] == "alone"
    assert summary["reproduce"].endswith("--precision fp32 --timed --device cpu --threads 1")


@pytest.mark.parametrize(
    ("problem", "optimizers", "message"),
    [
        (
            "add",
            "nag,hf[batch=0]",
            r"--optimizers hf: add draws new training cases.*for example hf\[batch=1000\]",
        ),
        ("curves", "nag,hf[structural=0.1]", r"--optimizers hf: structural damping acts on"),
    ],
)
def test_what_a_problem_cannot_do_is_refused_before_anything_trains(
    problem, optimizers, message, store_url
):
    with pytest.raises(Usage, match=message):
        prepare(replace(request(store_url), optimizers=optimizers, problem=problem))


def test_every_method_runs_on_sequences_by_its_defaults(store_url):
    prepare(replace(request(store_url), optimizers="nag,hf,hfm", problem="add"))


def test_the_origin_of_defaults_is_told_only_where_they_are_used(store_url, capsys):
    given = {"problem": "curves", "dry_run": True, "budget": None}
    compare(request(store_url, "nag,hf[lam=3]", **given))
    nag, hf = capsys.readouterr().err.splitlines()[1:]
    assert "(tuned by: bench compare" in nag
    assert "lam=3," in hf and "tuned by" not in hf
