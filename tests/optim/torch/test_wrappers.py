"""Optimizers that are made of another one train as in a loop of one's own, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from bench.optim import resolve
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.recipe.method import RecipeMethod
from bench.optim.torch.adapter import TorchMethod, adapt
from tests.models.tiny import Tiny
from tests.optim.moving import MovingObjective, start
from tests.optim.torch.test_differentiated import train

STEPS = 25


def lookahead(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.Lookahead(torch.optim.AdamW(parameters, lr=lr))


def slow_product(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    """NAdam has a product of type float32, whatever the type of θ."""
    return pytorch_optimizer.Lookahead(torch.optim.NAdam(parameters, lr=lr))


def orthogonal(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.OrthoGrad(torch.optim.AdamW(parameters, lr=lr))


def schedule_free(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return pytorch_optimizer.ScheduleFreeWrapper(torch.optim.SGD(parameters, lr=lr))


def trac(parameters: list[nn.Parameter], lr: float = 0.1) -> Any:
    return pytorch_optimizer.TRAC(torch.optim.AdamW(parameters, lr=lr))


def sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)


def look_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.LookSAM(parameters, torch.optim.SGD, rho=rho, k=3, lr=lr)


def friendly_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.FriendlySAM(parameters, torch.optim.AdamW, rho=rho, lr=lr)


def bayesian_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.BSAM(parameters, num_data=10_000, lr=lr, rho=rho)


def weighted_sam(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Any:
    return pytorch_optimizer.WSAM(nn.Module(), parameters, torch.optim.SGD, rho=rho, lr=lr)


class Bare(torch.optim.Optimizer):
    """A wrapper that has neither groups nor a state of its own."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner = inner

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict()}

    def load_state_dict(self, state_dict: Any) -> None:
        self.inner.load_state_dict(state_dict["inner"])


def bare(parameters: list[nn.Parameter], lr: float = 0.05) -> Any:
    return Bare(torch.optim.NAdam(parameters, lr=lr))


BY_GRADIENT = (lookahead, slow_product, orthogonal, schedule_free, trac)
BESIDES = (sam, look_sam, friendly_sam, bayesian_sam)
"""These use the gradient from before the step, and evaluate the closure in it."""
BY_CLOSURE = (weighted_sam, bare)
EVERY = (*BY_GRADIENT, *BESIDES, *BY_CLOSURE)


def method_of(factory: Any) -> Method:
    return adapt(factory, factory.__name__)("torch")


def trained(method: Method, steps: int = STEPS) -> Tensor:
    theta, objective = start(), MovingObjective()
    state = method.init(theta, 0, steps)
    with torch.no_grad():
        for _ in range(steps):
            method.step(theta, objective, state)
    return theta


def own_loop(factory: Any, steps: int = STEPS) -> Tensor:
    parameter, objective = nn.Parameter(start()), MovingObjective()
    made = factory([parameter])
    if hasattr(made, "train"):
        made.train()
    for t in range(steps):

        def closure(t: int = t) -> Tensor:
            parameter.grad = objective.at(t)(parameter.detach())
            return torch.zeros(())

        closure()
        made.step(closure) if factory in (*BESIDES, *BY_CLOSURE) else made.step()
    return parameter.detach()


@pytest.mark.parametrize("factory", EVERY)
def test_training_is_that_of_a_loop_of_ones_own(factory: Any) -> None:
    # One of them draws.
    torch.manual_seed(0)
    found = trained(method_of(factory))
    assert not torch.equal(found, start())
    torch.manual_seed(0)
    assert torch.equal(found, own_loop(factory))


@pytest.mark.parametrize("factory", EVERY)
def test_what_a_step_needs_is_found(factory: Any) -> None:
    method = method_of(factory)
    assert isinstance(method, TorchMethod)
    manner = method.manner
    assert manner.besides == (factory in BESIDES)
    # A step that evaluates the network twice has no fixed cost.
    once = factory not in (*BESIDES, weighted_sam)
    assert manner.once == once
    assert method.cost_of_a_step == (200.0 if once else None)


def test_the_size_of_the_state_is_that_of_all_optimizers_together() -> None:
    sizes = {factory: adapt(factory, "own")("torch").manner.held for factory in EVERY}  # type: ignore[attr-defined]
    assert sizes[lookahead] == 3
    assert sizes[bare] == 2
    # Its state is that of the inner one, and counts once.
    assert sizes[orthogonal] == 2
    assert sizes[sam] == 0


