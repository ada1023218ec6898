"""Errors are those of the command, with its sentences, and without passwords."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
import torch

import bench
from bench.calls import in_arguments
from bench.harness.cli.main import main
from bench.harness.comparison import compare as comparing
from bench.harness.comparison import session
from bench.optim.hyperparameters import Unavailable, UsageError

SECRET = "hunter2secret"
URL = f"postgresql://me:{SECRET}@127.0.0.1:1/none"


def raising(error: BaseException) -> Any:
    """An optimizer that raises an error while it trains, and not while it is tried out."""

    class Failing(torch.optim.SGD):
        asked = 0

        def step(self, closure: Any = None) -> Any:
            Failing.asked += 1
            if Failing.asked > 60:
                raise error
            return super().step(closure)

    return Failing


def told_by_command(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main(list(words))
    return capfd.readouterr().err.removeprefix("bench: ").strip()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizers": "nagg"}, ["--optimizers", "nagg"]),
        ({"optimizers": "nag", "problem": "curve"}, ["--optimizers", "nag", "--problem", "curve"]),
        ({"optimizers": "nag", "seeds": 0}, ["--optimizers", "nag", "--seeds", "0"]),
        ({"optimizers": "nag", "preset": "fast"}, ["--optimizers", "nag", "--preset", "fast"]),
        ({"optimizers": "nag", "budget": "x=3"}, ["--optimizers", "nag", "--budget", "x=3"]),
        ({"optimizers": "nag[lr=-1]"}, ["--optimizers", "nag[lr=-1]"]),
    ],
)
def test_the_sentence_of_the_command(given: dict[str, Any], words: list[str], capfd) -> None:
    with pytest.raises(bench.Usage) as error:
        bench.compare(**given, progress=False)
    assert str(error.value) == in_arguments(told_by_command(capfd, "compare", *words))
    assert "--" not in str(error.value)
    assert isinstance(error.value, bench.BenchError) and error.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision": "fp16"}, "precision='fp16'"),
        ({"device": "gpu"}, "device='gpu'; did you mean 'cpu'? Allowed: auto, cpu, cuda."),
        ({"mode": "both"}, "mode='both'"),
        ({"seeds": 2.5}, "seeds=2.5 is not a whole number."),
        ({"tune": "all"}, "tune=all: allowed are"),
        ({"budget": 300}, "budget=300 is of type int; give a text, as in budget='gradients="),
        ({"store": 3}, "store=3 is of type int; give a text"),
        ({"tracking_uri": "folder"}, "tracking_uri='folder'"),
        ({"store": "nothing"}, "store=nothing: this is not the URL of a store."),
    ],
)
def test_settings_that_are_not_allowed(compare, given: dict[str, Any], said: str) -> None:
    with pytest.raises(bench.Usage) as error:
        compare(**given)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(UsageError("no such"), bench.Usage), (Unavailable("none"), bench.Infrastructure)],
)
def test_errors_of_optimizers_are_those_of_bench(compare, monkeypatch, raised, kind) -> None:
    def fail(*given: object) -> None:
        raise raised

    monkeypatch.setattr(comparing, "prepare", fail)
    with pytest.raises(kind, match=str(raised)):
        compare()


def test_a_program_s_own_error_stays_what_it_is(compare) -> None:
    class Odd(Exception):
        pass

    failing = raising(Odd("own"))
    with pytest.raises(Odd, match="own"):
        compare(bench.optimizer(failing, batch=20))
    assert bench.comparisons().status.tolist() == ["failed"]


@pytest.mark.parametrize("id", [None, 3, 0.5, ["3f2a"]])
def test_an_id_that_is_no_text(id: Any) -> None:
    with pytest.raises(bench.Usage, match="give the id of a comparison as a text"):
        bench.load(id)


def test_dir_shows_what_there_is_to_use() -> None:
    assert dir(bench) == sorted(bench.__all__)


def test_no_store_where_one_is_looked_for() -> None:
    for ask in (bench.comparisons, lambda: bench.load("abc")):
        with pytest.raises(bench.Infrastructure, match="There is no store"):
            ask()


def test_an_unknown_id(compare) -> None:
    result = compare()
    assert bench.load(result.id[:5]).id == result.id
    with pytest.raises(bench.Usage, match="There is no comparison 'zzz'"):
        bench.load("zzz")


def test_passwords_are_hidden(compare) -> None:
    with pytest.raises(bench.Infrastructure) as error:
        compare(store=URL)
    told = "".join(traceback.format_exception(error.value))
    assert "***" in str(error.value) and SECRET not in told
    with pytest.raises(bench.Usage) as refused:
        bench.comparisons(store=f"postgres//me:{SECRET}@host/x")
    assert SECRET not in str(refused.value)


def test_a_password_in_somebody_else_s_error_is_hidden(compare, monkeypatch) -> None:
    def fail(*given: object) -> None:
        raise ValueError(f"cannot reach {URL}")

    monkeypatch.setattr(comparing, "prepare", fail)
    with pytest.raises(bench.Infrastructure) as error:
        compare(store=URL)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_ranks_cannot_reach_an_object_of_a_program(compare) -> None:
    with pytest.raises(bench.Usage) as error:
        compare(lambda p: torch.optim.SGD(p, lr=0.1), nproc_per_node=2)
    assert "nproc_per_node: python:lambda is an object of a Python program" in str(error.value)


def test_the_pool_is_left_out_for_an_object_of_a_program(compare, monkeypatch) -> None:
    monkeypatch.setattr(session, "PoolTrainer", lambda request: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare("nag[batch=20]")
    assert compare(lambda p: torch.optim.SGD(p, lr=0.1)).status == "done"


def test_a_command_cannot_reach_an_object_of_a_program(capfd) -> None:
    said = told_by_command(capfd, "compare", "--optimizers", "python:Mine")
    assert "'python:Mine' was an object of a Python program, so no command can reach it." in said
    said = told_by_command(capfd, "compare", "--optimizers", "nag", "--problem", "python:net")
    assert "'python:net' was an object of a Python program" in said


def test_a_command_cannot_resume_an_object_of_a_program(compare, capfd) -> None:
    failing = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        compare(bench.optimizer(failing, batch=20))
    (id,) = bench.comparisons().id
    said = told_by_command(capfd, "resume", id)
    assert "python:Failing was an object of a Python program, so no command can go on" in said
    assert "There is no comparison" in told_by_command(capfd, "resume")
