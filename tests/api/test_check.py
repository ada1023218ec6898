"""`bench.check` and `bench.noise` give what their commands print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench import api, frames
from bench.harness.cli.main import main
from tests.harness import small
from tests.harness.cli.test_noise import SUITE, metric


def sgd(parameters: Any, lr: float = 0.1) -> Any:
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize("what", ["sgd", sgd, lambda p: torch.optim.SGD(p, lr=0.1)])
def test_the_laws_of_an_optimizer(what: Any) -> None:
    found = bench.check(what)
    assert found.kind == "optimizer" and found.ok
    assert {n: str(k) for n, k in found.laws.dtypes.items()} == frames.LAWS
    assert set(found.laws.state) <= {"holds", "not applicable"}


@pytest.mark.parametrize("what", [small.make, small.make("quick"), lambda p: small.make(p)])
def test_the_laws_of_a_problem(what: Any) -> None:
    found = bench.check(what)
    assert found.kind == "problem" and found.laws.law.is_unique


def test_a_broken_law_is_shown_and_is_no_error(capfd) -> None:
    class Forgetful(torch.optim.SGD):
        def state_dict(self) -> Any:
            self.param_groups[0]["lr"] *= 0.5
            return super().state_dict()

    found = bench.check(Forgetful)
    assert not found.ok and "fails" in set(found.laws.state)
    assert "laws do not hold for python:Forgetful." in str(found)
    assert "<td" in found._repr_html_()


def test_it_is_what_the_command_prints(capfd) -> None:
    with pytest.raises(SystemExit):
        main(["check", "sgd"])
    out = capfd.readouterr().out
    for law in bench.check("sgd").laws.law:
        assert law in out


def test_neither_problem_nor_optimizer() -> None:
    with pytest.raises(bench.Usage, match="there is no such problem or optimizer"):
        bench.check("nagg")


def test_noise_is_a_table_with_thresholds(workdir: Path, monkeypatch) -> None:
    asked: list[Any] = []

    def measured(suite: Any, place: Any) -> dict[str, Any]:
        asked.append((suite, place))
        return {"family": 2, "metrics": [metric(), metric("quality", "hf", sd=None, reason="few")]}

    monkeypatch.setattr(api, "measure_noise", measured)
    (workdir / "tiny.toml").write_text(SUITE)
    found = bench.noise("tiny.toml", mlflow=False)
    assert {n: str(k) for n, k in found.dtypes.items()} == frames.NOISE
    assert found.method.tolist() == ["nag", "hf"]
    assert found.threshold.notna().tolist() == [True, False]
    ((suite, place),) = asked
    assert suite.name == "tiny" and place.no_mlflow and place.store.endswith("bench.db")


def test_a_suite_that_is_none(workdir: Path) -> None:
    with pytest.raises(bench.Usage):
        bench.noise("none.toml")
