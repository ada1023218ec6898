"""The objective that methods see: which cases, at which price, and streamed or in one piece."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.harness.core.seeds import generator
from bench.harness.core.spec import Budget
from bench.harness.training import bound_objective
from bench.harness.training.bound_objective import BoundObjective, evaluate, initial_parameters
from bench.harness.training.case_order import CaseOrder
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.autoencoder import AutoencoderPasses
from bench.models.problem import Data, Problem
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import FULL, BudgetSpent
from tests.models.tiny import ARCHITECTURE, Tiny, padding

CPU = torch.device("cpu")
N = 24
PRODUCT, LOSS = ARCHITECTURE.prices().product, ARCHITECTURE.prices().loss


def bound(
    seeds: list[int],
    amount: float = 1e9,
    currency: str = "gradients",
    problem: Problem | None = None,
) -> tuple[BoundObjective, Account, Tensor]:
    problem = problem or Tiny()
    account = Account(Budget(currency, amount), Clock(CPU))
    data = DeviceData.from_data(Tiny().data(), CPU, torch.float64)
    theta = initial_parameters(problem, seeds, CPU, torch.float64)
    return BoundObjective(problem, data, seeds, account), account, theta


def images() -> Tensor:
    return torch.from_numpy(Tiny().data().train_inputs)


CALLS: dict[str, Callable[[BoundObjective, Tensor, Any], object]] = {
    "loss": lambda o, theta, b: o.loss(theta, b),
    "gradient": lambda o, theta, b: o.gradient(theta, b),
    "squared_gradient": lambda o, theta, b: o.squared_gradient(theta, b),
    "curvature": lambda o, theta, b: o.curvature(theta, b),
    "product": lambda o, theta, b: o.curvature(theta, b)(theta),
    "hessian": lambda o, theta, b: o.hessian(theta, b),
    "hessian_product": lambda o, theta, b: o.hessian(theta, b)[2](theta),
}


@pytest.mark.parametrize("size", [6, FULL])
@pytest.mark.parametrize("seeds", [[0], [0, 0, 0], [0, 1, 2]], ids=str)
@pytest.mark.parametrize(
    ("call", "gradients", "examples", "products"),
    [
        ("loss", LOSS, 1, 0),
        ("gradient", 1, 1, 0),
        ("squared_gradient", 1, 1, 0),
        ("curvature", LOSS, 1, 0),
        ("product", LOSS + PRODUCT, 2, 1),
        ("hessian", 1, 1, 0),
        ("hessian_product", 1 + ARCHITECTURE.prices().hessian_product, 2, 1),
    ],
)
def test_every_call_is_charged_at_its_price(
    call: str, gradients: float, examples: int, products: int, seeds: list[int], size: Any
) -> None:
    """A row's price: K rows cost each of the K trials what one costs."""
    objective, account, theta = bound(seeds)
    batch = objective.next_batch(size)
    cases = N if size is FULL else size
    assert batch.cases == cases
    assert account.gradients == 0
    for times in (1, 2):
        CALLS[call](objective, theta, batch)
        assert account.gradients == pytest.approx(times * gradients * cases, rel=1e-12)
        assert account.examples == times * examples * cases
        assert account.products == times * products


def test_the_parts_of_a_gradient_are_new_tensors_with_torchs_shapes() -> None:
    objective, account, theta = bound([0])
    batch = objective.next_batch(6)
    loss, gradient = objective.gradient(theta, batch)
    expected = [each.clone() for each in Tiny().layout.parameters(gradient[0]).values()]
    spent = account.gradients
    again, parts = objective.gradient_parts(theta, batch)
    assert torch.equal(again, loss)
    assert account.gradients == 2 * spent
    for part, each in zip(parts, expected, strict=True):
        assert torch.equal(part, each)
        assert part.is_contiguous()
        part.fill_(math.nan)
    assert torch.equal(objective.gradient(theta, batch)[1], gradient)


@pytest.mark.parametrize("currency", ["gradients", "examples"])
def test_the_share_spent_is_that_of_the_budget(currency: str) -> None:
    objective, _, theta = bound([0], amount=24, currency=currency)
    assert objective.spent == 0
    objective.gradient(theta, objective.next_batch(6))
    assert objective.spent == 0.25


def test_the_share_spent_in_seconds_is_the_clocks() -> None:
    objective, account, _ = bound([0], amount=10, currency="seconds")
    account.clock.restore(4.0)
    assert objective.spent == 0.4
    account.clock.restore(40.0)
    assert objective.spent == 1


