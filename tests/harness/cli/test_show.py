import math
import re
import shlex
from dataclasses import replace

import pytest

from bench.harness.analysis.summary import summarize
from bench.harness.cli.output import show_result
from bench.harness.cli.sparkline import WIDTH, Axes
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM as SMALL


def words(said, start):
    """The words of the one line that begins with these."""
    lines = [line.split() for line in said.out.splitlines()]
    (found,) = (line for line in lines if line[: len(start)] == list(start))
    return found[len(start) :]


@pytest.fixture
def done(filled):
    """A comparison with a result."""
    comparison = filled.comparison(command="bench compare --optimizers nag,hf")
    trials = [filled.trial(comparison, method, seed) for method in ("nag", "hf") for seed in (0, 1)]
    for trial in trials:
        filled.end(trial)
    summary = summarize(
        comparison_id=comparison, protocol=filled.protocol,
        trials=filled.store.trials(comparison), measurements=filled.store.measurements(trials),
        targets=(3.0,), margin=0.05, log_scale=True, published=lambda *_: None,
        reproduce="bench compare --optimizers nag,hf",
    )  # fmt: skip
    filled.store.save_verdicts(comparison, summary["pairs"])
    filled.store.finish_comparison(comparison, "done", summary)
    return comparison, summary


def test_comparison_that_is_done(bench, filled, done, capfd):
    comparison, summary = done
    show_result(summary, None)
    printed = capfd.readouterr().out
    picture = filled.store.artifacts / "bench" / comparison / "learning_curves.png"
    picture.parent.mkdir(parents=True)
    picture.touch()
    filled.store.mark_comparison_synced(comparison, "r" * 32)
    said = bench("show", comparison[:6])
    assert said.code == 0, said.err
    assert said.out.startswith(printed)
    assert said.out.endswith(
        f"comparison: {comparison}\nfolder: {picture.parent}\nMLflow run: {'r' * 32}\n"
    )


def test_comparison_that_runs(bench, filled):
    comparison = filled.comparison(command="bench compare --store postgresql://me:secret@h/db")
    whole, begun = filled.trial(comparison), filled.trial(comparison, "hf", 1)
    gone = filled.trial(comparison, "sgd[lr=10]")
    filled.end(whole)
    filled.measure(begun, 17)
    filled.end(gone, 5, diverged=True)
    said = bench("show", comparison)
    assert said.code == 0, said.err
    assert f"comparison {comparison}: running" in said.out
    assert "600,000 gradients per trial" in said.out
    assert words(said, [str(whole), "nag", "0", "budget"])[:2] == ["100%", "2.40"]
    assert words(said, [str(begun), "hf", "1", "running"]) == [
        *("10%", "3.53", "3.88", "300", "60,000", "60")
    ]
    assert words(said, [str(gone), "sgd[lr=10]", "0", "diverged"])[:2] == ["0%", "nan"]
    assert f"Trial {gone} (sgd[lr=10] s0): the loss was not finite at update 9." in said.out
    curves = [line for line in said.out.splitlines() if "█" in line and "▁ is" not in line]
    ends = [re.search(r"[▁-█×]+$", line.rstrip())[0] for line in curves]
    assert [end[0] for end in ends] == ["█", "█", "█"]
    assert [end[-1] for end in ends] == ["▁", "▁", "×"]
    assert len(ends[0]) == WIDTH
    assert len(ends[2]) < len(ends[1]) < WIDTH
    assert "secret" not in said.out
    assert max(map(len, said.out.splitlines())) <= 100


def test_comparison_without_trials(bench, filled):
    said = bench("show", filled.comparison("tuning"))
    assert said.code == 0
    assert "trials begun: 0" in said.out


def test_the_dead_are_said_to_be_dead(bench, filled, monkeypatch):
    monkeypatch.setattr(filled.store.end_dead.__func__, "__defaults__", (0,))
    comparison = filled.comparison()
    trial = filled.trial(comparison)
    said = bench("show", comparison)
    assert f"comparison {comparison}: interrupted" in said.out
    assert f"Trial {trial} (nag s0): its process died (no heartbeat since" in said.out


