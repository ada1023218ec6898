"""`bench compare` from the command line to the table, the JSON and the files."""

import contextlib
import io
import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.harness.cli.main import main
from bench.harness.store.results import Store
from bench.harness.training.fleet import evaluation_grid
from tests.harness.small import BUDGET, PROBLEM, QUICK_HF

OPTIMIZERS = f"nag[batch=20],{QUICK_HF}"
COMPARE = ("compare", "--problem", PROBLEM, "--budget", BUDGET, "--seeds", "2", "--threads", "1",
           "--no-mlflow")  # fmt: skip

# What scripts rely on; more keys may follow, none is renamed.
ROW = {
    "method", "backend", "hyperparameters", "n", "final", "ledger", "time_to_target", "published",
    "status", "tuning", "trials",
}  # fmt: skip
WITHIN = {
    "final": {"mean", "low", "high", "values"},
    "ledger": {"updates", "examples", "gradients", "products", "seconds", "seconds_are"},
    "time_to_target": {"target", "reached", "of", "seconds", "gradients"},
    "tuning": {"trials", "chosen"},
}
TRIAL = {"key", "attempt", "seed", "status", "mlflow_run_id"}
PAIR = {"a", "b", "difference", "low", "high", "p", "verdict"}


def strictly(text):
    """Read JSON as its standard has it: NaN and Infinity are none of it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One comparison, as a script would run it: in a folder of its own, output in a file."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as ended:
                main([*COMPARE, "--optimizers", OPTIMIZERS, "--json", "result.json"])
    return SimpleNamespace(
        code=ended.value.code,
        out=out.getvalue(),
        err=err.getvalue(),
        folder=folder,
        json=(folder / "result.json").read_text(),
        store=f"sqlite:///{folder / 'mlruns' / 'bench.db'}",
    )


def test_a_table_to_stdout_and_messages_to_stderr(done):
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "small / quick  data: planes (generated)"
    assert lines[1].startswith("training squared error, lower is better · 3,000 gradient-equiv")
    assert [line.split()[:2] for line in lines if line.startswith(("nag ", "hf "))][:2] == [
        ["nag", "2"], ["hf", "2"],
    ]  # fmt: skip
    assert "nag and hf: too few seeds for a verdict" in done.out
    assert "Repeat with:\nbench compare --optimizers" in done.out
    assert max(map(len, lines)) <= 100
    said = done.err.splitlines()
    assert said[0].startswith("small / quick on planes (generated): 4×4 images")
    assert [line.split("[")[0] for line in said[1:]] == ["  nag@numba", "  hf@torch"]


def test_no_colour_and_no_bar_where_nobody_looks(done):
    assert "\x1b" not in done.out + done.err
    assert "\r" not in done.out + done.err
    assert "━" not in done.err


def test_json_has_what_scripts_rely_on(done):
    summary = strictly(done.json)
    assert summary["schema_version"] == 1
    protocol = summary["protocol"]
    assert {k: protocol[k] for k in ("problem", "preset", "metric", "direction", "precision")} == {
        "problem": "small",
        "preset": "quick",
        "metric": "train_squared_error",
        "direction": "lower",
        "precision": "fp32",
    }
    assert len(protocol["key"]) == 64
    assert [row["method"] for row in summary["methods"]] == ["nag", "hf"]
    for row in summary["methods"]:
        assert row.keys() >= ROW
        assert all(row[name].keys() >= keys for name, keys in WITHIN.items())
        assert all(trial.keys() >= TRIAL for trial in row["trials"])
        final = row["final"]
        assert row["n"] == len(final["values"]) == 2
        assert final["low"] < final["mean"] < final["high"]
        assert final["mean"] == pytest.approx(math.sqrt(math.prod(final["values"])))
        assert row["time_to_target"]["target"] == 1.0
        assert row["published"] is None
        assert row["status"] == {"budget": 2}
        assert row["ledger"]["seconds_are"] == "shared"
    (pair,) = summary["pairs"]
    assert pair.keys() >= PAIR
    assert (pair["a"], pair["b"], pair["verdict"]) == ("nag", "hf", "too few seeds")
    assert summary["reproduce"].startswith("bench compare --optimizers 'nag@numba[")


def test_files_beside_the_store(done):
    summary = strictly(done.json)
    files = done.folder / "mlruns" / "artifacts" / "bench" / summary["comparison"]
    assert sorted(file.name for file in files.iterdir()) == [
        "comparison.json", "diagnostics.png", "learning_curves.png", "reconstructions.png",
        "reconstructions.svg", "report.html", "report.txt",
    ]  # fmt: skip
    for picture in files.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 2_000
    assert (files / "comparison.json").read_text() == done.json
    report = (files / "report.txt").read_text()
    assert report.split()[:8] == done.out.split()[:8]
    assert "too few seeds for a verdict" in report
    page = (files / "report.html").read_text("utf-8")
    assert "too few seeds for a verdict" in page and page.count('src="data:image/png') == 3
    with Store.open(done.store, create=False) as store:
        trials = sorted(f"trial-{trial.uuid}" for trial in store.trials())
    assert sorted(f.name for f in files.parent.iterdir() if f != files) == trials


def test_the_store_has_it_all(done):
    summary = strictly(done.json)
    with Store.open(done.store, create=False) as store:
        record = store.comparison(summary["comparison"])
        trials = store.trials(record.id)
        measurements = store.measurements([t.id for t in trials])
        contexts = [store.context_of(t.context_digest) for t in trials]
    assert (record.kind, record.status, record.summary) == ("comparison", "done", summary)
    assert record.protocol.key == summary["protocol"]["key"]
    assert record.ended >= record.created
    assert {(t.method_name, t.seed) for t in trials} == {
        (name, seed) for name in ("nag", "hf") for seed in (0, 1)
    }
    grid = evaluation_grid(record.protocol.budget, record.protocol.evaluations)
    for trial, context in zip(trials, contexts, strict=True):
        assert (trial.status, trial.reason, trial.attempt) == ("budget", None, 1)
        assert trial.ended >= trial.started >= record.created
        assert context["threads"] == 1
        assert context["versions"]["torch"]
        taken = measurements[trial.id]
        assert [m.index for m in taken] == list(range(len(taken)))
        assert taken[0].ledger.gradients == 0
        assert taken[-1].ledger == trial.ledger
        assert taken[-1].train_metric == trial.train_metric < taken[0].train_metric
        # Each but the last is the first chance at or after a point of the grid.
        assert len(taken) <= len(grid) + 1
        for m in taken[1:-1]:
            assert any(point <= m.ledger.gradients for point in grid)
        assert 0 < trial.ledger.gradients <= 3_000


def test_json_alone(done, bench, monkeypatch):
    monkeypatch.chdir(done.folder)
    said = bench(*COMPARE, "--optimizers", OPTIMIZERS, "--json", "-")
    assert said.code == 0
    again, first = strictly(said.out), strictly(done.json)
    assert again.pop("comparison") != first.pop("comparison")
    assert again == first
    assert "4 of 4 trials are on record, with the same key, source and context" in said.err


def test_show_says_the_same(done, bench, monkeypatch):
    monkeypatch.chdir(done.folder)
    said = bench("show", strictly(done.json)["comparison"])
    assert said.code == 0
    assert said.out.startswith(done.out)


def test_settings_and_variables(bench, workdir, monkeypatch):
    monkeypatch.setenv("BENCH_COMPARE_SEEDS", "3")
    (workdir / "bench.toml").write_text(
        f'[compare]\noptimizers = "cm[batch=20]"\nproblem = "{PROBLEM}"\nseeds = 4\n'
        'dry-run = true\nbudget = "updates=50"\n'
    )
    said = bench("compare")
    assert (said.code, said.out) == (0, "")
    assert "50 updates per trial, 3 seeds" in said.err
    assert "cm@numba[" in said.err
    assert list(workdir.iterdir()) == [workdir / "bench.toml"]


def test_a_variable_names_the_store(bench, workdir, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STORE", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    monkeypatch.setattr("bench.harness.comparison.compare.write_files", lambda *given: None)
    monkeypatch.setattr(
        "bench.harness.execution.leased_fleet.LeasedFleet._draw", lambda *given: None
    )
    assert bench(*COMPARE, "--optimizers", "nag[batch=20]").code == 0
    assert (tmp_path / "elsewhere.db").is_file()
    assert not Path("mlruns").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_run(bench, workdir, monkeypatch, number):
    monkeypatch.setattr(
        "bench.harness.comparison.compare.prepare", lambda request: signal.raise_signal(number)
    )
    before = signal.getsignal(signal.SIGTERM)
    said = bench("compare", "--optimizers", "nag")
    assert (said.code, said.out, said.err) == (130, "", "bench: interrupted.\n")
    assert signal.getsignal(signal.SIGTERM) == before
    assert list(workdir.iterdir()) == []


# Recorded ones


def recorded(bench, *flags, optimizers="nag[batch=20]"):
    """Run a comparison under other flags, and return its id."""
    said = bench(*COMPARE, "--optimizers", optimizers, "--json", "-", *flags)
    assert said.code == 0, said.err
    return strictly(said.out)["comparison"]


@pytest.mark.usefixtures("no_pictures")
def test_recorded_comparisons_are_judged_as_one(bench, workdir):
    a, b = recorded(bench), recorded(bench, optimizers="cm[batch=20]")
    more = recorded(bench, "--seeds", "1", "--budget", "updates=9", optimizers="sgd[batch=20]")
    said = bench("compare", a, b[:6], "--no-mlflow", "--json", "result.json")
    assert (said.code, said.err) == (0, "")
    assert "nag and cm: too few seeds for a verdict" in said.out
    for line in (f"bench compare {a} {b}", f"Repeat {a} with:", f"Repeat {b} with:"):
        assert line in said.out
    summary = strictly(Path("result.json").read_text())
    shown = bench("show", summary["comparison"])
    assert shown.code == 0 and shown.out.startswith(said.out)
    assert summary["comparison"] in bench("list", "comparisons").out
    # The command that it says is one that makes it again.
    again = bench(*summary["reproduce"].split()[1:], "--no-mlflow", "--json", "-")
    found = strictly(again.out)
    assert found.pop("comparison") != summary.pop("comparison")
    assert found == summary

    with Store.open("sqlite:///mlruns/bench.db") as store:
        before = len(store.comparisons())
    refused = bench("compare", a, more, "--no-mlflow")
    assert (refused.code, refused.out) == (3, "")
    assert (
        f"differ: budget (3000 gradients in {a}, 9 updates in {more}). With --allow" in refused.err
    )
    with Store.open("sqlite:///mlruns/bench.db") as store:
        assert len(store.comparisons()) == before
    said = bench("compare", a, more, "--allow", "budget", "--no-mlflow", "--json", "-")
    summary = strictly(said.out)
    assert (said.code, [pair["allowed"] for pair in summary["pairs"]]) == (0, [["budget"]])
    assert list(summary["allowed"]) == ["budget"]
    assert summary["reproduce"] == f"bench compare {a} {more} --allow budget"
    with Store.open("sqlite:///mlruns/bench.db") as store:
        (pair,) = store.comparison(summary["comparison"]).pairs
    assert pair["allowed"] == ["budget"]
    third = summary["comparison"]
    for ids, told in (
        ((a,), f"{a}: give two or more comparisons"),
        ((a, a), f"Comparison {a} is given twice"),
        ((third, a), f"was itself combined with --allow. Give its parts: {a} {more}."),
        ((a, b, "--allow", "budgte"), "did you mean 'budget'?"),
        ((a, b, "--allow", "direction"), "not a protocol field that may differ"),
    ):
        refused = bench("compare", *ids, "--no-mlflow")
        assert (refused.code, refused.out) == (2, "")
        assert told in refused.err and len(refused.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ("3f2a", "77aa", "--optimizers", "nag"),
            "--optimizers cannot be used with recorded comparisons: 3f2a and 77aa are compared as",
        ),
        (
            ("3f2a", "77aa", "--seeds", "3", "--fresh"),
            "--seeds, --fresh cannot be used with recorded comparisons: 3f2a and 77aa are",
        ),
        (("--optimizers", "nag", "--allow", "budget"), "--allow applies to recorded comparisons"),
        ((), "Give --optimizers to run a comparison"),
        (("nag,hf",), "write --optimizers nag,hf."),
        (("nag", "hf", "--problem", "curves"), "write --optimizers nag,hf."),
        (("3f2a", "77aa"), "mlruns/bench.db"),
    ],
)
def test_what_goes_with_recorded_comparisons(bench, workdir, given, told):
    said = bench("compare", *given)
    assert said.out == ""
    assert told in said.err and len(said.err.splitlines()) == 1
    assert said.code == (4 if given == ("3f2a", "77aa") else 2)
    assert list(workdir.iterdir()) == []


def test_grids_are_extended_where_that_is_asked_for(bench):
    given = ("--optimizers", "sgd[batch=20,lr=1e-4|2e-4]", "--tune-seeds", "1")
    small = ("--problem", PROBLEM, "--budget", "updates=5", "--seeds", "1", "--no-mlflow")
    without = json.loads(bench("compare", *small, *given, "--json", "-").out)
    extended = json.loads(bench("compare", *small, *given, "--extend", "--json", "-").out)
    efforts = [each["methods"][0]["tuning"] for each in (without, extended)]
    assert [effort["extended"] for effort in efforts] == [0, 6], "as often as there are rounds"
    assert [edge["value"] for edge in efforts[0]["edges"]] == [2e-4]
    said = bench("compare", *small, *given, "--extend", "--tune", "4")
    assert (said.code, said.out) == (2, "")
    assert "--extend --tune 4: only grids can be extended" in said.err
