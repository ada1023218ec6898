import inspect
import math
from collections import deque
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method, Objective
from bench.optim.registry import resolve
from bench.optim.torch.adapter import adapt, of_torch
from tests.optim.moving import MovingObjective, Numbered, start

ELEMENTWISE = (
    "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
)  # fmt: skip


def train(method: Method, steps: int = 50, objective: Objective | None = None) -> Tensor:
    theta, objective = start(), objective or MovingObjective()
    state = method.init(theta, 0, steps)
    for _ in range(steps):
        method.step(theta, objective, state)
    # What is evaluated is θ, also for an average that has not begun yet.
    assert torch.equal(method.iterate(theta, state), theta)
    return theta


def own_loop(optimizer: type[torch.optim.Optimizer], steps: int = 50, **given: Any) -> Tensor:
    parameter = torch.nn.Parameter(start())
    made, objective = optimizer([parameter], **given), MovingObjective()
    for t in range(steps):
        parameter.grad = objective.at(t)(parameter.detach())
        made.step()
    return parameter.detach()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_training_is_that_of_a_loop_of_ones_own(name: str) -> None:
    moved = train(resolve(f"torch.optim.{name}[lr=0.05]"))
    assert not torch.equal(moved, start())
    assert torch.equal(moved, own_loop(getattr(torch.optim, name), lr=0.05))


def test_hyperparameters_reach_the_optimizer() -> None:
    text = "torch.optim.AdamW[lr=1e-3,weight_decay=0.1,eps=1e-4,amsgrad=true]"
    expected = own_loop(torch.optim.AdamW, lr=1e-3, weight_decay=0.1, eps=1e-4, amsgrad=True)
    assert torch.equal(train(resolve(text)), expected)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_declaration_is_torchs_own(name: str) -> None:
    cls = getattr(torch.optim, name)
    declared = {h.name: h.default for h in of_torch(f"torch.optim.{name}").space}
    assert declared.pop("batch") == 200
    defaults = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
    assert declared
    assert all(defaults[key] == value for key, value in declared.items())
    assert not {"capturable", "differentiable", "foreach", "fused"} & declared.keys()


class Kept(MovingObjective):
    """Looks at its own memory again before it is asked for the next gradient."""

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        self.check()
        loss, gradient = super().gradient(theta, on)
        self.copy = gradient.clone()
        return loss, gradient

    def check(self) -> None:
        if self.handed_out is not None:
            assert torch.equal(self.handed_out, self.copy)


def test_the_gradient_of_the_objective_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch writes over it where it takes all tensors at once, which is its way on a GPU."""
    at_once = partial(torch.optim.SGD, foreach=True)
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    at_once([parameter], lr=0.1, momentum=0.9, nesterov=True).step()
    assert not torch.equal(parameter.grad, torch.ones(3))

    method, objective = resolve("torch.optim.SGD[momentum=0.9,nesterov=true]"), Kept()
    monkeypatch.setattr(method, "optimizer", at_once)
    train(method, 20, objective)
    objective.check()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_state_round_trip_is_exact_and_owns_its_memory(name: str) -> None:
    text = f"torch.optim.{name}[lr=0.05{',momentum=0.9' if name == 'SGD' else ''}]"
    method, objective, theta = resolve(text), MovingObjective(), start()
    state = method.init(theta, 0, None)
    for _ in range(10):
        method.step(theta, objective, state)
    saved, resumed_theta = method.state_dict(state), theta.clone()
    for _ in range(10):
        method.step(theta, objective, state)

    for _ in range(2):  # The second time from the same saved state.
        again, other, at = resolve(text), MovingObjective(), resumed_theta.clone()
        other.batches = 10
        resumed = again.init(at, 0, None)
        again.load_state_dict(resumed, saved)
        for _ in range(10):
            again.step(at, other, resumed)
        assert torch.equal(at, theta)


def test_one_trial_at_a_time() -> None:
    method = resolve("torch.optim.AdamW")
    assert method.fleet_key is None
    assert method.cost_of_a_step == 200.0
    with pytest.raises(UsageError, match="torch.optim.AdamW trains one trial at a time"):
        method.join([method])
    with pytest.raises(UsageError, match="torch.optim.AdamW trains one trial at a time"):
        method.init(start(2), 0, None)


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(text)
    return str(caught.value)


def test_an_unknown_optimizer_gets_the_nearest() -> None:
    assert refusal("torch.optim.adamw").endswith("; did you mean 'AdamW'?")
    assert refusal("torch.optim.Zzz").startswith("torch.optim has no optimizer 'Zzz'")


def test_an_optimizer_that_cannot_make_a_step_says_why() -> None:
    assert refusal("torch.optim.SparseAdam") == (
        "torch.optim.SparseAdam cannot make a step: RuntimeError: SparseAdam does not support "
        "dense gradients, please consider Adam instead."
    )


def test_the_base_of_all_optimizers_is_none() -> None:
    assert refusal("torch.optim.Optimizer").startswith("torch.optim has no optimizer 'Optimizer'")


def test_what_the_optimizer_refuses_is_said_before_anything_runs() -> None:
    assert refusal("torch.optim.SGD[nesterov=true]") == (
        "torch.optim.SGD refuses its hyperparameters: "
        "Nesterov momentum requires a momentum and zero dampening."
    )
    assert refusal("torch.optim.AdamW[lr=-1]").startswith(
        "torch.optim.AdamW refuses its hyperparameters: Invalid learning rate"
    )
    assert refusal("torch.optim.AdamW[learning_rate=1]").startswith(
        "torch.optim.AdamW has no hyperparameter 'learning_rate'"
    )


class Counted(MovingObjective):
    """Notes where each gradient is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Tensor] = []

    def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
        assert not torch.is_grad_enabled()
        self.points.append(theta.clone())
        return super().gradient(theta, on)