def test_trial(bench, filled):
    comparison = filled.comparison()
    trial = filled.trial(comparison, hyperparameters={"lr": 1e-3, "nesterov": True})
    filled.end(trial, 100)
    other = filled.comparison()
    filled.store.adopt(other, trial)
    filled.store.mark_synced(trial, "m" * 32, 3, True)
    said = bench("show", trial)
    assert said.code == 0, said.err
    assert words(said, ["comparison"]) == [f"{comparison},", other]
    assert words(said, ["status"]) == ["budget"]
    assert words(said, ["budget"]) == ["600000", "gradients"]
    assert words(said, ["data_digest"]) == ["d" * 64]
    assert words(said, ["method", "nag@torch[lr=0.001,nesterov=true]"]) == []
    assert words(said, ["nesterov"]) == ["true"]
    assert words(said, ["versions", "torch"]) == ["2.13.0"]
    assert words(said, ["argv"]) == ["bench", "compare"]
    assert words(said, ["digest"]) == ["s"]
    assert words(said, ["MLflow", "run"]) == ["m" * 32]
    table = said.out.partition("training loss")[2].partition("Repeat")[0].splitlines()[1:-1]
    indices = [int(line.split()[0]) for line in table if line.strip()]
    assert (len(indices), indices[0], indices[-1]) == (25, 0, 99)
    assert indices == sorted(set(indices))
    assert shlex.split(said.out.splitlines()[-1]) == [
        *("bench", "run", "--problem", "curves", "--preset", "quick"),
        *("--optimizer", "nag@torch[lr=0.001,nesterov=true]", "--seed", "0"),
        *("--budget", "gradients=600000", "--precision", "fp32"),
    ]


def test_trial_of_hessian_free(bench, filled):
    trial = filled.trial(filled.comparison(), "hf")
    taken = [
        {},
        {"lambda": 45.0, "rho": 0.813, "cg_steps": 13.0, "iterate": 11.0, "rate": 0.8,
         "model_decrease": 208.0, "decrease": 168.0, "evaluations": 4.0},
        # Rejected: h rose, and no rate was found. What is not finite is not recorded.
        {"lambda": 30.0, "cg_steps": 250.0, "iterate": 5.0, "rate": 0.0,
         "model_decrease": 1e-7, "decrease": 0.0, "evaluations": 71.0},
    ]  # fmt: skip
    filled.store.record(
        [
            (trial, Measurement(i, Ledger(i, gradients=1e9 * i), 1e-5, 1e-5, 1e-5, 1e-5, told))
            for i, told in enumerate(taken)
        ]
    )
    said = bench("show", trial)
    assert said.code == 0, said.err
    assert max(map(len, said.out.partition("Repeat with")[0].splitlines())) <= 100
    shown = said.out.partition("lambda")[2].partition("Repeat")[0].splitlines()
    assert shown[0].split() == ["rho", "CG", "chosen", "rate", "model", "real", "evaluations"]
    assert [line.split() for line in shown[1:] if line.strip()] == [
        ["1", "45", "0.813", "13", "11", "0.800", "208", "168", "4"],
        ["2", "30", "-inf", "250", "5", "0", "1.00e-07", "0", "71"],
    ]


def test_trial_of_another_method_has_no_such_table(bench, filled):
    trial = filled.trial(filled.comparison())
    filled.end(trial)
    assert "lambda" not in bench("show", trial).out


@pytest.mark.parametrize(
    ("command", "problem"),
    [("bench", "add[T=80,hard=true]"), ("bench run --problem './my file.py:P'", "./my file.py:P")],
)
def test_the_problem_is_written_as_it_was(bench, filled, command, problem):
    fields = {"problem": "add", "parameters": {"T": 80, "hard": True}}
    trial = filled.trial(filled.comparison("run", command, **fields), **fields)
    repeat = shlex.split(bench("show", trial).out.splitlines()[-1])
    assert repeat[repeat.index("--problem") + 1] == problem


