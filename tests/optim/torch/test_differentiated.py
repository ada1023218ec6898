"""Optimizers that differentiate the gradient again train as in a loop with create_graph=True."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.harness.check.observed_trial import CPU, ObservedTrial
from bench.harness.check.small_problems import Network
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.harness.training.ledger import Account, Clock
from bench.models.prices import prices_of
from bench.models.problem import DataSource, Problem
from bench.optim import resolve
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import BudgetSpent, Method
from bench.optim.torch.adapter import TorchMethod, adapt
from bench.optim.torch.configured import Configured
from tests.harness.training.test_memory import Quiet
from tests.laws.runs import Run
from tests.models.tiny import Tiny

STEPS, WITHIN, BATCH = 12, 1e-10, 8


class Curved(torch.optim.Optimizer):
    """θ ← θ − lr g / (|z ⊙ Hz| + 1), by `grads` of all parameters or one after another."""

    create_graph = False

    def __init__(self, params: Any, lr: float = 0.1, together: bool = True) -> None:
        super().__init__(params, {"lr": lr})
        self.together = together

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        own = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in own]
        zs = [torch.randn_like(p) for p in own]
        if self.together:
            hz = torch.autograd.grad(grads, own, zs, create_graph=self.create_graph)
        else:
            some = [([g], [p], [z]) for g, p, z in zip(grads, own, zs, strict=True)]
            hz = [torch.autograd.grad(*each, retain_graph=True)[0] for each in some]  # type: ignore
        for p, z, each in zip(own, zs, hz, strict=True):
            p.sub_(p.grad / ((z * each).abs() + 1), alpha=self.param_groups[0]["lr"])


class Lavish(Curved):
    """Lets products have a graph that nobody needs."""

    create_graph = True


class ByClosure(Curved):
    """Takes the gradient itself."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure()
        super().step()
        return loss