def test_each_product_is_charged_when_it_is_made() -> None:
    objective, account, theta = bound([0])
    product = objective.curvature(theta, objective.next_batch(12))
    for count in range(4):
        assert account.products == count
        assert account.gradients == pytest.approx(12 * LOSS + 12 * PRODUCT * count)
        product(theta)


class Refusing:
    """Passes that must not be run."""

    prices = ARCHITECTURE.prices()

    def refuse(self, *_: object) -> Any:
        raise AssertionError("this was computed although it cannot be paid")

    logits = loss = gradient = squared_gradient = curvature = refuse


class Unpaid(Tiny):
    logits = Refusing.refuse

    def passes(self) -> Any:
        return Refusing()


@pytest.mark.parametrize("call", ["loss", "gradient", "squared_gradient", "curvature", "hessian"])
@pytest.mark.parametrize("size", [6, FULL])
def test_what_cannot_be_paid_is_not_computed(call: str, size: Any) -> None:
    objective, account, theta = bound([0], amount=1.9, problem=Unpaid())
    batch = objective.next_batch(size)
    with pytest.raises(BudgetSpent):
        CALLS[call](objective, theta, batch)
    assert (account.gradients, account.examples) == (0, 0)


def test_a_product_that_cannot_be_paid_is_not_computed() -> None:
    objective, account, theta = bound([0], amount=6 * LOSS + 6 * PRODUCT * 1.5)
    product = objective.curvature(theta, objective.next_batch(6))
    product(theta)
    spent = account.gradients
    with pytest.raises(BudgetSpent):
        product(torch.full_like(theta, torch.nan))
    assert (account.gradients, account.products) == (spent, 1)


@pytest.mark.parametrize("call", CALLS)
def test_a_pass_beyond_a_budget_in_examples_is_refused(call: str) -> None:
    objective, account, theta = bound([0], amount=20, currency="examples")
    objective.gradient(theta, objective.next_batch(6))
    CALLS[call](objective, theta, objective.next_batch(7))
    spent = account.examples
    with pytest.raises(BudgetSpent):
        CALLS[call](objective, theta, objective.next_batch(8))
    assert account.examples in (spent, 20)


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]], ids=str)
@pytest.mark.parametrize("size", [FULL, 17])
def test_slices_equal_one_piece(
    by_hand: bool, seeds: list[int], size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything() -> list[Tensor]:
        objective, account, theta = bound(seeds, problem=Tiny(by_hand=by_hand))
        batch = objective.next_batch(size)
        value, gradient = objective.gradient(theta, batch)
        gradient = gradient.clone()
        # A second gradient must not be the sum of both.
        assert torch.equal(objective.gradient(theta, batch)[1], gradient)
        product = objective.curvature(theta, batch)
        v = torch.randn(theta.shape, generator=torch.Generator().manual_seed(1)).double()
        again, slope, twice = objective.hessian(theta, batch)
        return [
            value,
            gradient,
            objective.loss(theta, batch),
            objective.squared_gradient(theta, batch),
            product(v).clone(),
            product(2 * v).clone(),
            again,
            slope.clone(),
            twice(v).clone(),
            twice(2 * v),
            torch.tensor([account.gradients, account.examples, account.products]),
        ]

    whole = everything()
    monkeypatch.setattr(bound_objective, "SLICE_CASES", 7)
    parts = everything()
    for one, other in zip(whole, parts, strict=True):
        assert (one - other).abs().max() <= 1e-12 * one.abs().max()


def test_the_hessian_comes_with_the_gradient_of_its_batch() -> None:
    objective, _, theta = bound([0, 1])
    batch = objective.next_batch(6)
    value, gradient = (each.clone() for each in objective.gradient(theta, batch))
    found, slope, product = objective.hessian(theta, batch)
    torch.testing.assert_close(found, value, rtol=1e-13, atol=0)
    torch.testing.assert_close(slope, gradient, rtol=1e-11, atol=1e-13)
    v = torch.where(padding(Tiny()), 0.0, torch.linspace(-1, 1, theta.shape[1]).double())
    away = 1e-5 * v.expand_as(theta)
    ends = [objective.gradient(theta + s * away, batch)[1].clone() for s in (1, -1)]
    expected = (ends[0] - ends[1]) / 2e-5
    assert (product(v.repeat(2, 1)) - expected).norm() <= 1e-7 * expected.norm()


def test_slices_cover_every_case_once() -> None:
    train = DeviceData.from_data(Tiny().data(), CPU, torch.float64).train
    parts = list(train.slices(7))
    assert [part.cases for part, _ in parts] == [7, 7, 7, 3]
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part.inputs for part, _ in parts], 1), train.inputs)


