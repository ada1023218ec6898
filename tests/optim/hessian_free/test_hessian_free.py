import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.optim.hessian_free import HessianFree
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import FULL, BudgetSpent
from tests.optim.dense import DenseObjective, quadratic, small_mlp, small_rnn, spectrum

EXACT: dict[str, object] = {"cg_tolerance": 0.0, "cg_max": 1000}
NUMBERS = (
    "lambda", "rho", "rate", "model_decrease", "decrease",
    "cg_steps", "kept", "iterate", "evaluations",
)  # fmt: skip


def train(
    method: HessianFree, objective: DenseObjective, theta: Tensor, steps: int
) -> list[dict[str, Any]]:
    state = method.init(theta, 0, None)
    return [dict(method.step(theta, objective, state)) for _ in range(steps)]


@pytest.mark.parametrize("precondition", [False, True])
@pytest.mark.parametrize("chunks", [1, 3])
def test_damped_solution_is_the_dense_one(precondition: bool, chunks: int) -> None:
    objective, theta = small_mlp()
    l2, lam = 0.01, 30.0
    everything, chunk = objective.next_batch(FULL), objective.next_batch(24 // chunks)
    g = objective.gradient(theta, everything)[1].clone() + l2 * theta
    a = objective.gauss_newton(theta, chunk) + (l2 + lam) * torch.eye(g.shape[1]).double()
    method = HessianFree(lam=lam, l2=l2, precondition=precondition, chunks=chunks, **EXACT)
    state = method.init(theta, 0, None)
    method.step(theta, objective, state)
    expected = np.linalg.solve(a.numpy(), -g[0].numpy())
    np.testing.assert_allclose(state.last[0].numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precondition", [False, True])
def test_damped_step_is_the_dense_solution(precondition: bool) -> None:
    hessian, l2, lam = spectrum(torch.logspace(0, -1, 4)), 0.05, 0.5
    objective = quadratic(hessian, torch.linspace(-1, 2, 4, dtype=torch.float64))
    theta = torch.ones(1, 4, dtype=torch.float64)
    start, everything = theta.clone(), objective.next_batch(FULL)
    g = objective.gradient(theta, everything)[1].clone() + l2 * theta
    # Four steps solve a system of four, and no earlier iterate is kept to go back to.
    method = HessianFree(
        lam=lam, l2=l2, precondition=precondition, chunks=1, cg_tolerance=0, cg_max=4
    )
    (report,) = train(method, objective, theta, 1)
    a = hessian + (l2 + lam) * torch.eye(4).double()
    expected = np.linalg.solve(a.numpy(), -g[0].numpy())
    assert (report["rate"], report["iterate"]) == (1.0, 4)
    np.testing.assert_allclose((theta - start)[0].numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("precondition", [False, True])
def test_one_undamped_step_lands_on_the_minimum(precondition: bool) -> None:
    minimum = torch.linspace(-1, 2, 12, dtype=torch.float64)
    objective = quadratic(spectrum(torch.logspace(0, -2, 12)), minimum)
    theta = torch.ones(1, 12, dtype=torch.float64)
    method = HessianFree(lam=0, l2=0, chunks=1, precondition=precondition, **EXACT)
    (report,) = train(method, objective, theta, 1)
    assert (theta - minimum).norm() / (1 - minimum).norm() < 1e-12
    assert report["rho"] == pytest.approx(1.0, abs=1e-12)
    assert report["decrease"] == pytest.approx(report["loss"].item(), rel=1e-12)


def test_report_is_the_model_and_the_loss_by_hand() -> None:
    objective, theta = small_mlp()
    start, l2, lam = theta.clone(), 0.02, 5.0
    method = HessianFree(lam=lam, l2=l2, chunks=2, cg_max=8)
    everything, chunk = objective.next_batch(FULL), objective.next_batch(12)

    def h(at: Tensor, on: Any) -> float:
        return (objective.loss(at, on) + 0.5 * l2 * at.square().sum()).item()

    (report,) = train(method, objective, theta, 1)
    p = (theta - start) / report["rate"]
    g = objective.gradient(start, everything)[1].clone() + l2 * start
    matrix = objective.gauss_newton(start, chunk) + l2 * torch.eye(p.shape[1]).double()
    q = (g @ p.T + 0.5 * p @ matrix @ p.T).item()
    assert report["model_decrease"] == pytest.approx(-q, rel=1e-11)
    assert report["rho"] == pytest.approx((h(start + p, chunk) - h(start, chunk)) / q, rel=1e-9)
    assert report["decrease"] == pytest.approx(h(start, everything) - h(theta, everything))
    assert report["loss"].shape == (1,)
    assert report["loss"].item() == objective.loss(start, everything).item()
    assert report["lambda"] == lam
    assert (report["cg_steps"], report["kept"]) == (8, 3)
    assert report["iterate"] in (5, 7, 8)
    assert all(type(report[name]) in (int, float) for name in NUMBERS)


def test_reduction_ratio_is_measured_from_theta_after_a_warm_start() -> None:
    objective, theta = small_mlp()
    method = HessianFree(lam=5.0, l2=0.0, chunks=1, cg_max=6)
    state, everything = method.init(theta, 0, None), objective.next_batch(FULL)
    for _ in range(3):
        start = theta.clone()
        report = method.step(theta, objective, state)
    p = (theta - start) / report["rate"]
    g = objective.gradient(start, everything)[1].clone()
    q = (g @ p.T + 0.5 * p @ objective.gauss_newton(start, everything) @ p.T).item()
    change = (objective.loss(start + p, everything) - objective.loss(start, everything)).item()
    assert report["rho"] == pytest.approx(change / q, rel=1e-9)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_structural_damping_is_in_the_system_and_not_in_the_model(factor: float) -> None:
    objective, theta = small_rnn()
    l2, lam, mu = 0.01, 2.0, 1 / 30
    start, everything = theta.clone(), objective.next_batch(FULL)
    identity = torch.eye(theta.shape[1], dtype=torch.float64)
    g = objective.gradient(theta, everything)[1].clone() + l2 * theta
    undamped = objective.gauss_newton(theta, everything) + l2 * identity
    a = undamped + lam * identity + lam * mu * factor * objective.structural(theta, everything)
    method = HessianFree(
        lam=lam, l2=l2, chunks=1, precondition=False, structural=mu, structural_factor=factor,
        **EXACT,
    )  # fmt: skip
    state = method.init(theta, 0, None)
    objective.calls.clear()
    report = method.step(theta, objective, state)
    expected = np.linalg.solve(a.numpy(), -g[0].numpy())
    np.testing.assert_allclose(state.last[0].numpy(), expected, rtol=1e-9, atol=1e-12)
    p = (theta - start) / report["rate"]
    q = (g @ p.T + 0.5 * p @ undamped @ p.T).item()
    assert report["model_decrease"] == pytest.approx(-q, rel=1e-10)
    assert objective.calls["linearization"] == 2
    assert objective.calls["product"] == report["cg_steps"] + 1


def test_no_structural_damping_asks_for_none() -> None:
    objective, theta = small_mlp()
    train(HessianFree(structural=0), objective, theta.clone(), 1)
    with pytest.raises(ValueError, match="no hidden state over time"):
        train(HessianFree(structural=1 / 30), objective, theta, 1)


def test_cases_that_are_drawn_anew() -> None:
    objective, theta = small_rnn(fresh=True)
    reports = train(HessianFree(batch=9, chunks=3, lam=1.0), objective, theta, 10)
    assert reports[-1]["loss"] < 0.5 * reports[0]["loss"]
    assert objective.position == {"gradient": 90, "curvature": 30}
    with pytest.raises(ValueError, match="give the method a batch size"):
        train(HessianFree(), objective, theta, 1)


def test_warm_start_is_the_decayed_last_iterate() -> None:
    seen: list[Tensor] = []

    class RecordingObjective(DenseObjective):
        def curvature(self, *args: Any, **kwargs: Any) -> Any:
            product = super().curvature(*args, **kwargs)
            return lambda v: seen.append(v.clone()) or product(v)

    base, theta = small_mlp()
    objective = RecordingObjective(base.network, base.inputs, base.targets)
    method = HessianFree(decay=0.9, cg_max=6, lam=5.0)
    state = method.init(theta, 0, None)
    for steps in (6, 7, 7):
        last = state.last.clone()
        seen.clear()
        method.step(theta, objective, state)
        assert len(seen) == steps
        assert last.any() == (steps == 7)
        if steps == 7:
            assert torch.equal(seen[0], 0.9 * last)


def test_rho_on_a_small_gradient_batch_is_measured_there() -> None:
    """Between other cases than the gradient's, ρ would mostly see the change of cases."""
    objective, theta = small_mlp()
    start, cases = theta.clone(), objective.next_batch(12)
    chunk = objective.next_batch(6, "curvature")
    objective.position = {"gradient": 0, "curvature": 0}
    method = HessianFree(lam=5.0, l2=0, batch=12, chunks=2, cg_max=5)
    (report,) = train(method, objective, theta, 1)
    p = (theta - start) / report["rate"]
    g = objective.gradient(start, cases)[1].clone()
    q = (g @ p.T + 0.5 * p @ objective.gauss_newton(start, chunk) @ p.T).item()
    change = (objective.loss(start + p, cases) - objective.loss(start, cases)).item()
    assert report["rho"] == pytest.approx(change / q, rel=1e-9)


@pytest.mark.parametrize(
    ("batch", "chunks", "more"), [(0, 4, 2), (0, 1, 0), (12, 4, 0), (12, 1, 0)]
)
def test_every_pass_is_counted_once(batch: int, chunks: int, more: int) -> None:
    """On the gradient batch h is known at θ and at the iterates: ρ costs nothing there."""
    objective, theta = small_mlp()
    method = HessianFree(lam=5.0, cg_max=6, batch=batch, chunks=chunks)
    (report,) = train(method, objective, theta, 1)
    assert objective.calls == {
        "gradient": 1,
        "squared_gradient": 1,
        "linearization": 1,
        "product": report["cg_steps"],
        "loss": report["evaluations"] + more,
    }


def test_batches_and_chunks() -> None:
    objective, theta = small_mlp(cases=24)
    asked: list[tuple[object, str]] = []
    taken = objective.next_batch

    def next_batch(size: Any, stream: Any = "gradient") -> Any:
        asked.append((size, stream))
        return taken(size, stream)

    objective.next_batch = next_batch  # type: ignore[method-assign]
    train(HessianFree(chunks=5), objective, theta.clone(), 2)
    assert asked == [(FULL, "gradient"), (5, "curvature")] * 2
    asked.clear()
    train(HessianFree(batch=8, chunks=3), objective, theta.clone(), 2)
    assert asked == [(8, "gradient"), (3, "curvature")] * 2
    asked.clear()
    train(HessianFree(batch=8, chunks=1), objective, theta.clone(), 2)
    assert asked == [(8, "gradient")] * 2


def test_float32_training_lowers_the_loss() -> None:
    base, theta = small_mlp()
    objective = DenseObjective(base.network, base.inputs.float(), base.targets.float())
    theta = theta.float()
    reports = train(HessianFree(lam=5.0), objective, theta, 15)
    assert theta.dtype == torch.float32
    assert reports[-1]["loss"] < 0.6 * reports[0]["loss"]
    assert all(report["decrease"] >= 0 for report in reports)


@pytest.mark.parametrize("budget", range(1, 24))
def test_a_step_that_the_budget_cuts_short_changes_nothing(budget: int) -> None:
    objective, theta = small_mlp()
    method = HessianFree(lam=5.0, cg_max=6)
    state = method.init(theta, 0, None)
    method.step(theta, objective, state)
    before, saved = theta.clone(), method.state_dict(state)
    objective.budget = objective.calls.total() + budget
    try:
        while True:
            before, saved = theta.clone(), method.state_dict(state)
            method.step(theta, objective, state)
    except BudgetSpent:
        pass
    assert torch.equal(theta, before)
    assert method.state_dict(state)["lam"] == saved["lam"]
    assert torch.equal(method.state_dict(state)["last"], saved["last"])


class Distorted(DenseObjective):
    """Hides the true loss away from the start, or spoils products, as told."""

    bad_loss: float | None = None
    bad_product: float | None = None
    gradients = 0

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        self.start = theta.clone()
        return super().gradient(theta, on)

    def loss(self, theta: Tensor, on: Any) -> Tensor:
        value = super().loss(theta, on)
        if self.bad_loss is None or torch.equal(theta, self.start):
            return value
        return torch.full_like(value, self.bad_loss)

    def curvature(self, *args: Any, **kwargs: Any) -> Any:
        product, bad = super().curvature(*args, **kwargs), self.bad_product
        return product if bad is None else lambda v: product(v).fill_(bad)


def distorted(**kwargs: Any) -> tuple[Distorted, Tensor]:
    base, theta = small_mlp()
    objective = Distorted(base.network, base.inputs, base.targets)
    for name, value in kwargs.items():
        setattr(objective, name, value)
    return objective, theta


@pytest.mark.parametrize("value", [1e6, math.nan, math.inf])
def test_a_rejected_step_leaves_theta_bit_for_bit_and_raises_damping(value: float) -> None:
    objective, theta = distorted(bad_loss=value)
    start = theta.clone()
    method = HessianFree(lam=5.0)
    state = method.init(theta, 0, None)
    report = method.step(theta, objective, state)
    assert torch.equal(theta, start)
    assert (report["rate"], report["decrease"], report["rho"]) == (0.0, 0.0, -math.inf)
    assert report["evaluations"] == report["kept"] + 60
    assert state.lam == 7.5
    assert "stop" not in report


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_product_that_is_not_finite_rejects_the_step(value: float) -> None:
    objective, theta = distorted()
    method = HessianFree(lam=5.0)
    state = method.init(theta, 0, None)
    method.step(theta, objective, state)
    start, lam = theta.clone(), state.lam
    objective.bad_product = value
    report = method.step(theta, objective, state)
    assert torch.equal(theta, start)
    assert (report["rate"], report["rho"], report["kept"]) == (0.0, -math.inf, 0)
    assert state.lam == lam * 1.5
    assert not state.last.any()
    objective.bad_product = None
    assert method.step(theta, objective, state)["rate"] > 0


def test_endless_rejection_ends_with_a_reason() -> None:
    objective, theta = distorted(bad_product=math.nan)
    method = HessianFree(lam=45.0)
    state = method.init(theta, 0, None)
    reports = [method.step(theta, objective, state) for _ in range(60)]
    assert [i for i, report in enumerate(reports) if "stop" in report] == [59]
    assert reports[-1]["stop"] == "The loss cannot be lowered further at this precision."
    assert state.lam == 45e10


def test_zero_gradient_ends_with_a_reason() -> None:
    objective = quadratic(torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    theta = torch.ones(1, 3, dtype=torch.float64)
    (report,) = train(HessianFree(l2=0), objective, theta, 1)
    assert "gradient is zero" in report["stop"]
    assert theta.tolist() == [[1, 1, 1]]
    assert objective.calls == {"gradient": 1}


def test_a_loss_that_is_not_finite_is_reported_and_nothing_moves() -> None:
    objective, theta = small_mlp()
    objective.inputs[0, 0] = math.nan
    start = theta.clone()
    (report,) = train(HessianFree(), objective, theta, 1)
    assert report["loss"].isnan().all()
    assert "stop" not in report
    assert torch.equal(theta, start)


def test_state_round_trip_is_exact_and_owns_its_memory() -> None:
    objective, theta = small_mlp()
    method = HessianFree(lam=5.0, cg_max=9)
    state = method.init(theta, 0, None)
    for _ in range(4):
        method.step(theta, objective, state)
    saved, copy_of_theta, other = (
        method.state_dict(state),
        theta.clone(),
        copy.deepcopy(objective),
    )
    for _ in range(4):
        method.step(theta, objective, state)
    resumed = method.init(copy_of_theta, 0, None)
    method.load_state_dict(resumed, saved)
    for _ in range(4):
        method.step(copy_of_theta, other, resumed)
    assert torch.equal(theta, copy_of_theta)
    assert resumed.lam == state.lam
    assert torch.equal(resumed.last, state.last)


def test_more_than_one_row_is_refused() -> None:
    with pytest.raises(UsageError, match="one trial at a time"):
        HessianFree().init(torch.zeros(2, 4), 0, None)
    with pytest.raises(UsageError, match="one trial at a time"):
        HessianFree().join([HessianFree()])
    assert HessianFree().fleet_key is None
    assert HessianFree().cost_of_a_step is None


@pytest.mark.parametrize(
    "wrong", [{"lam": -1}, {"chunks": 0}, {"decay": 1.5}, {"cg_max": 0}, {"batch": -1}, {"lr": 1}]
)
def test_hyperparameters_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        HessianFree(**wrong)


def test_every_choice_is_a_sentence() -> None:
    assert {"stop rule", "reduction denominator", "line search", "backtracking grid"} <= set(
        HessianFree.choices
    )
    assert all(choice.endswith(".") for choice in HessianFree.choices.values())
