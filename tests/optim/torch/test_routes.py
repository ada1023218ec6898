"""A route trains as several optimizers in a loop of one's own, each with its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.harness.core.spec import MethodSpec
from bench.models.layout import Layout
from bench.optim.hyperparameters import UsageError
from bench.optim.registry import class_of, draws_nothing, is_built_in, resolve
from bench.optim.text import parse
from tests.optim.torch.test_network import Network, OfModule, loss_of, made, trained

MUON_AND_ADAM = (
    "torch.optim.Muon[on=hidden,lr=0.05]+torch.optim.AdamW[on=rest,lr=0.01,weight_decay=0.2]"
)
Makes = Callable[[Mapping[str, nn.Parameter]], list[torch.optim.Optimizer]]
STEPS = 20


def own_loop(make: Makes, steps: int = STEPS) -> Mapping[str, Tensor]:
    """Train a network by several optimizers, as their manuals say."""
    module = made(Network)
    named = {name: each for name, each in module.named_parameters() if each.requires_grad}
    optimizers = make(named)
    for number in range(steps):
        for each in optimizers:
            each.zero_grad()
        loss_of(module, number).backward()
        for each in optimizers:
            each.step()
    return {name: each.detach() for name, each in named.items()}


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert torch.equal(ours[name], expected), name


def by_hand(named: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    others = [each for name, each in named.items() if name != "hidden.weight"]
    return [
        torch.optim.Muon([named["hidden.weight"]], lr=0.05),
        torch.optim.AdamW(others, lr=0.01, weight_decay=0.2),
    ]


@pytest.mark.parametrize("stop", [None, 7])
def test_a_route_is_two_optimizers_in_a_loop(stop: int | None) -> None:
    text = MUON_AND_ADAM.replace("on=hidden,", "on=matrices-kernels,")
    same(trained(made(Network), resolve(text), STEPS, stop), own_loop(by_hand))


def three(named: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    norms = [named["norm.weight"], named["norm.bias"]]
    kernel = [named["convolution.weight"]]
    taken = {id(each) for each in [*norms, *kernel]}
    rest = [each for each in named.values() if id(each) not in taken]
    return [
        torch.optim.SGD(norms, lr=0.1, momentum=0.9),
        torch.optim.Adagrad(kernel, lr=0.1),
        torch.optim.NAdam(rest, lr=0.01),
    ]


@pytest.mark.parametrize("stop", [None, 3])
def test_three_parts_and_a_state_that_is_saved(stop: int | None) -> None:
    text = (
        "torch.optim.SGD[on=norms,lr=0.1,momentum=0.9]+torch.optim.Adagrad[on=kernels,lr=0.1]"
        "+torch.optim.NAdam[on=rest,lr=0.01]"
    )
    same(trained(made(Network), resolve(text), STEPS, stop), own_loop(three))


def test_each_part_is_evaluated_where_it_says() -> None:
    """The average of ASGD, and the parameters of the other part as they are."""
    method = resolve("torch.optim.ASGD[on=norms,lr=0.1,t0=0]+torch.optim.SGD[on=rest,lr=0.1]")
    module = made(Network)
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters() if p.requires_grad}
    layout = Layout(shapes, roles={"norm.weight": "norm", "norm.bias": "norm"})
    bound, theta = method.for_layout(layout), torch.randn(1, layout.size) / 10
    with torch.no_grad():
        state = bound.init(theta, 0, None)
        for _ in range(5):
            bound.step(theta, OfModule(module, layout), state)  # type: ignore[arg-type]
        at = layout.views(bound.iterate(theta, state)[0])
    for name, view in layout.views(theta[0]).items():
        assert torch.equal(at[name], view) == (name not in ("norm.weight", "norm.bias"))


def test_it_is_one_method_with_values_by_the_number_of_their_part() -> None:
    method = resolve(MUON_AND_ADAM.replace("on=rest", "on=rest,batch=50"))
    assert method.name == "torch.optim.Muon+torch.optim.AdamW"
    given = method.hyperparameters
    assert (given["batch"], given["1.on"], given["1.lr"]) == (50, "hidden", 0.05)
    assert (given["2.on"], given["2.lr"], given["2.weight_decay"]) == ("rest", 0.01, 0.2)
    assert method.cost_of_a_step == 50
    assert draws_nothing(method) and is_built_in(method.name)


@pytest.mark.parametrize("text", [MUON_AND_ADAM, "torch.optim.SGD[lr=0.1]"])
def test_the_text_of_a_recorded_method_means_the_same_method(text: str) -> None:
    method = resolve(text)
    spec = MethodSpec(method.name, method.backend, dict(method.hyperparameters))
    again = resolve(spec.text)
    assert (again.name, again.hyperparameters) == (method.name, method.hyperparameters)
    assert parse(parse(spec.text).text) == parse(spec.text)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        trained(made(Network), resolve(text), 1)
    return str(caught.value)


AND = "+torch.optim.AdamW[on=rest]"


class Named(torch.optim.SGD):
    """Has arguments that mean something else in a route."""

    def __init__(self, params: Any, lr: float = 0.1, on: str = "cpu", ema: float = 0.9) -> None:
        super().__init__(params, lr=lr)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "torch.optim.SGD[on=norms]+torch.optim.AdamW[on=biases]",
            "No part of torch.optim.SGD[on=norms]+torch.optim.AdamW[on=biases] trains "
            "embedding.weight, convolution.weight, hidden.weight. Add one for them: "
            "+torch.optim.AdamW[on=rest].",
        ),
        (
            "torch.optim.SGD[on=all]+torch.optim.AdamW[on=norms]",
            "torch.optim.SGD[on=all] and torch.optim.AdamW[on=norms] both take norm.weight, "
            "norm.bias, and one optimizer trains a parameter. Take it out of one of them, as in "
            "on=matrices-last.",
        ),
        (
            f"torch.optim.SGD[on=all]{AND}",
            "torch.optim.AdamW[on=rest] takes no parameter of this network: the other parts take "
            "all of them. Leave it out.",
        ),
        (f"torch.optim.SGD[on=rest]{AND}", "2 parts have on=rest, and one alone can."),
        (
            f"torch.optim.Muon[on=matrices]{AND}",
            "torch.optim.Muon[on=matrices] cannot train convolution.weight, hidden.weight: "
            "ValueError: Muon only supports 2D parameters whereas we found a parameter with size: "
            "torch.Size([3, 4, 2]). Let another part take what it is not made for.",
        ),
        (f"torch.optim.SGD[on=hiden]{AND}", "did you mean 'hidden'?"),
        (f"nag[on=matrices]{AND}", "nag cannot be a part of nag+torch.optim.AdamW: it trains all"),
        (f"torch.optim.LBFGS[on=norms]{AND}", "evaluates the closure more than once in a step"),
        (
            f"torch.optim.SGD[lr=0.1]{AND}",
            "torch.optim.SGD does not say which parameters it trains. Write on=… in every part",
        ),
        (f"torch.optim.SGD{AND}", "every part of a route says in brackets which parameters"),
        (
            "torch.optim.SGD[on=norms,batch=5]+torch.optim.AdamW[on=rest,batch=6]",
            "the parts have different values of batch, which is one for the whole route",
        ),
        (f"torch.optim.SGD[on=norms,lrr=1]{AND}", "no hyperparameter '1.lrr'; did you mean '1.lr'"),
        (f"./c++/mine.py:Mine[on=norms]{AND}", "'./c++/mine.py:Mine' may have none in its name"),
        (f"torch.optim.SGD@numba[on=norms]{AND}", "has no backend 'numba'"),
        ("torch.optim.SGD@torch[on=norms]+b@numba[on=rest]", "the parts of a route have one"),
        ("torch.optim.SGD+b[1.on=norms,3.lr=1]", "torch.optim.SGD+b has no part to which '3.lr'"),
        ("torch.optim.SGD+b[1.on=norms,lr=1]", "torch.optim.SGD+b has no part to which 'lr'"),
        (
            f"{__name__}:Named[on=norms]{AND}",
            "it has hyperparameters of its own with names that a route uses: on, ema. Write a",
        ),
    ],
)  # fmt: skip
def test_what_is_no_route(text: str, said: str) -> None:
    assert said in refusal(text)


def test_a_grid_and_a_range_go_by_the_number_of_the_part() -> None:
    entry = parse(MUON_AND_ADAM.replace("lr=0.05", "lr=0.1|0.2"))
    assert entry.values["1.lr"] == ("0.1", "0.2")
    names = [h.name for h in class_of(entry).space]
    assert names[:3] == ["batch", "1.on", "1.lr"] and "2.weight_decay" in names