def test_the_gradient_memory_is_reused_and_its_padding_stays_zero() -> None:
    objective, _, theta = bound([0, 1])
    batch = objective.next_batch(5)
    _, one = objective.gradient(theta, batch)
    _, two = objective.gradient(2 * theta, batch)
    assert one.data_ptr() == two.data_ptr()
    assert not two[:, padding(Tiny())].any()


def test_full_is_the_training_set_in_its_own_order() -> None:
    objective, _, _ = bound([0, 1])
    batch = objective.next_batch(FULL)
    assert torch.equal(batch.inputs[0], images())
    assert objective.batches.positions() == {}


@pytest.mark.parametrize("stream", ["gradient", "curvature"])
def test_a_batch_is_what_the_order_of_its_seed_says(stream: Any) -> None:
    seeds = [5, 3, 5]
    objective, _, _ = bound(seeds)
    orders = [CaseOrder(N, seed, stream) for seed in seeds]
    for size in (7, 20, 1):
        batch = objective.next_batch(size, stream)
        expected = torch.stack([images()[order.take(size)] for order in orders])
        assert torch.equal(batch.inputs, expected)
        # Targets that are the inputs are gathered once.
        assert batch.targets is batch.inputs
    assert torch.equal(batch.inputs[0], batch.inputs[2])
    assert objective.batches.positions() == {stream: [28, 28, 28]}


def test_rows_of_one_seed_share_their_cases() -> None:
    shared, _, _ = bound([5, 5, 5])
    alone, _, _ = bound([5])
    batch = shared.next_batch(9)
    assert batch.inputs.shape == (1, 9, 12)
    assert torch.equal(batch.inputs, alone.next_batch(9).inputs)


def test_shared_cases_and_repeated_cases_give_the_same() -> None:
    """[5, 5] gathers once, [5, 5, 6] a row at a time."""
    shared, _, theta = bound([5, 5])
    apart, _, more = bound([5, 5, 6])
    theta[1] *= 0.5
    more[:2] = theta
    loss, gradient = shared.gradient(theta, shared.next_batch(9))
    losses, gradients = apart.gradient(more, apart.next_batch(9))
    torch.testing.assert_close(losses[:2], loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[:2], gradient, rtol=1e-12, atol=1e-14)


def test_streams_do_not_shift_each_other() -> None:
    plain, _, _ = bound([0])
    busy, _, _ = bound([0])
    for _ in range(5):
        busy.next_batch(11, "curvature")
        assert torch.equal(plain.next_batch(4).inputs, busy.next_batch(4).inputs)


def test_targets_of_their_own_are_gathered_with_their_inputs() -> None:
    data = Data(
        name="numbered",
        digest="0" * 64,
        train_inputs=np.arange(24.0).repeat(12).reshape(24, 12),
        test_inputs=np.zeros((2, 12)),
        train_targets=-np.arange(24.0).reshape(24, 1),
        test_targets=np.zeros((2, 1)),
    )
    account = Account(Budget("gradients", 1.0), Clock(CPU))
    put = DeviceData.from_data(data, CPU, torch.float64)
    batch = BoundObjective(Tiny(), put, [0, 1], account).next_batch(10)
    assert torch.equal(batch.targets[..., 0], -batch.inputs[..., 0])
    assert batch.targets.shape == (2, 10, 1)


def drawing(seeds: list[int]) -> BoundObjective:
    """On a problem whose training cases are drawn anew; a target is the sum of its inputs."""
    data = Tiny().data()

    def draw(rng: np.random.Generator, cases: int) -> tuple[np.ndarray, np.ndarray]:
        values = rng.random((cases, 12))
        return values, values.sum(1, keepdims=True)

    put = DeviceData.from_data(replace(data, draw=draw), CPU, torch.float64)
    return BoundObjective(Tiny(), put, seeds, Account(Budget("gradients", 1.0), Clock(CPU)))