def test_two_trials_that_can_be_compared(bench, filled):
    comparison = filled.comparison()
    a = filled.trial(comparison, hyperparameters={"lr": 0.01, "mu_max": 0.9})
    b = filled.trial(
        comparison, hyperparameters={"lr": 0.05, "mu_max": 0.9}, context={"threads": 2}
    )
    filled.end(a)
    said = bench("show", a, b)
    assert said.code == 0, said.err
    assert words(said, ["≠", "lr"]) == ["0.01", "0.05"]
    assert words(said, ["mu_max"]) == ["0.9", "0.9"]
    assert words(said, ["≠", "threads"]) == ["1", "2"]
    assert words(said, ["status"]) == ["budget", "running"]
    assert said.out.endswith(
        "protocol: equal\nmethod: differs in method, lr\nsource: equal\n"
        "start: not recorded for both\ncontext: differs in threads, versions torch\n"
    )


def test_two_trials_that_cannot(bench, filled):
    budget = {"budget": Budget("updates", 750_000), "preset": "paper"}
    a = filled.trial(filled.comparison())
    b = filled.trial(filled.comparison(**budget), **budget)
    said = bench("show", a, b)
    assert said.code == 3
    assert words(said, ["≠", "preset"]) == ["quick", "paper"]
    assert said.err == (
        f"bench: Trials {a} and {b} cannot be compared, because their protocols differ: preset "
        "(quick and paper); budget (600000 gradients and 750000 updates). With --allow preset "
        "--allow budget they are compared nevertheless, and the report notes it.\n"
    )


def test_unknown_trial(bench, filled):
    trial = filled.trial(filled.comparison())
    said = bench("show", 4711)
    assert said.code == 2
    assert (
        f"There is no trial 4711 in {filled.store.redacted_url}; the nearest: {trial}." in said.err
    )


@pytest.mark.parametrize("id", ["zz", "zzzzzzzz", "", "²"])
def test_unknown_comparison(bench, filled, id):
    comparison = filled.comparison()
    said = bench("show", id)
    assert said.code == 2
    assert f"There is no comparison {id!r}" in said.err
    assert f"the nearest: {comparison}." in said.err


def test_an_id_of_decimal_digits(bench, filled, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda n: "12345678")
    comparison = filled.comparison()
    trial = filled.trial(comparison)
    assert trial == 1
    assert f"comparison {comparison}: running" in bench("show", 12345678).out
    assert f"comparison {comparison}: running" in bench("show", 12).out
    assert "trial 1" in bench("show", 1).out
    assert "There is no trial 87654321" in bench("show", 87654321).err


def test_a_comparison_is_shown_alone(bench, filled):
    comparison = filled.comparison()
    trial = filled.trial(comparison)
    for ids in ((comparison, trial), (trial, comparison)):
        said = bench("show", *ids)
        assert (said.code, said.out) == (2, "")
        assert f"{comparison} is a comparison" in said.err


def at(spent, value):
    return Measurement(0, Ledger(gradients=spent), value, value, 0.0, 0.0)


def test_axes_are_shared_and_logarithmic():
    budget = Budget("gradients", 1000.0)
    falling = [at(0, 100.0), at(1, 10.0), at(1000, 1.0)]
    flat = [at(0, 10.0), at(10**1.5, 10.0)]
    axes = Axes.around([falling, flat], budget)
    assert (axes.first, axes.low, axes.high, axes.log) == (1, 1.0, 100.0, True)
    assert axes.line(falling) == "█" + "▅" * (WIDTH - 2) + "▁"
    assert axes.line(flat) == "▅" * 21 + " " * (WIDTH - 21)


def test_axes_of_values_that_have_no_logarithm():
    curve = [at(0, 4.0), at(10, -4.0), at(20, math.nan)]
    axes = Axes.around([curve], Budget("gradients", 20.0))
    assert not axes.log
    line = axes.line(curve)
    assert (line[0], line[1], line[-1], len(line)) == ("█", "▁", "×", WIDTH)


@pytest.mark.parametrize("curve", [[], [at(0, 5.0)], [at(0, math.nan)], [at(10, 5.0)]])
def test_axes_of_next_to_nothing(curve):
    axes = Axes.around([curve], Budget("gradients", 10.0))
    assert len(axes.line(curve)) == WIDTH
    assert "log scale" in axes.legend("error")