@pytest.mark.parametrize("factory", EVERY)
def test_a_run_goes_on_from_a_saved_state(factory: Any) -> None:
    method, objective, theta = method_of(factory), MovingObjective(), start()
    with torch.no_grad():
        torch.manual_seed(0)
        state = method.init(theta, 0, None)
        for _ in range(8):
            method.step(theta, objective, state)
        saved, at, other = method.state_dict(state), theta.clone(), MovingObjective()
        other.batches = 8
        again = method.init(at, 0, None)
        method.load_state_dict(again, saved)
        for which, where, made in ((objective, theta, state), (other, at, again)):
            torch.manual_seed(1)
            for _ in range(8):
                method.step(where, which, made)
    assert torch.equal(at, theta)


class Replacing(Bare):
    """Puts another parameter into the group of the optimizer that it wraps."""

    def step(self, closure: Any = None) -> Any:
        (group,) = self.inner.param_groups
        group["params"] = [nn.Parameter(each.detach() + 1) for each in group["params"]]


def test_a_parameter_that_the_inner_one_loses_is_noticed() -> None:
    with pytest.raises(UsageError, match="puts other tensors into its param_groups"):
        adapt(lambda parameters: Replacing(torch.optim.SGD(parameters)), "own")("torch")


# On the command line: Outer(Inner)


SPELLED = {
    "pytorch_optimizer:Lookahead(torch.optim.AdamW)[inner.lr=0.05]": lookahead,
    "pytorch_optimizer:Lookahead(torch.optim.NAdam)[inner.lr=0.05]": slow_product,
    "pytorch_optimizer:OrthoGrad(torch.optim.AdamW)[inner.lr=0.05]": orthogonal,
    "pytorch_optimizer:ScheduleFreeWrapper(torch.optim.SGD)[inner.lr=0.05]": schedule_free,
    "pytorch_optimizer:TRAC(torch.optim.AdamW)[inner.lr=0.1]": trac,
    "pytorch_optimizer:SAM(torch.optim.SGD)[inner.lr=0.05,rho=0.05]": sam,
    "pytorch_optimizer:LookSAM(torch.optim.SGD)[inner.lr=0.05,rho=0.05,k=3]": look_sam,
    "pytorch_optimizer:FriendlySAM(torch.optim.AdamW)[inner.lr=0.05,rho=0.05]": friendly_sam,
    f"{__name__}:Bare(torch.optim.NAdam)[inner.lr=0.05]": bare,
}


@pytest.mark.parametrize("text", SPELLED)
def test_what_is_spelled_trains_as_what_a_function_makes(text: str) -> None:
    torch.manual_seed(0)
    found = trained(resolve(text))
    torch.manual_seed(0)
    assert torch.equal(found, trained(method_of(SPELLED[text])))
    assert not torch.equal(found, start())


@pytest.mark.parametrize("text", SPELLED)
def test_it_needs_and_costs_what_the_other_does(text: str) -> None:
    method, other = resolve(text), method_of(SPELLED[text])
    assert isinstance(method, TorchMethod) and isinstance(other, TorchMethod)
    assert method.manner == other.manner
    assert method.cost_of_a_step == other.cost_of_a_step
    layout = Tiny().layout
    assert method.for_layout(layout).vectors == other.for_layout(layout).vectors


class Plain(torch.optim.Optimizer):
    """An optimizer's class and values, without annotations."""

    def __init__(self, params, base_optimizer, scale=2.0, eps=1e-3, **kwargs):  # type: ignore
        super().__init__(params, {"scale": scale})
        self.inner = base_optimizer(self.param_groups, **kwargs)
        self.param_groups, self.eps = self.inner.param_groups, eps

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for each in group["params"]:
                each.grad.mul_(group["scale"])
        return self.inner.step()


class Unannotated(Bare):
    def __init__(self, optimizer, strength=1.0):  # type: ignore[no-untyped-def]
        super().__init__(optimizer)
        self.strength = strength


class Untold(Bare):
    """It takes a class, and tells it nothing."""

    def __init__(self, params: Any, base_optimizer: type[torch.optim.Optimizer]) -> None:
        super().__init__(base_optimizer(params))


