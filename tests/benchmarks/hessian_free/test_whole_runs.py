"""Turns, times to targets and their ratios; a run that misses a target gives no number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.training.cases import DeviceData
from bench.models.deep_autoencoders import DeepAutoencoder, Preset
from bench.models.problem import Data, DataSource
from benchmarks.hessian_free import peer_hf
from benchmarks.hessian_free.backpack_products import installed_backpack, with_backpack
from benchmarks.hessian_free.whole_runs import OURS, Limits, Point, Run, compared, in_turn, ours

LIMITS = Limits((4.0, 2.0), cg_steps=10, seconds=30.0)


def images(setting: Preset, source: DataSource | None = None) -> Data:
    x = np.random.default_rng(0).random((setting.train, setting.side**2))
    return Data("noise", "", x, x, x, x)


SETTING = Preset(3, (6, 4, 2), 24, 5, 1, 2, (1.0,), "small images")


@pytest.fixture
def problem() -> DeepAutoencoder:
    return DeepAutoencoder("small", "quick", SETTING, images)


@pytest.fixture
def data() -> DeviceData:
    return DeviceData.from_data(images(SETTING), torch.device("cpu"), torch.float64)


def points(*errors: float, steps: int | None = 5, seconds: float = 1.0) -> list[Point]:
    return [
        Point(seconds * i, error, steps and steps * i) for i, error in enumerate(errors, start=1)
    ]


def test_runs_take_turns_in_an_order_that_turns_round() -> None:
    begun: list[str] = []

    def run(name: str) -> Run:
        def begin(seed: int) -> Iterator[Point]:
            begun.append(f"{name}{seed}")
            yield from points(5, 3, 1)

        return begin

    curves = in_turn({"a": run("a"), "b": run("b")}, [7, 8], LIMITS)
    assert begun == ["a7", "b7", "a7", "b7", "b8", "a8"]
    assert curves["a"] == curves["b"] == [points(5, 3, 1)] * 2


@pytest.mark.parametrize(
    ("run", "length"),
    [
        (points(5, 1, 1, 1), 2),
        (points(1, 1, 1, 1, steps=4), 3),
        (points(1, 1, 1, steps=None), 1),
        (points(5, 5, 5, seconds=20.0), 2),
    ],
    ids=["target", "steps", "no steps", "patience"],
)
def test_a_run_ends_at_its_last_target_and_steps_or_out_of_patience(
    run: list[Point], length: int
) -> None:
    curves = in_turn({"a": lambda seed: iter(run)}, [0], LIMITS)
    assert curves["a"] == [run[:length]]


def test_ratios_are_of_seeds_with_which_both_reached_the_target(problem: DeepAutoencoder) -> None:
    mine = [points(4, 2), points(4, 3, 2)]
    theirs = [points(5, 4, 2), points(4, 4, 4)]
    figures, notes = compared(problem, mine, "theirs", theirs, LIMITS, 0.7)
    four, two, steps = figures
    assert four.case == "small/quick, to error 4" and four.goal == 0.7
    assert (four.ratio["n"], four.ratio["min"], four.ratio["max"]) == (2, 0.5, 1.0)
    assert (two.ratio["n"], two.ratio["median"]) == (1, 2 / 3)
    assert steps.ratio["median"] == 1.0 and steps.seconds == 1 / 5
    assert notes == ["Error 2: not reached by theirs with 1 of 2 seeds within 30 s."]


def test_a_target_that_nobody_reached_gives_no_ratio(problem: DeepAutoencoder) -> None:
    mine, theirs = [points(4, 3)], [points(9, 9, steps=None)]
    figures, notes = compared(problem, mine, "theirs", theirs, LIMITS, None)
    assert figures == []
    assert notes == [
        "Error 4: not reached by theirs with 1 of 1 seeds within 30 s.",
        f"Error 2: not reached by {OURS} with 1 of 1 seeds within 30 s.",
        "Error 2: not reached by theirs with 1 of 1 seeds within 30 s.",
    ]


def test_hf_on_backpack_s_products_is_the_same_method(
    problem: DeepAutoencoder, data: DeviceData
) -> None:
    means = [problem, *([with_backpack(problem)] if installed_backpack() else [])]
    first, *others = (list(islice(ours(each, data, 0), 3)) for each in means)
    assert first[0].error > first[2].error and first[0].seconds < first[2].seconds
    for other in others:
        assert [each.cg_steps for each in other] == [each.cg_steps for each in first]
        assert [each.error for each in other] == pytest.approx([each.error for each in first])


class Publics:
    """Stands in for the peer's optimizer: measures ρ from a warm start that it evaluates."""

    def __init__(self, parameters: Iterator[Tensor], damping: float) -> None:
        self.parameters, self.damping = list(parameters), damping
        self.rho: list[tuple[float, float, float, float]] = []

    def step(self, forward: Callable[[], tuple[Tensor, Any]], **given: Any) -> None:
        at_theta = forward()[0].item()
        for parameter in self.parameters:
            parameter.data.mul_(0.5)
        self._adapt_damping(forward()[0].item(), at_theta - 3, -7.0, -2.0)

    def _adapt_damping(self, f_0: float, f_step: float, m_0: float, m_step: float) -> None:
        self.rho.append((f_0, f_step, m_0, m_step))

    def acc_step(self, model: Any, loss: Any, cases: list[Any], mvp_datalist: list[Any]) -> None:
        ((x, t),), ((chunk, _),) = cases, mvp_datalist
        assert (len(x), len(chunk)) == (24, 12)
        self.step(lambda: (loss(model(x), t), None))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Publics]:
    """The optimizers that are made of a package in the peer's place."""
    found: list[Publics] = []

    class HessianFree(Publics):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            found.append(self)

    package, module = ModuleType("hessianfree"), ModuleType("hessianfree.optimizer")
    module.HessianFree = HessianFree  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hessianfree", package)
    monkeypatch.setitem(sys.modules, "hessianfree.optimizer", module)
    return found


def test_the_peer_s_rho_is_measured_from_theta(
    problem: DeepAutoencoder, data: DeviceData, made: list[Publics]
) -> None:
    run = peer_hf.train(problem, data, 0, {"lam": 5.0, "chunks": 2}, Point)
    first, second = islice(run, 2)
    assert first.error != second.error and first.cg_steps is None
    (optimizer,) = made
    assert optimizer.damping == 5.0
    for f_0, f_step, m_0, m_step in optimizer.rho:
        assert f_0 == f_step + 3
        assert (m_0, m_step) == (0.0, -2.0)


def test_the_other_package_of_the_peer_s_name_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = {"hessianfree"}
    monkeypatch.setattr(peer_hf, "find_spec", lambda name: name in present)
    assert not peer_hf.installed()
    present.add("hessianfree.cg_backtracking")
    assert peer_hf.installed()
    present.clear()
    assert not peer_hf.installed()