class AsksIfTrue(torch.optim.SGD):
    """Asks its closure only if `asks` is True, not if it is 1."""

    def __init__(self, params: Any, lr: float = 0.1, asks: Any = None) -> None:
        super().__init__(params, lr=lr)
        self.asks = asks

    def step(self, closure: Any = None) -> Any:
        if self.asks is True:
            closure()
        return super().step()


def test_a_value_that_equals_another_is_another() -> None:
    made = adapt(AsksIfTrue, "m:AsksIfTrue")
    assert [made(asks=value).manner.by_closure for value in (1, True, 1)] == [False, True, False]


def test_every_evaluation_of_a_closure_is_made_anew() -> None:
    method, objective = resolve("torch.optim.LBFGS[max_iter=4]"), Counted()
    assert method.cost_of_a_step is None
    moved = train(method, 5, objective)

    parameter, own, points = torch.nn.Parameter(start()), MovingObjective(), []
    made = torch.optim.LBFGS([parameter], max_iter=4)
    for _ in range(5):
        batch = own.next_batch(1)

        def closure(batch: Any = batch) -> float:
            points.append(parameter.detach().clone())
            loss, gradient = own.gradient(parameter.detach(), batch)
            parameter.grad = gradient.clone()
            return loss.item()

        made.step(closure)
    assert torch.equal(moved, parameter.detach())
    assert len(points) > 15
    assert len(points) == len(objective.points)
    assert all(map(torch.equal, points, objective.points))


def test_the_loss_of_a_step_is_that_at_its_first_point() -> None:
    method, objective, theta = resolve("torch.optim.LBFGS"), MovingObjective(), start()
    expected = objective.loss(theta, on=Numbered(0, 200))
    report = method.step(theta, objective, method.init(theta, 0, None))
    assert torch.equal(report["loss"], expected)


def test_a_schedule_free_method_is_evaluated_at_its_average() -> None:
    from schedulefree import SGDScheduleFree

    method = resolve("schedulefree:SGDScheduleFree[lr=0.05]")
    objective, theta = MovingObjective(), start()
    state = method.init(theta, 0, None)
    parameter, own = torch.nn.Parameter(start()), MovingObjective()
    made = SGDScheduleFree([parameter], lr=0.05)
    made.train()
    for t in range(20):
        method.step(theta, objective, state)
        # Looking at it leaves θ as it is, bit for bit.
        method.iterate(theta, state)
        parameter.grad = own.at(t)(parameter.detach())
        made.step()
        assert torch.equal(theta, parameter.detach())
    made.eval()
    assert torch.equal(method.iterate(theta, state), parameter.detach())
    assert not torch.equal(method.iterate(theta, state), theta)


def test_a_loaded_state_has_the_types_that_were_saved() -> None:
    """torch casts what it loads to the parameter's type."""
    method = adapt(Nested, "nested")("torch")
    objective, theta = MovingObjective(), start()
    state = method.init(theta, 0, None)
    method.step(theta, objective, state)
    saved = method.state_dict(state)
    again = method.init(start(), 0, None)
    method.load_state_dict(again, saved)
    (own,) = again.optimizer.state.values()
    (queued,), pair = own["queue"], own["pair"]
    assert (queued.dtype, queued.item()) == (torch.float32, float(torch.tensor(0.1)))
    assert (type(pair), pair[0].dtype, pair[1]) == (tuple, torch.float32, 3)
    assert isinstance(own["queue"], deque) and own["queue"].maxlen == 2