def around(optimizer, lr=0.1):  # type: ignore[no-untyped-def]
    """A function that takes an optimizer."""
    return Bare(optimizer)


def names_of(text: str) -> list[str]:
    return [name for name in resolve(text).hyperparameters if name != "batch"]


def test_a_signature_without_annotations_is_read_by_its_names() -> None:
    own = f"{__name__}:Plain(torch.optim.Adam)"
    # What the outer one takes itself never reaches the inner one.
    assert names_of(own)[:3] == ["scale", "eps", "inner.lr"] and "inner.eps" not in names_of(own)
    doubled = trained(resolve(f"{__name__}:Plain(torch.optim.SGD)[inner.lr=0.05]"))
    assert torch.equal(doubled, trained(resolve("torch.optim.SGD[lr=0.1]")))
    assert names_of(f"{__name__}:Unannotated(torch.optim.SGD)")[:2] == ["strength", "inner.lr"]
    assert names_of(f"{__name__}:around(torch.optim.SGD)")[:2] == ["lr", "inner.lr"]
    assert names_of(f"{__name__}:Untold(torch.optim.SGD)") == []


def momentum(parameters: list[nn.Parameter], lr: float = 0.1) -> Any:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def test_the_inner_one_may_be_a_function_or_made_of_another_one() -> None:
    own, plain = f"{__name__}:Bare", "torch.optim.SGD"
    pairs = {
        f"{own}({own}({plain}))[inner.inner.lr=0.05]": f"{plain}[lr=0.05]",
        f"{own}({__name__}:momentum)[inner.lr=0.05]": f"{plain}[lr=0.05,momentum=0.9]",
        f"{own}({__name__}:around({plain}))[inner.inner.lr=0.05]": f"{plain}[lr=0.05]",
        f"{__name__}:Plain({__name__}:momentum)[inner.lr=0.05,scale=1]": (
            f"{plain}[lr=0.05,momentum=0.9]"
        ),
    }
    for text, expected in pairs.items():
        assert torch.equal(trained(resolve(text)), trained(resolve(expected))), text


def test_optimizers_with_equal_values_are_tried_on_their_own() -> None:
    """Adam and LBFGS within one class: what was found of one is not said of the other."""
    texts = (f"{__name__}:Untold(torch.optim.SGD)", f"{__name__}:Untold(torch.optim.LBFGS)")
    assert [resolve(text).cost_of_a_step for text in texts] == [200.0, None]


def test_values_for_a_part_of_the_network_reach_the_inner_one() -> None:
    text = "pytorch_optimizer:Lookahead(torch.optim.SGD)[inner.weight_decay.matrices=0.1]"
    method = resolve(text).for_layout(Tiny().layout)
    state = method.init(torch.zeros(1, Tiny().layout.size), 0, None)
    decays = [group["weight_decay"] for group in state.optimizer.param_groups]
    assert sorted(decays) == [0.0, 0.1]


def test_it_may_be_a_part_of_a_route() -> None:
    text = (
        "pytorch_optimizer:Lookahead(torch.optim.SGD)[on=matrices,k=2]+torch.optim.AdamW[on=rest]"
    )
    run = train(resolve(text), Tiny())
    assert len(run.reports) > 5 and run.theta.isfinite().all()
    assert run.method.cost_of_a_step == 200
    with pytest.raises(UsageError, match="evaluates the closure more than once in a step"):
        resolve("pytorch_optimizer:SAM(torch.optim.SGD)[on=matrices]+torch.optim.SGD[on=rest]")


class Rated(torch.optim.SGD):
    """Calls its step size by another name, so that no schedule reaches it."""

    def __init__(self, params: Any, rate: float = 0.1) -> None:
        super().__init__(params, lr=rate)
        for group in self.param_groups:
            group["rate"] = group.pop("lr")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for each in group["params"]:
                each.sub_(each.grad, alpha=group["rate"])


def test_one_without_groups_may_stand_beside_one_with_a_schedule() -> None:
    own = f"{__name__}:Bare({__name__}:Rated)[on=matrices]"
    ends = [
        train(resolve(f"{own}+torch.optim.SGD[on=rest,{inside}]"), Tiny()).theta
        for inside in ("lr=0.1", "lr=0.1,lr_schedule=linear")
    ]
    assert not torch.equal(*ends)