def test_cases_drawn_anew_never_come_again() -> None:
    objective = drawing([0, 1, 0])
    batches = [objective.next_batch(6, stream) for stream in ("gradient", "curvature") * 3]
    for batch in batches:
        assert batch.inputs.shape == (3, 6, 12)
        torch.testing.assert_close(batch.inputs.sum(2, keepdim=True), batch.targets)
        assert torch.equal(batch.inputs[0], batch.inputs[2])
    rows = torch.cat([batch.inputs[:2].flatten(0, 1) for batch in batches])
    assert len(rows.unique(dim=0)) == 2 * 6 * 6
    assert torch.equal(drawing([0]).next_batch(6).inputs[0], batches[0].inputs[0])


def test_cases_drawn_anew_have_no_whole_set() -> None:
    with pytest.raises(UsageError, match="tiny draws new training cases.*batch=1000"):
        drawing([0]).next_batch(FULL)


@pytest.mark.parametrize("by_hand", [True, False])
def test_structural_damping_without_hidden_state_over_time_is_refused(by_hand: bool) -> None:
    data = DeviceData.from_data(Tiny().data(), CPU, torch.float64)
    account = Account(Budget("updates", 1.0), Clock(CPU))
    objective = BoundObjective(Tiny(by_hand=by_hand), data, [0], account)
    theta = initial_parameters(Tiny(), [0], CPU, torch.float64)
    with pytest.raises(UsageError, match=r"no hidden state over time.*write structural=0\.$"):
        objective.curvature(theta, objective.next_batch(4), structural=0.1)


@pytest.mark.parametrize("fresh", [False, True])
def test_streams_are_put_back_where_they_were(fresh: bool) -> None:
    def begin() -> BoundObjective:
        return drawing([0, 1]) if fresh else bound([0, 1])[0]

    first = begin()
    first.next_batch(10)
    first.next_batch(31, "curvature")
    saved = first.batches.positions()
    later = [first.next_batch(7, stream).inputs for stream in ("gradient", "curvature")]
    other = begin()
    other.next_batch(3)
    other.batches.restore_positions(saved)
    assert other.batches.positions() == saved
    again = [other.next_batch(7, stream).inputs for stream in ("gradient", "curvature")]
    assert all(torch.equal(a, b) for a, b in zip(later, again, strict=True))


def test_data_on_the_device_is_a_copy_in_the_type_asked_for() -> None:
    data = Tiny().data()
    put = DeviceData.from_data(data, CPU, torch.float32)
    assert put.train.inputs.dtype == torch.float32
    assert put.train.targets is put.train.inputs
    put.train.inputs.zero_()
    assert data.train_inputs.any()


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    problem = Tiny()
    theta = initial_parameters(problem, [4, 0, 4], CPU, torch.float64)
    assert torch.equal(theta[0], theta[2])
    assert not torch.equal(theta[0], theta[1])
    for row, seed in zip(theta, [4, 0, 4], strict=True):
        assert torch.equal(row, problem.initialize(generator(seed, "initialization")))
    assert initial_parameters(problem, [0], CPU, torch.float32).dtype == torch.float32
    theta[0].zero_()
    assert theta[2].any()


@pytest.mark.parametrize("piece", [7, 100])
def test_evaluation_is_over_the_whole_set_and_charges_nobody(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound_objective, "evaluation_slice", lambda rows: piece)
    problem, x = Tiny(), images()
    theta = initial_parameters(problem, [0, 1], CPU, torch.float64)
    train = DeviceData.from_data(problem.data(), CPU, torch.float64).train
    metric, loss = evaluate(problem, theta, train)
    for k in range(2):
        z = problem.logits(problem.layout.views(theta[k]), x)
        error = (torch.sigmoid(z) - x).square().sum(1).mean()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(z, x, reduction="sum")
        assert metric[k].item() == pytest.approx(error.item(), rel=1e-12)
        assert loss[k].item() == pytest.approx(entropy.item() / N, rel=1e-12)


def test_losses_are_summed_in_float64_in_a_float32_run() -> None:
    problem = Tiny()
    theta = initial_parameters(problem, [0], CPU, torch.float32)
    data = DeviceData.from_data(problem.data(), CPU, torch.float32)
    objective = BoundObjective(problem, data, [0], Account(Budget("updates", 1), Clock(CPU)))
    batch = objective.next_batch(8)
    value, gradient = objective.gradient(theta, batch)
    assert gradient.dtype == torch.float32
    assert value.dtype == objective.loss(theta, batch).dtype == torch.float64
    assert evaluate(problem, theta, data.test)[0].dtype == torch.float64
    assert isinstance(problem.passes(), AutoencoderPasses)
