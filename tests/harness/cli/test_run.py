"""`bench run`: one trial, recorded and shown."""

import json
import shlex

import pytest

from bench.harness.store.results import Store
from tests.harness.small import BUDGET, PROBLEM

RUN = ("run", "--problem", PROBLEM, "--budget", BUDGET, "--threads", "1", "--no-mlflow")
STORE = "sqlite:///mlruns/bench.db"

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_one_trial_and_the_command_that_repeats_it(bench):
    said = bench(*RUN, "--optimizer", "nag[batch=20]", "--seed", "3", "--json", "-")
    assert said.code == 0, said.err
    summary = json.loads(said.out)
    (row,) = summary["methods"]
    (trial,) = row["trials"]
    assert (trial["seed"], trial["status"], row["n"]) == (3, "budget", 1)
    assert summary["pairs"] == []
    with Store.open(STORE) as store:
        assert store.comparison(summary["comparison"]).kind == "run"

    words = shlex.split(summary["reproduce"])
    again = bench(*words[1:], "--no-mlflow", "--json", "-")
    assert again.code == 0, again.err
    assert "1 of 1 trials are on record" in again.err
    assert json.loads(again.out)["methods"] == summary["methods"]
    with Store.open(STORE) as store:
        assert len(store.trials()) == 1


def test_a_problem_of_ones_own_that_is_edited_is_run_again(bench, workdir):
    own = workdir / "own.py"
    own.write_text("from tests.harness.small import make as small\n\nmake = lambda p: small(p)\n")
    command = ("run", "--problem", "./own.py:make", "--optimizer", "nag[batch=20]", *RUN[3:])
    assert bench(*command).code == 0
    assert "1 of 1 trials are on record" in bench(*command).err
    own.write_text(own.read_text() + "# edited\n")
    assert "on record" not in bench(*command).err
    with Store.open(STORE) as store:
        assert len(store.trials()) == 2


def test_a_table(bench):
    said = bench(*RUN, "--optimizer", "sgd[batch=20]")
    assert said.code == 0, said.err
    assert said.out.startswith("small / quick  data: planes (generated)\n")
    assert "seed 0 · fp32" in said.out
    assert "seed 0, cpu, 1 thread." in said.err


def test_a_dry_run(bench, workdir):
    said = bench(*RUN, "--optimizer", "hf", "--seed", "5", "--dry-run")
    assert (said.code, said.out) == (0, "")
    assert "seed 5, cpu" in said.err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--optimizer", "nag,hf"), "runs one optimizer"),
        (("--optimizer", "nag[lr=0.1|0.2]"), "runs one method, not a grid"),
        (("--optimizer", "nag", "--seed", "-1"), "--seed -1: allowed are whole numbers"),
        (("--optimizer", "nag", "--seed", "9007199254740992"), "0 to 2^53 - 1"),
        (("--optimizer", "nag", "--seed", "first"), "'first' is not a valid integer"),
        (("--optimizer", "nga"), "did you mean 'nag'?"),
        ((), "'--optimizer'"),
        (("--optimizers", "nag"), "'--optimizer'"),
    ],
)
def test_bad_input(bench, workdir, given, told):
    said = bench(*RUN, *given)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert len(said.err.splitlines()) == 1
    assert list(workdir.iterdir()) == []
