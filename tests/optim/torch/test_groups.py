"""Values for a part of a network are parameter groups, as in a loop of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from bench.harness.core.spec import MethodSpec
from bench.optim.hyperparameters import UsageError
from bench.optim.registry import class_of, resolve
from bench.optim.text import parse
from bench.optim.torch.adapter import adapt
from bench.optim.torch.groups import grouped
from tests.optim.torch.test_network import Network, made, trained
from tests.optim.torch.test_rebinding import Own
from tests.optim.torch.test_routes import STEPS, own_loop, same

NORMS = ("norm.weight", "norm.bias")
BIASES = ("convolution.bias", "head.bias")


def by_hand(named: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    def of(*names: str) -> list[nn.Parameter]:
        return [each for name, each in named.items() if name in names]

    matrices = [name for name in named if name not in NORMS + BIASES]
    groups = [
        {"params": of(*matrices)},
        {"params": of(*BIASES), "weight_decay": 0.0, "lr": 0.2},
        {"params": of(*NORMS), "weight_decay": 0.0, "betas": (0.5, 0.9)},
    ]
    return [torch.optim.AdamW(groups, lr=0.05, weight_decay=0.3)]


TEXT = (
    "torch.optim.AdamW[lr=0.05,weight_decay=0.3,weight_decay.biases+norms=0,lr.biases=0.2,"
    "betas.norms=(0.5,0.9)]"
)


@pytest.mark.parametrize("stop", [None, 7])
def test_values_of_a_part_are_groups(stop: int | None) -> None:
    same(trained(made(Network), resolve(TEXT), STEPS, stop), own_loop(by_hand))


def in_parts(named: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    groups = [{"params": [named[name] for name in NORMS], "lr": 0.5}]
    rest = [each for name, each in named.items() if name not in NORMS]
    return [
        torch.optim.SGD([*groups, {"params": [named["hidden.weight"]]}], lr=0.1),
        torch.optim.Adam([each for each in rest if each is not named["hidden.weight"]], lr=0.01),
    ]


def test_a_part_of_a_route_has_groups_too() -> None:
    text = (
        "torch.optim.SGD[on=norms+hidden.weight,lr=0.1,lr.norms=0.5]"
        "+torch.optim.Adam[on=rest,lr=0.01]"
    )
    same(trained(made(Network), resolve(text), STEPS), own_loop(in_parts))


def test_they_are_recorded_repeated_and_tuned_by_their_name() -> None:
    method = resolve(TEXT)
    assert method.hyperparameters["weight_decay.biases+norms"] == 0
    spec = MethodSpec(method.name, method.backend, dict(method.hyperparameters))
    assert resolve(spec.text).hyperparameters == method.hyperparameters
    space = class_of(parse("torch.optim.SGD[lr.blocks.0.*=0.1..1]")).space
    assert space[-1].name == "lr.blocks.0.*"


class Deaf(Own):
    """Reads its step size when it is made, and never from its groups."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params)
        self.rate = lr

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for each in group["params"]:
                each.sub_(each.grad, alpha=self.rate)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        trained(made(Network), resolve(text), 1)
    return str(caught.value)


def test_a_value_that_is_not_read_from_a_group_is_refused() -> None:
    kind = grouped(adapt(Deaf, "deaf"), ["lr.norms"])
    with pytest.raises(UsageError) as caught:
        kind("torch", **{"lr.norms": 0.5})
    assert str(caught.value) == (
        "deaf: lr.norms=0.5 has no effect, because the optimizer does not read lr from its groups "
        "of parameters. Let its step() read group['lr'], or leave this out."
    )


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (
            "weight_decay.biases=0,weight_decay.vectors=0.1",
            "torch.optim.AdamW: weight_decay.biases and weight_decay.vectors both take "
            "convolution.bias. Take it out of one of them, as in "
            "weight_decay.vectors-convolution.bias.",
        ),
        ("weight_decay.blocks.*=0", "[weight_decay.blocks.*=…] takes no parameter of this network"),
        ("weight_decay.bias=0", "there is no parameter or term 'bias'; did you mean 'biases'?"),
        ("weight_decay.rest=0", "what no selector takes has the value of weight_decay"),
        ("weight_decay.norms=-1", "weight_decay.norms=-1 is refused: ValueError: Invalid weight"),
        ("wd.norms=1", "has no hyperparameter 'wd.norms'"),
        ("batch.norms=1", "has no hyperparameter 'batch.norms'"),
        ("foreach.norms=true", "has no hyperparameter 'foreach.norms'"),
        ("params.norms=1", "has no hyperparameter 'params.norms'"),
        ("weight_decay.norms=much", "weight_decay.norms=much is not a number"),
        (
            "on=matrices",
            "torch.optim.AdamW[on=matrices] leaves out embedding.weight, convolution.bias, "
            "norm.weight, norm.bias, head.bias, so that a part of the network",
        ),
    ],
)
def test_what_is_refused(inside: str, said: str) -> None:
    assert said in refusal(f"torch.optim.AdamW[{inside}]")


def test_one_that_takes_no_groups_says_so() -> None:
    said = refusal("torch.optim.LBFGS[lr.norms=0.1]")
    assert "the optimizer takes no groups of parameters: ValueError: LBFGS doesn't support" in said


def test_on_may_name_all_that_there_is() -> None:
    same(
        trained(made(Network), resolve("torch.optim.SGD[on=all,lr=0.1]"), STEPS),
        own_loop(lambda named: [torch.optim.SGD(named.values(), lr=0.1)]),
    )


class Patient(Own):
    """Moves nothing in its first twenty steps."""

    count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.count += 1
        for group in self.param_groups:
            for each in group["params"]:
                each.detach().sub_(each.grad, alpha=group["lr"] * (self.count > 20))


def test_one_that_waits_before_its_first_update_reads_its_values() -> None:
    kind = grouped(adapt(Patient, "patient"), ["lr.norms"])
    assert kind("torch", **{"lr.norms": 0.5}).hyperparameters["lr.norms"] == 0.5
    adapt(Patient, "patient")("torch").check_set_rates()