def in_a_loop(run: Run, make: Callable[[list[nn.Parameter]], Any]) -> Tensor:
    """Return θ after as many steps of plain torch, on the same batches."""
    problem = run.problem
    theta = initial_parameters(problem, [0], CPU, torch.float64)
    views = problem.layout.parameters(theta[0])
    own = {name: nn.Parameter(view.contiguous().clone()) for name, view in views.items()}
    optimizer = make(list(own.values()))
    for batch, inputs, targets in run.objective.batches:
        del batch

        def closure(inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
            optimizer.zero_grad()
            turned = problem.layout.transposed
            params = {name: (p.mT if name in turned else p)[None] for name, p in own.items()}
            z = problem.logits(params, inputs)
            loss = problem.loss.per_case(z, targets).mean()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss.backward(create_graph=True)  # type: ignore[no-untyped-call]
            return loss

        if isinstance(optimizer, ByClosure):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        for p in own.values():
            p.grad = None
    for name, view in problem.layout.parameters(theta[0]).items():
        view.copy_(own[name].detach())
    return theta


def train(method: Method, problem: Problem, steps: int = STEPS) -> Run:
    run = Run(method.for_layout(problem.layout), problem)
    torch.manual_seed(1)
    return run.step(steps)


def po(name: str, **given: Any) -> Callable[[list[nn.Parameter]], Any]:
    import pytorch_optimizer

    return lambda own: getattr(pytorch_optimizer, name)(own, **given)


LOOPS: dict[str, tuple[str, Callable[[list[nn.Parameter]], Any], list[int]]] = {
    "AdaHessian": (
        "pytorch_optimizer:AdaHessian[lr=0.02]", po("AdaHessian", lr=0.02), [1] * STEPS
    ),
    "several samples": (
        "pytorch_optimizer:AdaHessian[lr=0.02,num_samples=3,update_period=2]",
        po("AdaHessian", lr=0.02, num_samples=3, update_period=2),
        [3, 0] * (STEPS // 2),
    ),
    "SophiaH": (
        "pytorch_optimizer:SophiaH[update_period=5,weight_decay=0.1]",
        po("SophiaH", update_period=5, weight_decay=0.1),
        [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    ),
    "values for a part": (
        "pytorch_optimizer:AdaHessian[lr=0.02,weight_decay=0.1,weight_decay.vectors=0]",
        lambda own: po("AdaHessian", lr=0.02)(
            [
                {"params": [p for p in own if p.dim() > 1], "weight_decay": 0.1},
                {"params": [p for p in own if p.dim() < 2], "weight_decay": 0.0},
            ]
        ),
        [1] * STEPS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_it_trains_as_in_a_loop(name: str) -> None:
    text, make, products = LOOPS[name]
    method = resolve(text.replace("[", f"[batch={BATCH},"))
    with torch.random.fork_rng(devices=[]):
        run = train(method, Tiny())
        torch.manual_seed(1)
        expected = in_a_loop(run, make)
    moved = (expected - initial_parameters(run.problem, [0], CPU, torch.float64)).abs().max()
    assert (run.theta - expected).abs().max() <= WITHIN * moved
    assert run.objective.products == sum(products)
    assert method.cost_of_a_step is None and method.hessian_part == 1


@pytest.mark.parametrize("kind", [Curved, ByClosure, Lavish])
@pytest.mark.parametrize("together", [True, False])
def test_products_may_be_asked_for_all_parameters_or_one_by_one(
    kind: type[Curved], together: bool
) -> None:
    method = adapt(kind, "own")("torch", batch=BATCH, together=together)
    with torch.random.fork_rng(devices=[]):
        run = train(method, Tiny())
        torch.manual_seed(1)
        expected = in_a_loop(run, lambda own: kind(own, together=together))
    assert (run.theta - expected).abs().max() <= WITHIN * expected.abs().max()
    assert run.objective.products == STEPS * (1 if together else len(Tiny().layout.shapes))


def test_every_product_is_charged() -> None:
    trial = ObservedTrial(resolve("pytorch_optimizer:SophiaH[batch=6,update_period=3]"), Network())
    trial.step(6)
    train = trial.data.train
    price = prices_of(trial.problem, trial.problem.passes(), train.inputs, train.targets)
    assert price.hessian == 1
    with_product = 6 * (1 + price.hessian_product)
    assert trial.costs == pytest.approx([with_product, 6, 6, with_product, 6, 6], rel=1e-12)
    assert trial.account.products == 2
    assert trial.account.examples == 6 * 6 + 2 * 6


@pytest.mark.parametrize("amount", [6 * 3.5, 6 * 3.2])
def test_a_product_that_the_budget_cannot_pay_ends_the_trial(amount: float) -> None:
    """BudgetSpent goes through torch's backward pass, and of that step nothing stays."""
    problem, method = Network(), resolve("pytorch_optimizer:AdaHessian[batch=6]")
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, torch.float64)
    fleet = Fleet(problem, data, method, [0], Budget("gradients", amount), 2)
    trial = ObservedTrial(method, problem).step(1)
    fleet.run(Quiet())
    assert fleet.account.updates == 1
    assert fleet.account.gradients <= amount
    expected = initial_parameters(problem, [0], CPU, torch.float64)
    assert not torch.equal(fleet.theta, expected)
    assert trial.costs[0] < amount


class Impatient(Curved):
    """Moves the parameters before it differentiates the gradient there."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(0.9)
        super().step()


class Thrice(Curved):
    """Wants third derivatives."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        own = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in own]
        hz = torch.autograd.grad(grads, own, [g.detach() for g in grads], create_graph=True)
        if any(each.requires_grad for each in hz):
            torch.autograd.grad(hz, own, [g.detach() for g in grads], allow_unused=True)
        super().step()


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Impatient, "modified by an inplace operation"), (Thrice, "no third derivatives")],
)
def test_what_a_loop_would_refuse_is_refused_before_anything_runs(kind: Any, told: str) -> None:
    method = adapt(kind, "own")("torch")
    with pytest.raises(UsageError, match=f"own cannot train this network: .*{told}"):
        method.for_layout(Tiny().layout)


def test_nothing_of_a_trial_stays() -> None:
    """A gradient with a graph and its parameter would hold each other for ever."""
    trial = ObservedTrial(resolve("pytorch_optimizer:AdaHessian[batch=6]"), Network()).step(3)
    gone = [weakref.ref(p) for p in trial.state.parameters.named.values()]
    assert not any(p.grad.requires_grad for p in trial.state.parameters.named.values())
    del trial
    gc.collect()
    assert not any(each() is not None for each in gone)


def test_nothing_stays_where_the_budget_ends_a_step() -> None:
    trial = ObservedTrial(resolve("pytorch_optimizer:AdaHessian[batch=6]"), Network())
    trial.account = Account(Budget("gradients", 8), Clock(CPU))
    trial.objective._account = trial.account
    with pytest.raises(BudgetSpent):
        trial.step(1)
    assert not any(p.grad.requires_grad for p in trial.state.parameters.named.values())


def configure_optimizers(named_parameters: Any, lr: float = 0.02) -> Any:
    own = dict(named_parameters)
    matrices = [p for p in own.values() if p.dim() > 1]
    others = [p for p in own.values() if p.dim() < 2]
    return [po("AdaHessian", lr=lr)(matrices), torch.optim.AdamW(others, lr=lr)]


def test_it_may_be_a_part_of_a_route_or_of_several() -> None:
    """Products go to all parameters, and are those of the part where the others' z are 0."""
    route = resolve(
        f"pytorch_optimizer:AdaHessian[on=matrices,lr=0.02,batch={BATCH}]"
        "+torch.optim.AdamW[on=rest,lr=0.02]"
    )
    several = adapt(configure_optimizers, "own:f", Configured)("torch", batch=BATCH)
    assert isinstance(route, TorchMethod)
    with torch.random.fork_rng(devices=[]):
        first, second = train(route, Tiny()), train(several, Tiny())
        torch.manual_seed(1)
        expected = in_a_loop(
            first,
            lambda own: _Both(configure_optimizers(list(enumerate(own)))),
        )
    assert torch.equal(first.theta, second.theta)
    assert (first.theta - expected).abs().max() <= WITHIN * expected.abs().max()
    assert first.objective.products == STEPS
    assert first.method.cost_of_a_step is None


class _Both:
    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers

    def zero_grad(self) -> None:
        for each in self.optimizers:
            each.zero_grad()

    def step(self) -> None:
        for each in self.optimizers:
            each.step()
