import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.optim.hessian_free import MomentumHessianFree
from bench.optim.hessian_free.phases import RECIPES, Annealed, Phase
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import FULL, BudgetSpent
from tests.optim.dense import DenseObjective, quadratic, small_mlp, small_rnn, spectrum

PLAIN: dict[str, object] = {"lam": 0, "l2": 0, "precondition": False, "part": 1}


def train(
    method: MomentumHessianFree, objective: DenseObjective, theta: Tensor, steps: int
) -> list[dict[str, Any]]:
    state = method.init(theta, 0, None)
    return [dict(method.step(theta, objective, state)) for _ in range(steps)]


def oblong(n: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """A Hessian with eigenvalues from 1 to 1e-4, a minimum and a start."""
    return (
        spectrum(torch.logspace(0, -4, n)),
        torch.linspace(-1, 2, n, dtype=torch.float64),
        torch.ones(1, n, dtype=torch.float64),
    )


@pytest.mark.parametrize("mu", [0.5, 0.9, 0.99])
def test_one_cg_step_is_nesterov_with_a_step_size_from_curvature(mu: float) -> None:
    """Section 5: v' = μv − ε r, θ' = θ + v', with r = ∇f(θ + μv) and ε = rᵀr / rᵀHr."""
    hessian, minimum, theta = oblong()
    objective = quadratic(hessian, minimum)
    method = MomentumHessianFree(**PLAIN, decay=mu, cg_steps=1)
    state = method.init(theta, 0, None)
    x, v, a = theta[0].numpy().copy(), np.zeros(20), hessian.numpy()
    for _ in range(120):
        report = method.step(theta, objective, state)
        r = a @ (x + mu * v - minimum.numpy())
        v = mu * v - (r @ r) / (r @ a @ r) * r
        x = x + v
        np.testing.assert_allclose(theta[0].numpy(), x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(state.last[0].numpy(), v, rtol=0, atol=1e-12)
        assert (report["cg_steps"], report["rate"]) == (1, 1.0)
    assert np.abs(x - minimum.numpy()).max() > 1e-3


def test_more_cg_steps_are_better_update_by_update() -> None:
    losses = {}
    for cg_steps in (1, 3, 6):
        hessian, minimum, theta = oblong()
        method = MomentumHessianFree(**PLAIN, decay=0.9, cg_steps=cg_steps)
        losses[cg_steps] = [
            report["loss"].item()
            for report in train(method, quadratic(hessian, minimum), theta, 21)
        ]
    for update in (4, 12, 20):
        assert losses[1][update] > 2 * losses[3][update] > 4 * losses[6][update]


def test_step_is_the_decayed_start_improved_on_the_damped_system() -> None:
    objective, theta = small_mlp()
    method = MomentumHessianFree(lam=3.0, l2=0.01, part=1, decay=0.9, rate=0.5, cg_steps=200)
    state, everything = method.init(theta, 0, None), objective.next_batch(FULL)
    for _ in range(3):
        start, lam = theta.clone(), state.lam
        g = objective.gradient(theta, everything)[1].clone() + 0.01 * theta
        n = g.shape[1]
        undamped = objective.gauss_newton(theta, everything) + 0.01 * torch.eye(n).double()
        loss = objective.loss(theta, everything)
        report = method.step(theta, objective, state)
        p = torch.linalg.solve(undamped + lam * torch.eye(n).double(), -g.T).T
        torch.testing.assert_close(state.last, p, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(theta, start + 0.5 * p, rtol=1e-8, atol=1e-10)
        q = (g @ p.T + 0.5 * p @ undamped @ p.T).item()
        assert report["model_decrease"] == pytest.approx(-q, rel=1e-9)

        def h(at: Tensor) -> float:
            return (objective.loss(at, everything) + 0.005 * at.square().sum()).item()

        assert report["decrease"] == pytest.approx(h(start) - h(start + p), rel=1e-7)
        assert report["rho"] == pytest.approx(-report["decrease"] / q, rel=1e-9)
        assert torch.equal(report["loss"], loss)
        assert (report["lambda"], report["rate"], report["phase"]) == (lam, 0.5, 1)


@pytest.mark.parametrize(
    ("part", "chunks", "evaluations", "drawn"),
    [(1, 1, 1, (0, 0)), (1, 3, 2, (0, 8)), (2, 1, 1, (12, 0)), (2, 3, 1, (12, 4))],
)
def test_every_pass_is_counted_once(
    part: int, chunks: int, evaluations: int, drawn: tuple[int, int]
) -> None:
    objective, theta = small_mlp()
    method = MomentumHessianFree(part=part, chunks=chunks, cg_steps=5)
    (report,) = train(method, objective, theta, 1)
    assert report["cg_steps"] == 5
    assert objective.calls == {
        "gradient": 1, "squared_gradient": 1, "linearization": 1, "product": 5,
        "loss": evaluations,
    }  # fmt: skip
    assert tuple(objective.position.values()) == drawn


@pytest.mark.parametrize("part", [1, 2])
def test_rho_is_measured_on_the_curvature_batch_if_the_gradient_is_on_the_whole_set(
    part: int,
) -> None:
    objective, theta = small_mlp()
    start, cases = theta.clone(), objective.next_batch(24 // part)
    chunk = objective.next_batch(24 // part // 3, "curvature")
    objective.position = {"gradient": 0, "curvature": 0}
    (report,) = train(MomentumHessianFree(l2=0, part=part, chunks=3), objective, theta, 1)
    p, on = theta - start, chunk if part == 1 else cases
    g = objective.gradient(start, cases)[1].clone()
    q = (g @ p.T + 0.5 * p @ objective.gauss_newton(start, chunk) @ p.T).item()
    change = (objective.loss(start + p, on) - objective.loss(start, on)).item()
    assert report["rho"] == pytest.approx(change / q, rel=1e-9)


@pytest.fixture
def recipe() -> MomentumHessianFree:
    """A method of three short phases."""
    phases = (
        Phase(4, 1, 5, decay=0.5, rate=1.0, l2=1e-3, length=20),
        Phase(4, 2, 5, decay=0.8, rate=Annealed(3, 2), l2=1e-3, length=20),
        Phase(1, 1, 8, decay=0.7, rate=0.9, l2=0.0, length=16),
    )
    method = MomentumHessianFree(recipe="curves")
    method.phases = phases
    return method


def test_phases_follow_each_other_by_cg_steps(recipe: MomentumHessianFree) -> None:
    objective, theta = small_mlp()
    reports = train(recipe, objective, theta, 12)
    assert [r["phase"] for r in reports] == [1] * 4 + [2] * 4 + [3] * 4
    assert [r["cg_steps"] for r in reports] == [5] * 8 + [8] * 4
    # Updates t = 4 … 7 of the second phase: 3 / (t − 2), at most 1.
    assert [r["rate"] for r in reports] == [1.0] * 4 + [1.0, 1.0, 0.75, 0.6] + [0.9] * 4
    assert objective.position == {"gradient": 8 * 6, "curvature": 4 * 3}


def test_a_step_that_goes_wrong_counts_like_any_other(
    recipe: MomentumHessianFree,
) -> None:
    objective, theta = small_mlp()
    state = recipe.init(theta, 0, None)
    objective.gauss_newton = lambda *_: torch.full((57, 57), math.nan).double()  # type: ignore
    recipe.step(theta, objective, state)
    assert (state.updates, state.cg_steps) == (1, recipe.phases[0].cg_steps)
    assert state.stalled == 1


def test_state_round_trip_is_exact_in_every_phase(recipe: MomentumHessianFree) -> None:
    for at in (0, 3, 5, 10):
        objective, theta = small_mlp()
        state = recipe.init(theta, 0, None)
        for _ in range(at):
            recipe.step(theta, objective, state)
        saved, other, copied = recipe.state_dict(state), copy.deepcopy(objective), theta.clone()
        resumed = recipe.init(copied, 0, None)
        recipe.load_state_dict(resumed, saved)
        for _ in range(6):
            recipe.step(theta, objective, state)
            recipe.step(copied, other, resumed)
        assert torch.equal(theta, copied)
        a, b = recipe.state_dict(state), recipe.state_dict(resumed)
        assert torch.equal(a.pop("last"), b.pop("last"))
        assert a == b


@pytest.mark.parametrize("budget", range(1, 30, 3))
def test_a_step_that_the_budget_cuts_short_changes_nothing(budget: int) -> None:
    objective, theta = small_mlp()
    method = MomentumHessianFree(part=1, chunks=2, cg_steps=6)
    state = method.init(theta, 0, None)
    objective.budget = budget
    try:
        while True:
            before, saved = theta.clone(), method.state_dict(state)
            method.step(theta, objective, state)
    except BudgetSpent:
        pass
    now = method.state_dict(state)
    assert torch.equal(theta, before)
    assert torch.equal(now.pop("last"), saved.pop("last"))
    assert now == saved


def test_cases_that_are_drawn_anew() -> None:
    objective, theta = small_rnn(fresh=True)
    method = MomentumHessianFree(batch=24, part=2, cg_steps=10, lam=1.0, decay=0.5)
    reports = train(method, objective, theta, 20)
    assert objective.position == {"gradient": 240, "curvature": 0}
    assert reports[-1]["loss"] < 0.5 * reports[0]["loss"]
    with pytest.raises(ValueError, match="give the method a batch size"):
        train(MomentumHessianFree(), objective, theta, 1)


def test_small_batches_lower_the_loss() -> None:
    objective, theta = small_mlp(cases=64)
    everything = objective.next_batch(FULL)
    before = objective.loss(theta, everything)
    method = MomentumHessianFree(part=2, cg_steps=5, lam=10, decay=0.8, rate=0.5)
    train(method, objective, theta, 40)
    assert objective.loss(theta, everything) < 0.7 * before


def test_a_recipe_has_its_own_values() -> None:
    assert MomentumHessianFree(recipe="mnist").phases is RECIPES["mnist"]
    single = MomentumHessianFree(part=3, chunks=2, cg_steps=7, decay=0.9, rate=0.5, l2=0.1)
    assert single.phases == (Phase(3, 2, 7, 0.9, 0.5, 0.1),)
    # Recorded are those of the first phase, and all values make the same method again.
    mnist = MomentumHessianFree(recipe="mnist").hyperparameters
    assert (mnist["part"], mnist["l2"]) == (20, 1e-5)
    assert MomentumHessianFree(**mnist).phases is RECIPES["mnist"]
    recorded = MomentumHessianFree(recipe="curves", length=0.01).hyperparameters
    assert MomentumHessianFree(**recorded).hyperparameters == recorded
    with pytest.raises(UsageError) as caught:
        MomentumHessianFree(recipe="curves", decay=0.9)
    assert str(caught.value) == (
        "hfm: decay=0.9: the recipe curves sets decay for every phase. Leave it out, "
        "or write recipe=single."
    )


@pytest.mark.parametrize(
    "wrong",
    [{"recipe": "faces"}, {"length": 0}, {"rate": 0}, {"rate": 1.5}, {"part": 0}, {"batch": -1}],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        MomentumHessianFree(**wrong)


def test_every_choice_is_a_sentence() -> None:
    assert {"batches", "phases", "rejection", "reduction ratio"} <= set(MomentumHessianFree.choices)
    assert all(choice.endswith(".") for choice in MomentumHessianFree.choices.values())
