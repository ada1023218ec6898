"""`configure_optimizers`: what it returns trains as in a loop of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)  # fmt: skip

from bench.models.from_module import layout_of
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.recipe.method import with_recipe
from bench.optim.torch.adapter import adapt, of_torch
from bench.optim.torch.configured import Configured, takes_names
from bench.optim.torch.routes import route_of
from tests.optim.torch.test_network import Network, loss_of, made, trained
from tests.optim.torch.test_routes import STEPS, same
from tests.optim.torch.test_wrappers import Bare

Named = Iterable[tuple[str, nn.Parameter]]


def muon_and_adam(named_parameters: Named, budget: int, lr: float = 0.02) -> Any:
    named = dict(named_parameters)
    hidden = [each for name, each in named.items() if name.startswith("hidden") and each.ndim == 2]
    rest = [each for each in named.values() if all(each is not one for one in hidden)]
    optimizers = [Muon(hidden, lr=lr), AdamW(rest, lr=lr / 10)]

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / 5) * (1 - step / budget)

    return optimizers, [LambdaLR(each, rate) for each in optimizers]


def one_cycle(named_parameters: Named, budget: int, lr: float = 0.1) -> Any:
    optimizer = SGD([each for _, each in named_parameters], lr=lr, momentum=0.9)
    return optimizer, OneCycleLR(optimizer, lr, total_steps=budget)


def one(named_parameters: Named, lr: float = 0.1) -> Any:
    return SGD([each for _, each in named_parameters], lr=lr)


def several(named_parameters: Named) -> Any:
    (_, first), *others = named_parameters
    return [SGD([first], lr=0.1), AdamW([each for _, each in others])]


def warm_up_and_cosine(named_parameters: Named, T_max: int) -> Any:  # noqa: N803
    optimizer = AdamW([each for _, each in named_parameters], lr=0.05)
    warm_up, cosine = LinearLR(optimizer, 0.1, 1.0, 4), CosineAnnealingLR(optimizer, T_max)
    return optimizer, SequentialLR(optimizer, [warm_up, cosine], [4])


def configured(function: Callable[..., Any], **given: Any) -> Method:
    return adapt(function, "mine", Configured)("torch", **given)


def own_loop(function: Callable[..., Any], **given: Any) -> Mapping[str, Tensor]:
    module = made(Network)
    named = {name: each for name, each in module.named_parameters() if each.requires_grad}
    optimizers, schedulers = function(named.items(), **given), []
    if isinstance(optimizers, tuple):
        optimizers, schedulers = optimizers
    optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    for number in range(STEPS):
        module.zero_grad()
        loss_of(module, number).backward()
        for each in [*optimizers, *schedulers]:
            each.step()
    return {name: each.detach() for name, each in named.items()}


@pytest.mark.parametrize("stop", [None, 7])
@pytest.mark.parametrize(
    ("function", "told"),
    [
        (muon_and_adam, {"budget": STEPS}),
        (one_cycle, {"budget": STEPS}),
        (warm_up_and_cosine, {"T_max": STEPS}),
        (one, {}),
        (several, {}),
    ],
)
def test_it_trains_as_in_a_loop(function: Any, told: dict[str, int], stop: int | None) -> None:
    same(trained(made(Network), configured(function), STEPS, stop), own_loop(function, **told))


def test_values_are_hyperparameters_and_the_budget_is_none() -> None:
    method = configured(muon_and_adam, lr=0.01)
    assert method.hyperparameters == {"batch": 200, "lr": 0.01}
    assert method.cost_of_a_step == 200
    assert takes_names(muon_and_adam) and not takes_names(SGD) and not takes_names(own_loop)


def plateau(named_parameters: Named) -> Any:
    optimizer = one(named_parameters)
    return optimizer, ReduceLROnPlateau(optimizer)


def of_another(named_parameters: Named) -> Any:
    return one(named_parameters), ExponentialLR(one(named_parameters), 0.9)


def raising(named_parameters: Named) -> Any:
    return SGD([dict(named_parameters)["blocks.0.weight"]])


def twice(named_parameters: Named) -> Any:
    return [one(named_parameters), one(named_parameters)]


def twice_in_another(named_parameters: Named) -> Any:
    parameters = [each for _, each in named_parameters]
    return [SGD(parameters, lr=0.1), Bare(SGD(parameters, lr=0.1))]


def too_few(named_parameters: Named) -> Any:
    return one(list(named_parameters)[:2])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (plateau, "mine gave ReduceLROnPlateau, which needs a metric in each step"),
        (of_another, "mine gave ExponentialLR of an optimizer that it did not give"),
        (raising, "mine makes no optimizer for this network, which has embedding.weight, "),
        (twice, "mine gives embedding.weight, convolution.weight, convolution.bias, norm.weight, "),
        (twice_in_another, "mine gives embedding.weight, convolution.weight, convolution.bias, "),
        (too_few, "mine leaves out convolution.bias, norm.weight, norm.bias, hidden.weight"),
        (lambda named_parameters: 3, "mine gave int for an optimizer. Return an optimizer, ("),
        (lambda named_parameters: [], "mine gave no optimizer"),
        (lambda named_parameters: (one(named_parameters), 3), "mine gave int for a scheduler"),
    ],
)
def test_what_may_not_be_returned(function: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        trained(made(Network), configured(function), 1)
    assert said in str(caught.value)


def refused_budget(method: Method, updates: int | None) -> str:
    bound: Any = method.for_layout(layout_of(made(Network)))
    with pytest.raises(UsageError) as caught:
        bound.check_budget(updates)
    return str(caught.value)


def test_a_budget_that_is_asked_for_must_be_known() -> None:
    assert refused_budget(configured(one_cycle), None) == (
        "mine asks for the number of updates (budget), and this budget does not tell it. Give a "
        "budget in gradients, updates or examples."
    )


def test_a_run_depends_on_its_end_where_the_number_of_updates_is_told() -> None:
    told = [muon_and_adam, one_cycle, warm_up_and_cosine]
    assert {configured(each).anytime_updates(STEPS) for each in told} == {0}
    assert {configured(each).anytime_updates(STEPS) for each in (one, several)} == {math.inf}
    counted = adapt(Counted, "mine")
    assert counted("torch").anytime_updates(STEPS) == 0
    adam = of_torch("torch.optim.AdamW")
    assert adam("torch").anytime_updates(STEPS) == math.inf
    assert route_of([adam, adam], "mine+mine")("torch").anytime_updates(STEPS) == math.inf
    assert route_of([adam, counted], "mine+mine")("torch").anytime_updates(STEPS) == 0


def short_cycle(named_parameters: Named) -> Any:
    optimizer = one(named_parameters)
    return optimizer, OneCycleLR(optimizer, 0.1, total_steps=12)


def test_a_scheduler_that_ends_before_the_budget_is_said() -> None:
    method = configured(short_cycle)
    assert "mine: OneCycleLR ends after 12 updates, and the budget pays for 13." in (
        refused_budget(method, 13)
    )
    with pytest.raises(UsageError, match="OneCycleLR ends before the budget does: Tried to step"):
        trained(made(Network), method, 13)


def short_cosine(named_parameters: Named) -> Any:
    optimizer = one(named_parameters)
    return optimizer, CosineAnnealingLR(optimizer, 12)


def short_sequence(named_parameters: Named) -> Any:
    optimizer = one(named_parameters)
    parts = LinearLR(optimizer, 0.1, 1.0, 4), CosineAnnealingLR(optimizer, 8)
    return optimizer, SequentialLR(optimizer, parts, [4])


def short_polynomial(named_parameters: Named) -> Any:
    optimizer = one(named_parameters)
    parts = [ExponentialLR(optimizer, 0.9), PolynomialLR(optimizer, 12)]
    return optimizer, ChainedScheduler(parts, optimizer)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (short_cosine, "mine: CosineAnnealingLR ends after 12 updates and rises again, and the "),
        (short_sequence, "CosineAnnealingLR ends after 12 updates and rises again, and the budget"),
        (short_polynomial, "PolynomialLR ends after 12 updates and is 0 from then on, and the "),
    ],
)
def test_a_scheduler_that_only_seems_to_go_on_is_said(function: Any, said: str) -> None:
    assert said in refused_budget(configured(function), 13)
    bound: Any = configured(function).for_layout(layout_of(made(Network)))
    bound.check_budget(12)


def test_a_recipe_beside_a_scheduler_is_said() -> None:
    kind = type(configured(one_cycle))
    method = with_recipe(kind, ["lr_schedule"])("torch", lr_schedule="cosine")
    assert "mine brings a scheduler (OneCycleLR), and lr_schedule would be a second one" in (
        refused_budget(method, 13)
    )


class Counted(SGD):
    """Wants the number of updates."""

    def __init__(self, params: Any, num_iterations: int, lr: float = 0.1) -> None:
        if num_iterations < 5:
            raise ValueError("too few iterations")
        self.all, self.made = num_iterations, 0
        super().__init__(params, lr=lr)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = 0.1 * (1 - self.made / self.all)
        self.made += 1
        return super().step()


def test_a_class_that_wants_the_number_of_updates_gets_it() -> None:
    def by_hand(named_parameters: Named) -> Any:
        return Counted([each for _, each in named_parameters], STEPS)

    ours = trained(made(Network), adapt(Counted, "mine")("torch"), STEPS)
    same(ours, own_loop(by_hand))


def test_a_number_of_updates_that_a_class_refuses_is_said() -> None:
    said = refused_budget(adapt(Counted, "mine")("torch"), 3)
    assert "mine cannot be made for 3 updates: ValueError: too few iterations." in said


def test_it_is_no_part_of_a_route() -> None:
    with pytest.raises(UsageError, match="it is given all parameters by name"):
        route_of([adapt(one, "mine", Configured)], "mine+mine")