class Known(Bare):
    """The inner one knows the one around it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        self.inner.around = self  # type: ignore[attr-defined]


def test_the_inner_one_may_know_the_one_around_it() -> None:
    found = trained(resolve(f"{__name__}:Known(torch.optim.SGD)[inner.lr=0.05]"))
    assert torch.equal(found, trained(resolve("torch.optim.SGD[lr=0.05]")))


def test_the_number_of_updates_reaches_the_inner_one() -> None:
    method = resolve("pytorch_optimizer:Lookahead(pytorch_optimizer:Ranger21)")
    assert method.anytime_updates(100) == 0
    with pytest.raises(UsageError, match="asks for the number of updates"):
        method.init(start(), 0, None)
    assert method.init(start(), 0, 10).optimizer is not None


def test_a_recipe_surrounds_both() -> None:
    text = "pytorch_optimizer:Lookahead(torch.optim.SGD)[k=2,inner.lr=0.05,lr_schedule=linear]"
    parameter, objective = nn.Parameter(start()), MovingObjective()
    made = lookahead_of_sgd([parameter])
    scheduler = torch.optim.lr_scheduler.LambdaLR(made.optimizer, lambda t: 1 - t / STEPS)
    for t in range(STEPS):
        parameter.grad = objective.at(t)(parameter.detach())
        made.step()
        scheduler.step()
    found = trained(resolve(text))
    assert (found - parameter.detach()).abs().max() <= 1e-12
    # Decoupled decay goes by the step size of the inner one.
    decayed = resolve(f"{text.rstrip(']')},weight_decay=0.1]")
    assert isinstance(decayed, RecipeMethod) and decayed.recipes[0].lr == 0.05
    with pytest.raises(UsageError, match="does not read lr from its groups"):
        resolve(f"{__name__}:Bare(torch.optim.SGD)[lr_schedule=linear]")


def lookahead_of_sgd(parameters: list[nn.Parameter]) -> Any:
    return pytorch_optimizer.Lookahead(torch.optim.SGD(parameters, lr=0.05), k=2)


def two(named_parameters: Any) -> Any:
    return []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pytorch_optimizer:Lookahead", r"Lookahead\(torch.optim.AdamW\)\[inner.lr=0.001\]"),
        ("pytorch_optimizer:SAM", "is made of another optimizer. Write that in parentheses"),
        ("pytorch_optimizer:SAM(pytorch_optimizer:SAM)", "is made of another optimizer"),
        ("torch.optim.SGD(torch.optim.SGD)", r"takes an optimizer. Leave out \(torch.optim.SGD\)"),
        ("nag(torch.optim.SGD)", "none of its arguments takes an optimizer"),
        ("pytorch_optimizer:Lookahead(nag)", "nag trains all parameters at once"),
        (f"pytorch_optimizer:Lookahead({__name__}:two)", "is made of more than parameters"),
        (
            "pytorch_optimizer:SAM(pytorch_optimizer:Lookahead(torch.optim.SGD))",
            "SAM takes an optimizer that is not. Write a function",
        ),
        ("pytorch_optimizer:Lookahead(nga)", "There is no optimizer 'nga'"),
        ("pytorch_optimizer:Lookahead(torch.optim.SGD", "the parentheses do not match"),
        ("pytorch_optimizer:Lookahead(torch.optim.SGD)(torch.optim.SGD)", "two inner optimizers"),
        ("pytorch_optimizer:Lookahead(torch.optim.SGD)[lr=1]", "has no hyperparameter 'lr'"),
        ("pytorch_optimizer:Lookahead(torch.optim.SGD)[inner.lr=-1]", "SGD refuses its hyperpar"),
        ("pytorch_optimizer:Lookahead(torch.optim.SGD)[k=-1]", r"\) refuses its hyperparameters"),
        (
            "pytorch_optimizer:SAM(torch.optim.SGD)[inner.lr.biases=0.1]",
            r"SAM\(torch.optim.SGD\) has no hyperparameter 'inner.lr.biases'",
        ),
        ("pytorch_optimizer:SAM(torch.optim.SGD)[inner.on=all]", "no hyperparameter 'inner.on'"),
        ("pytorch_optimizer:WSAM", "its constructor wants 'params', which has no default"),
    ],
)
def test_what_cannot_be_put_together_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        resolve(text)