# The command that makes a trial again


METHOD = """
from tests.harness.plugins import Watcher


class Mine(Watcher):
    name = "mine"
"""
PROBLEM_OF_WIDTH = """
from tests.harness.small import make as small


def make(preset, width="2"):
    problem = small(preset)
    problem.name, problem.parameters = "wide", {"width": int(width)}
    return problem
"""
USUAL = ("--preset", "quick", "--threads", "1", "--device", "cpu", "--precision", "fp64",
         "--no-mlflow", "--budget", "updates=6")  # fmt: skip


def made_again(bench, id, *flags):
    """Show a trial, give its command to the command line, and return both trials."""
    said = bench("show", id)
    assert said.code == 0, said.err
    words = shlex.split(said.out.splitlines()[-1])
    assert words[:2] == ["bench", "run"]
    with Store.open("sqlite:///mlruns/bench.db") as store:
        before = len(store.trials())
        again = bench(*words[1:], "--no-mlflow", "--fresh", *flags)
        assert again.code == 0, again.err
        assert len(store.trials()) == before + 1
        first, second = store.trial(id), store.trials()[-1]
    for field in ("key", "seed", "source_digest", "protocol_key", "method_key", "purpose"):
        assert getattr(first, field) == getattr(second, field)
    assert (second.attempt, second.id) == (first.attempt + 1, before + 1)
    for metric in ("train_metric", "test_metric"):
        assert getattr(second, metric) == pytest.approx(getattr(first, metric), rel=1e-12)
    one, other = first.certificate, second.certificate
    assert (one.theta, one.seeds) == (other.theta, other.seeds)
    assert shlex.split(one.command) == words
    return first, again, words


def test_the_command_of_a_trial_makes_it_again(bench, workdir, no_pictures):
    """Of a comparison with a grid: a trial that was tried, and one that was reported."""
    grids = "nag[batch=20,lr=0.01|0.02],cm[batch=20,lr=0.1|0.2]"
    compared = bench("compare", "--optimizers", grids, "--problem", SMALL, "--seeds", "2", *USUAL)
    assert compared.code == 0, compared.err
    with Store.open("sqlite:///mlruns/bench.db") as store:
        trials = store.trials()
    tried = next(t.id for t in trials if t.purpose == "tuning" and t.method_name == "cm")
    trial, again, words = made_again(bench, tried)
    assert trial.seed >= 1_000_000
    assert words[words.index("--seed") + 1] == str(trial.seed)
    assert f"seed {trial.seed}" in again.out.replace(",", "")
    reported = [t for t in trials if t.purpose == "reported"][-1]
    trial, _, words = made_again(bench, reported.id)
    assert trial.fleet_rows > 1
    given = [word for word in USUAL if word != "--no-mlflow"]
    for flag, value in zip(given[::2], given[1::2], strict=True):
        assert words[words.index(flag) + 1] == value


def test_files_of_ones_own_and_folders_with_blanks_and_quotes(bench, workdir, no_pictures):
    (workdir / "my method's.py").write_text(METHOD)
    (workdir / 'my "problem".py').write_text(PROBLEM_OF_WIDTH)
    data = workdir / 'the data\'s "folder"'
    data.mkdir()
    compared = bench("compare", "--optimizers", "./my method's.py:Mine[lr=0.1],nag[batch=20]",
                     "--problem", './my "problem".py:make[width=3]', "--seeds", "1",
                     "--data-dir", data, *USUAL)  # fmt: skip
    assert compared.code == 0, compared.err
    _, _, words = made_again(bench, 1)
    assert words[words.index("--problem") + 1] == './my "problem".py:make[width=3]'
    assert words[words.index("--data-dir") + 1] == str(data)
    assert words[words.index("--optimizer") + 1].startswith("./my method's.py:Mine@torch[")