class Nested(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        small = torch.tensor(0.1, dtype=torch.float32)
        for group in self.param_groups:
            for each in group["params"]:
                self.state[each] = {"queue": deque([small], 2), "pair": (small, 3)}
        return loss


class Declared(torch.optim.SGD):
    def __init__(
        self,
        params: Any,
        lr: float = 1,
        steps: int = 5,
        most: float = math.inf,
        betas: tuple[float, float] = (0.9, 0.99),
        **others: Any,
    ) -> None:
        self.given = (lr, steps, most)
        super().__init__(params, lr=lr)


def test_whole_numbers_stay_counts_and_what_is_no_finite_number_is_left_to_the_constructor() -> (
    None
):
    kind = adapt(Declared, "declared")
    assert [h.name for h in kind.space] == ["batch", "lr", "steps", "betas"]
    made = kind("torch", lr="0.5", steps="7").init(start(), 0, None).optimizer
    assert made.given == (0.5, 7, math.inf)
    assert type(made.given[1]) is int


class Wanting(torch.optim.SGD):
    def __init__(self, params: Any, rate: float) -> None:
        super().__init__(params, lr=rate)


class OfAModel(torch.optim.SGD):
    def __init__(self, model: Any) -> None:
        super().__init__(model.parameters(), lr=0.1)


class Broken(torch.optim.SGD):
    def __init__(self, params: Any) -> None:
        raise ImportError("it wants another package.")


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (Wanting, "cannot be made: its constructor wants 'rate', which has no default value."),
        (OfAModel, "is made of 'model', not of parameters alone: AttributeError: 'list' object"),
        (Broken, "cannot be made: ImportError: it wants another package."),
    ],
)
def test_what_cannot_be_made_says_why(optimizer: Any, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        adapt(optimizer, "it")("torch")
    assert str(caught.value).startswith(f"it {reason}")


class Plain(torch.optim.SGD):
    """Its state has something else than dictionaries, and its average begins with its steps."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for each in group["params"]:
                self.state["steps"] = self.state.get("steps", 0) + 1  # type: ignore[call-overload, index]
                self.state["average"] = each.detach() / 2  # type: ignore[index]
        return loss


class Beginning(Plain):
    def eval(self) -> None:
        for group in self.param_groups:
            for each in group["params"]:
                self.kept = each.detach().clone()
                each.data.copy_(self.state["average"])  # type: ignore[index]

    def train(self) -> None:
        if hasattr(self, "kept"):
            self.param_groups[0]["params"][0].data.copy_(self.kept)


@pytest.mark.parametrize("optimizer", [Plain, Beginning])
def test_it_is_evaluated_before_its_first_step_and_with_any_state(optimizer: Any) -> None:
    method, theta = adapt(optimizer, "own")("torch"), start()
    state = method.init(theta, 0, None)
    assert torch.equal(method.iterate(theta, state), start())
    method.step(theta, MovingObjective(), state)
    expected = theta / 2 if optimizer is Beginning else theta
    assert torch.equal(method.iterate(theta, state), expected)


class KnownByMemory(torch.optim.SGD):
    """It knows a parameter by where it lies, and is evaluated at its negative."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.places = [each.data_ptr() for each in self.param_groups[0]["params"]]

    def eval(self) -> None:
        for each in self.param_groups[0]["params"]:
            assert each.data_ptr() in self.places
            each.data.mul_(-1)

    def train(self) -> None:
        """Leave them there, as an inexact way back would leave another rest."""


def test_parameters_stay_in_their_memory_while_they_are_evaluated() -> None:
    method, theta = adapt(KnownByMemory, "own")("torch"), start()
    state = method.init(theta, 0, None)
    method.step(theta, MovingObjective(), state)
    before = theta.clone()
    assert torch.equal(method.iterate(theta, state), -before)
    assert torch.equal(theta, before)


class Elsewhere(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1, backend: str = "cpu") -> None:
        self.given = backend
        super().__init__(params, lr=lr)


def test_an_argument_may_be_called_backend() -> None:
    method = resolve(f"{__name__}:Elsewhere[backend=gpu]")
    assert (method.backend, method.hyperparameters["backend"]) == ("torch", "gpu")
    assert method.init(start(), 0, None).optimizer.given == "gpu"
    assert resolve(f"{__name__}:Elsewhere[backend=gpu,ema=0.9]").hyperparameters["ema"] == 0.9