def test_a_trial_of_torchs_own_method(bench, workdir, no_pictures):
    run = ("run", "--optimizer", "torch.optim.AdamW[lr=0.01,batch=20]", "--problem", SMALL, *USUAL)
    said = bench(*run, "--seed", "4")
    assert said.code == 0, said.err
    made_again(bench, 1)


# Two of them


def test_two_comparisons_are_judged_as_one_and_nothing_is_recorded(bench, filled):
    a, b = (finished(filled, label) for label in ("nag", "[red]hf[/red]"))
    before = len(filled.store.comparisons())
    said = bench("show", a, b)
    assert said.code == 0, said.err
    assert "nag and [red]hf[/red]: too few seeds for a verdict" in said.out
    assert f"Repeat with:\nbench compare {a} {b}\n" in said.out
    assert len(filled.store.comparisons()) == before


def test_two_comparisons_that_cannot(bench, filled):
    a, b = finished(filled, "nag"), finished(filled, "hf", evaluations=25)
    before = len(filled.store.comparisons())
    said = bench("show", a, b)
    assert (said.code, said.out) == (3, "")
    assert f"protocols differ: evaluations (24 in {a}, 25 in {b})." in said.err
    said = bench("show", a, b, "--allow", "evaluations")
    assert said.code == 0, said.err
    out = " ".join(said.out.split())
    assert "different protocols: evaluations differs, which --allow permitted." in out
    assert (
        f"--allow evaluations: the protocols differ here, as allowed (24 in {a}, 25 in {b})." in out
    )
    assert len(filled.store.comparisons()) == before


def test_two_trials_with_fields_that_are_allowed(bench, filled):
    other = {"budget": Budget("updates", 750_000), "preset": "paper"}
    a, b = filled.trial(filled.comparison()), filled.trial(filled.comparison(**other), **other)
    said = bench("show", a, b, "--allow", "preset")
    assert said.code == 3
    assert "differ: budget (600000 gradients and 750000 updates). With --allow budget" in said.err
    said = bench("show", a, b, "--allow", "preset", "--allow", "budget")
    assert said.code == 0, said.err
    assert said.out.endswith(
        "--allow preset: the trials differ here, as allowed: quick and paper\n"
        "--allow budget: the trials differ here, as allowed: 600000 gradients and 750000 updates\n"
    )


@pytest.mark.parametrize(
    ("field", "hint"), [("bugdet", "did you mean 'budget'?"), ("direction", "")]
)
def test_a_field_that_may_not_differ(bench, filled, field, hint):
    comparison = filled.comparison()
    ids = [filled.trial(comparison, seed=seed) for seed in (0, 1)]
    for two in (ids, [finished(filled, "nag"), finished(filled, "hf")]):
        said = bench("show", *two, "--allow", field)
        assert (said.code, said.out) == (2, "")
        assert f"--allow {field}: this is not a protocol field that may differ" in said.err
        assert hint in said.err


def test_allow_is_for_two(bench, filled):
    said = bench("show", filled.comparison(), "--allow", "budget")
    assert (said.code, said.out) == (2, "")
    assert "--allow applies to two records only" in said.err


def finished(filled, label, **fields):
    """A comparison of one method that has a result."""
    comparison = filled.comparison(command="bench compare", **fields)
    trials = [filled.trial(comparison, label, seed, **fields) for seed in (0, 1)]
    for trial in trials:
        filled.end(trial)
    summary = summarize(
        comparison_id=comparison, protocol=replace(filled.protocol, **fields),
        trials=filled.store.trials(comparison), measurements=filled.store.measurements(trials),
        targets=(3.0,), margin=0.05, log_scale=True, published=lambda *_: None,
        reproduce="bench compare",
    )  # fmt: skip
    filled.store.finish_comparison(comparison, "done", summary)
    return comparison


def test_without_an_id_the_newest_comparison_is_shown(bench, filled, done):
    newest = filled.comparison()
    assert newest in bench("show").out
    assert newest in bench("report").out


def test_without_an_id_and_without_comparisons(bench, filled):
    for command in ("show", "report"):
        said = bench(command)
        assert (said.code, said.out) == (2, "")
        assert "There is no comparison in" in said.err
