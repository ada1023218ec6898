"""No method can touch the data, get free work or overdraw the budget: each way that was tried."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from bench.harness.core.errors import BrokenContract
from bench.harness.core.spec import Budget
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.fleet import Fleet
from bench.harness.training.ledger import Account
from bench.models.problem import Problem
from bench.optim.objective import FULL, BudgetSpent
from tests.harness.training.test_fleet import Observer
from tests.models.tiny import Tiny

CPU = torch.device("cpu")
BATCH = 8
BUDGET = Budget("gradients", 40.0 * BATCH)
INSIDE = (Tensor, Cases, DeviceData, Account, BoundObjective, Problem)

Script = Callable[[Tensor, Any, dict[str, Any]], object]


class Plugin:
    """A method whose author decides what each part does; by itself it is gradient descent."""

    name, backend = "plugin", "torch"
    cost_of_a_step: float | None = None

    def __init__(
        self,
        step: Script | None = None,
        init: Callable[[Tensor], object] | None = None,
        iterate: Callable[[Tensor, dict[str, Any]], Tensor | None] | None = None,
        cost: float | None = None,
    ) -> None:
        self.before, self.at_init, self.at_iterate = step, init, iterate
        self.cost_of_a_step = cost

    def init(self, theta: Tensor, seed: int, budget: int | None) -> dict[str, Any]:
        if self.at_init is not None:
            self.at_init(theta)
        return {}

    def step(self, theta: Tensor, objective: Any, state: dict[str, Any]) -> Mapping[str, Any]:
        state["objective"] = objective
        if self.before is not None:
            self.before(theta, objective, state)
        loss, gradient = objective.gradient(theta, on=objective.next_batch(BATCH))
        theta.sub_(gradient, alpha=0.01)
        return {"loss": loss}

    def iterate(self, theta: Tensor, state: dict[str, Any]) -> Tensor:
        found = None if self.at_iterate is None else self.at_iterate(theta, state)
        return theta if found is None else found

    def state_dict(self, state: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in state.items() if isinstance(value, Tensor | float)}


def fleet(method: Any, budget: Budget = BUDGET, problem: Problem | None = None) -> Fleet:
    problem = problem or Tiny()
    data = DeviceData.from_data(problem.data(), CPU, torch.float64)  # type: ignore[call-arg]
    return Fleet(problem, data, method, [0], budget, evaluations=3)


def train(made: Fleet) -> Any:
    (outcome,) = made.run(Observer())
    return outcome


# What leads nowhere


def test_objective_batch_and_product_lead_to_no_data_passes_or_ledger() -> None:
    looked = []

    def look(theta: Tensor, objective: Any, state: Any) -> None:
        batch = objective.next_batch(BATCH)
        products = objective.curvature(theta, batch), objective.hessian(theta, batch)[2]
        for thing in (objective, batch, *products):
            with pytest.raises(TypeError):
                vars(thing)
            # Not even the garbage collector sees a reference to anything but the class.
            assert gc.get_referents(thing) in ([], [type(thing)])
            for name in dir(type(thing)):
                member = getattr(thing, name)
                assert getattr(member, "__closure__", None) is None or name.startswith("__")
                owner = getattr(member, "__self__", thing)
                assert owner is thing or isinstance(owner, type)
                assert not isinstance(member, INSIDE)
            looked.append(thing)

    train(fleet(Plugin(look), Budget("updates", 1)))
    assert len(looked) == 4


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("what", ["objective", "batch", "product"])
def test_they_cannot_be_copied(what: str, copied: Callable[[object], object]) -> None:
    def attempt(theta: Tensor, objective: Any, state: Any) -> None:
        batch = objective.next_batch(BATCH)
        things = {"objective": objective, "batch": batch}
        copied(things.get(what) or objective.curvature(theta, batch))

    with pytest.raises(BrokenContract, match="cannot be copied"):
        train(fleet(Plugin(attempt)))


def relabelled(theta: Tensor, objective: Any, state: Any) -> None:
    objective.gradient(theta, dataclasses.replace(objective.next_batch(200), batch_size=1))


def attribute(name: str) -> Script:
    return lambda theta, objective, state: getattr(objective, name)


def test_a_batch_cannot_get_another_price() -> None:
    with pytest.raises(TypeError, match="dataclass"):
        train(fleet(Plugin(relabelled)))

    def one_case(theta: Tensor, objective: Any, state: Any) -> None:
        object.__setattr__(objective.next_batch(20), "cases", 1)

    with pytest.raises(AttributeError):
        train(fleet(Plugin(one_case)))


@pytest.mark.parametrize(
    "name",
    ["_account", "_passes", "_data", "_problem", "batches", "__dict__", "for_seeds", "_gradient"],
)
def test_the_objective_has_no_inner_parts(name: str) -> None:
    with pytest.raises(AttributeError):
        train(fleet(Plugin(attribute(name))))


@pytest.mark.parametrize("name", ["inputs", "targets", "__dict__", "part", "slices"])
def test_a_batch_has_no_tensors(name: str) -> None:
    for size in (BATCH, FULL):

        def look(theta: Tensor, objective: Any, state: Any, size: Any = size) -> None:
            getattr(objective.next_batch(size), name)

        with pytest.raises(AttributeError):
            train(fleet(Plugin(look)))


def test_the_whole_training_set_is_one_batch_and_never_copied() -> None:
    seen = []

    def look(theta: Tensor, objective: Any, state: Any) -> None:
        seen.append(objective.next_batch(FULL))

    made = fleet(Plugin(look))
    train(made)
    assert len(set(map(id, seen))) == 1
    assert seen[0].cases == 24


# What is refused


class Own:
    """A batch of a method's own making."""

    cases = 1


def foreign(theta: Tensor, objective: Any, state: Any) -> None:
    """A batch of another objective, with cases of its own."""
    kept: list[Any] = []
    train(fleet(Plugin(lambda t, o, s: kept.append(o.next_batch(BATCH)))))
    objective.loss(theta, kept[0])


FORGED: dict[str, Script] = {
    "its own class": lambda theta, o, s: o.loss(theta, Own()),
    "an empty batch": lambda theta, o, s: o.loss(theta, type(o.next_batch(4))()),
    "tensors": lambda theta, o, s: o.loss(theta, torch.zeros(1, 8, 12)),
    "cases": lambda theta, o, s: o.loss(
        theta, Cases(torch.zeros(1, 8, 12), torch.zeros(1, 8, 12), 1)
    ),
    "no batch": lambda theta, o, s: o.loss(theta, None),
    "a batch of another trial": foreign,
}


@pytest.mark.parametrize("name", FORGED)
def test_only_batches_of_this_objective_are_taken(name: str) -> None:
    with pytest.raises(BrokenContract, match=r"plugin asked about a batch .* has not given"):
        train(fleet(Plugin(FORGED[name])))


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "8", None], ids=str)
def test_sizes_of_batches_are_whole_numbers(size: Any) -> None:
    with pytest.raises(BrokenContract, match="plugin asked for a batch of"):
        train(fleet(Plugin(lambda theta, o, s: o.next_batch(size))))


def test_a_stream_of_another_name_is_refused() -> None:
    with pytest.raises(BrokenContract, match="stream 'mine'"):
        train(fleet(Plugin(lambda theta, o, s: o.next_batch(4, "mine"))))


def mapped(theta: Tensor, objective: Any, state: Any) -> None:
    batch = objective.next_batch(BATCH)
    torch.func.vmap(lambda t: objective.loss(t, batch))(torch.stack([theta, 2 * theta]))


def transformed(theta: Tensor, objective: Any, state: Any) -> None:
    batch = objective.next_batch(BATCH)
    torch.func.grad(lambda t: objective.loss(t, batch).sum())(theta)


def mapped_product(theta: Tensor, objective: Any, state: Any) -> None:
    product = objective.curvature(theta, objective.next_batch(BATCH))
    torch.func.vmap(product)(torch.stack([theta, 2 * theta]))


class Watching(Tensor):
    """A tensor that sees all that is computed with it."""


MANY: dict[str, Script] = {
    "rows": lambda theta, o, s: o.loss(theta.repeat(5, 1), o.next_batch(4)),
    "rows of a gradient": lambda theta, o, s: o.gradient(theta.repeat(5, 1), o.next_batch(4)),
    "a view": lambda theta, o, s: o.loss(theta[0], o.next_batch(4)),
    "numbers": lambda theta, o, s: o.loss(theta.tolist(), o.next_batch(4)),
    "a class of tensors": lambda theta, o, s: o.loss(theta.as_subclass(Watching), o.next_batch(4)),
    "vmap": mapped,
    "grad": transformed,
    "vmap of a product": mapped_product,
}


@pytest.mark.parametrize("name", MANY)
def test_one_call_is_one_point(name: str) -> None:
    with pytest.raises(BrokenContract, match="Ask once for each point"):
        train(fleet(Plugin(MANY[name])))


@pytest.mark.parametrize("by_hand", [True, False])
def test_no_result_can_be_differentiated(by_hand: bool) -> None:
    """A loss with a graph would be a gradient for a third of its price."""

    def differentiate(theta: Tensor, objective: Any, state: Any) -> None:
        with torch.enable_grad():
            leaf = theta.clone().requires_grad_()
            batch = objective.next_batch(BATCH)
            product = objective.curvature(leaf, batch)
            results = [
                objective.loss(leaf, batch),
                *objective.gradient(leaf, batch),
                objective.squared_gradient(leaf, batch),
                product(leaf),
            ]
            *values, hessian = objective.hessian(leaf, batch)
            results += [*values, hessian(leaf)]
        assert not any(result.requires_grad for result in results)

    train(fleet(Plugin(differentiate), problem=Tiny(by_hand=by_hand)))


# When a method may ask


def ask(theta: Tensor, state: dict[str, Any]) -> None:
    if "objective" in state:
        objective = state["objective"]
        objective.gradient(theta, objective.next_batch(BATCH))


def test_iterate_may_not_ask_the_objective() -> None:
    with pytest.raises(BrokenContract, match="plugin asked the objective outside of its `step`"):
        train(fleet(Plugin(iterate=ask)))


def test_a_product_is_a_call_of_the_objective() -> None:
    def keep(theta: Tensor, objective: Any, state: dict[str, Any]) -> None:
        batch = objective.next_batch(BATCH)
        state["products"] = objective.curvature(theta, batch), objective.hessian(theta, batch)[2]

    for which in (0, 1):

        def multiply(theta: Tensor, state: dict[str, Any], which: int = which) -> None:
            if "products" in state:
                state["products"][which](theta)

        with pytest.raises(BrokenContract, match="outside of its `step`"):
            train(fleet(Plugin(keep, iterate=multiply)))


def test_init_may_not_ask_the_objective_of_another_trial() -> None:
    kept: list[Any] = []
    first = fleet(Plugin(lambda theta, o, s: kept.append(o)))
    train(first)

    def ask_other(theta: Tensor) -> None:
        kept[0].gradient(theta, kept[0].next_batch(BATCH))

    with pytest.raises(BrokenContract, match="outside of its `step`"):
        fleet(Plugin(init=ask_other))
    del first
    gc.collect()
    with pytest.raises(BrokenContract, match="whose trial has ended"):
        fleet(Plugin(init=ask_other))


def test_init_may_not_move_theta() -> None:
    with pytest.raises(BrokenContract, match="`init` of plugin changes θ"):
        fleet(Plugin(init=lambda theta: theta.mul_(0.5)))


def move(theta: Tensor, state: dict[str, Any]) -> None:
    theta.mul_(0.99)


def learn(theta: Tensor, state: dict[str, Any]) -> None:
    state["average"] = state.get("average", 0.0) + 1.0


@pytest.mark.parametrize("change", [move, learn])
def test_iterate_may_change_neither_theta_nor_the_state(change: Any) -> None:
    with pytest.raises(BrokenContract, match="`iterate` of plugin changes θ or the state"):
        train(fleet(Plugin(iterate=change)))


@pytest.mark.parametrize("wrong", [lambda theta, s: theta[0], lambda theta, s: 3.0])
def test_iterate_returns_parameters(wrong: Any) -> None:
    with pytest.raises(BrokenContract, match="it must return a tensor of θ's shape"):
        train(fleet(Plugin(iterate=wrong)))


@pytest.mark.parametrize(
    "wrong", [lambda t, s: t.float(), lambda t, s: t.long(), lambda t, s: t.to_sparse()]
)
def test_iterate_returns_what_is_like_theta(wrong: Any) -> None:
    with pytest.raises(BrokenContract, match="it must be like θ, torch.float64"):
        train(fleet(Plugin(iterate=wrong)))


def test_theta_keeps_its_type() -> None:
    def narrow(theta: Tensor, objective: Any, state: Any) -> None:
        theta.data = theta.data.float()

    with pytest.raises(BrokenContract, match=r"of shape \(1, 448\) and torch.float32, but θ"):
        train(fleet(Plugin(narrow)))


REPORTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a NoneType": lambda report: None,
    "a list": lambda report: [1],
    "no loss": lambda report: {},
    "the loss 0.5": lambda report: {"loss": 0.5},
    "a loss of shape": lambda report: {"loss": torch.zeros(3)},
    "a loss of shape ()": lambda report: {"loss": report["loss"][0]},
    "a loss of shape (1,) and torch.int64": lambda report: {"loss": report["loss"].long()},
    "stop = True": lambda report: {**report, "stop": True},
    "cg_steps = -5": lambda report: {**report, "cg_steps": -5},
    "cg_steps = nan": lambda report: {**report, "cg_steps": float("nan")},
    "more = <object": lambda report: {**report, "more": object()},
}


@pytest.mark.parametrize("found", REPORTS)
def test_what_is_no_report_is_told(found: str) -> None:
    class Reports(Plugin):
        def step(self, *given: Any) -> Any:
            return REPORTS[found](dict(super().step(*given)))

    with pytest.raises(BrokenContract, match=re.escape(f"`step` of plugin returned {found}")):
        train(fleet(Reports()))


@pytest.mark.parametrize("currency", ["updates", "gradients"])
@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf"), "8"])
def test_a_cost_is_a_positive_number(cost: Any, currency: Any) -> None:
    with pytest.raises(BrokenContract, match="`cost_of_a_step` of plugin is"):
        fleet(Plugin(cost=cost), Budget(currency, 40.0))


# What a Python process cannot prevent is found out


def inner() -> BoundObjective:
    """What a search of the memory finds."""
    return next(each for each in gc.get_objects() if isinstance(each, BoundObjective))


def by_frame() -> BoundObjective:
    frame = sys._getframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), Fleet):
            return frame.f_locals["self"].objective
        frame = frame.f_back  # type: ignore[assignment]
    raise AssertionError


def stolen_gradient(found: BoundObjective, theta: Tensor) -> None:
    data = found._data.test
    found._passes.gradient(theta, data.inputs, data.targets, torch.zeros_like(theta))


def own_autograd(found: BoundObjective, theta: Tensor) -> None:
    problem, data = found._problem, found._data.train
    with torch.enable_grad():
        leaf = theta.clone().requires_grad_()
        z = problem.logits(problem.layout.views(leaf), data.inputs)
        problem.loss.per_case(z, data.targets).mean().backward()


def new_passes(found: BoundObjective, theta: Tensor) -> None:
    data = found._data.train
    product = found._problem.passes().curvature(theta, data.inputs, data.targets)
    product(theta)


FREE_WORK = [stolen_gradient, own_autograd, new_passes]


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "autodiff"])
@pytest.mark.parametrize("work", FREE_WORK)
@pytest.mark.parametrize("part", ["step", "iterate", "init"])
def test_passes_that_nobody_paid_are_counted(part: str, work: Any, by_hand: bool) -> None:
    def steal(theta: Tensor, *given: Any) -> None:
        work(by_frame() if part != "init" else inner(), theta)

    gc.collect()
    with pytest.raises(BrokenContract, match=rf"plugin ran the network \d+ times in `{part}`"):
        train(fleet(Plugin(**cast(Any, {part: steal})), problem=Tiny(by_hand=by_hand)))


@pytest.mark.parametrize("work", FREE_WORK)
@pytest.mark.parametrize("joined", [True, False])
def test_a_thread_of_its_own_gets_nothing_for_free(work: Any, joined: bool) -> None:
    def steal(theta: Tensor, *given: Any) -> None:
        found, begun = by_frame(), threading.Event()

        def run() -> None:
            work(found, theta.clone())
            begun.set()

        thread = threading.Thread(target=run)
        thread.start()
        if joined:
            thread.join()
        assert begun.wait(60)

    with pytest.raises(BrokenContract, match="ran in another thread while plugin trained"):
        train(fleet(Plugin(steal)))


def test_the_objective_is_asked_in_the_thread_of_the_step() -> None:
    said: list[str] = []

    def ask_beside(theta: Tensor, objective: Any, state: Any) -> None:
        def run() -> None:
            try:
                objective.gradient(theta, objective.next_batch(BATCH))
            except BrokenContract as error:
                said.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    made = fleet(Plugin(ask_beside), Budget("updates", 2))
    train(made)
    assert len(said) == 2
    assert "asked the objective from a thread of its own" in said[0]
    assert made.account.gradients == 2 * BATCH


def test_fleets_in_threads_of_their_own_are_no_strangers() -> None:
    ends: list[Any] = []
    made = fleet(Plugin(), Budget("updates", 3))
    threads = [
        threading.Thread(target=lambda: ends.append(train(made))),
        threading.Thread(target=lambda: ends.append(train(fleet(Plugin(), Budget("updates", 3))))),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert [end.status for end in ends] == ["budget"] * 2
    assert train(fleet(Plugin())).status == "budget"


def test_paid_passes_are_counted_as_paid() -> None:
    def everything(theta: Tensor, objective: Any, state: Any) -> None:
        for size in (BATCH, FULL):
            batch = objective.next_batch(size)
            objective.loss(theta, batch)
            objective.squared_gradient(theta, batch)
            product = objective.curvature(theta, batch)
            product(theta)
            product(2 * theta)

    for by_hand in (True, False):
        outcome = train(fleet(Plugin(everything), Budget("updates", 5), Tiny(by_hand=by_hand)))
        assert outcome.ledger.updates == 5


# The data


def write_training(data: DeviceData) -> None:
    data.train.inputs.mul_(0.5)


def write_test(data: DeviceData) -> None:
    data.test.inputs[0, 0, 0] += 1e-12


def exchange(data: DeviceData) -> None:
    cases = data.train.inputs.data
    cases[0, :2] = cases[0, :2].flip(0).clone()


def through_numpy(data: DeviceData) -> None:
    data.train.inputs.numpy()[0, 3, 3] = 7


@pytest.mark.parametrize("write", [write_training, write_test, exchange, through_numpy])
@pytest.mark.parametrize("part", ["step", "iterate"])
def test_a_trial_that_changes_the_data_fails(part: str, write: Any) -> None:
    def spoil(theta: Tensor, *given: Any) -> None:
        write(by_frame()._data)

    named = "test" if write is write_test else "training"
    with pytest.raises(BrokenContract, match=rf"changed while plugin trained on tiny: {named}"):
        train(fleet(Plugin(**cast(Any, {part: spoil}))))


def test_a_problem_that_writes_into_the_data_fails_before_anything_is_recorded() -> None:
    class Writing(Tiny):
        def observe(self, params: Mapping[str, Tensor], inputs: Tensor) -> Mapping[str, Tensor]:
            inputs.clamp_(0.2, 0.8)
            return {}

    made, observer = fleet(Plugin(), problem=Writing()), Observer()
    with pytest.raises(BrokenContract, match="The data changed"):
        made.run(observer)
    assert observer.rows == {}


# The budget


def test_a_budget_that_was_refused_stays_spent_whatever_a_method_catches() -> None:
    """It would go on with what is left, for ever or with a step that was never paid in full."""

    def catch(theta: Tensor, objective: Any, state: Any) -> None:
        theta.add_(1)
        try:
            objective.loss(theta, objective.next_batch(10_000))
        except BudgetSpent:
            theta.add_(1)

    made = fleet(Plugin(catch))
    start = made.theta.clone()
    outcome = train(made)
    assert (outcome.status, outcome.ledger.updates) == ("budget", 0)
    assert torch.equal(outcome.theta[None], start)
    assert outcome.ledger.gradients == 0


@pytest.mark.parametrize("currency", ["gradients", "updates", "seconds"])
def test_a_step_that_costs_more_than_it_declares_fails(currency: str) -> None:
    def more(theta: Tensor, objective: Any, state: Any) -> None:
        objective.loss(theta, objective.next_batch(BATCH))

    with pytest.raises(BrokenContract, match=r"costs .* but its `cost_of_a_step` declares 8"):
        train(fleet(Plugin(more, cost=BATCH), Budget(currency, 40.0)))  # type: ignore[arg-type]


def test_a_cut_step_of_a_declared_cost_fails_by_its_name() -> None:
    """Nothing that the budget did not pay in full is kept."""

    def more(theta: Tensor, objective: Any, state: Any) -> None:
        theta.add_(1)
        objective.loss(theta, objective.next_batch(FULL))

    with pytest.raises(BrokenContract, match="step of plugin costs more than the 1 gradient"):
        train(fleet(Plugin(more, cost=1.0), Budget("gradients", 8.0)))


def test_only_the_objective_says_that_the_budget_is_spent() -> None:
    def lie(theta: Tensor, objective: Any, state: Any) -> None:
        raise BudgetSpent

    with pytest.raises(BrokenContract, match="although the budget was not spent"):
        train(fleet(Plugin(lie)))


def test_what_is_evaluated_after_a_cut_is_what_was_before_the_step() -> None:
    """Also where `iterate` makes it from a state that the cut step has changed already."""
    seen = []

    def change(theta: Tensor, objective: Any, state: dict[str, Any]) -> None:
        seen.append(theta - state.get("ahead", 0.0))
        state["ahead"] = state.get("ahead", 0.0) + 1.0
        theta.add_(1)

    budget = Budget("gradients", 2.5 * BATCH)
    outcome = train(fleet(Plugin(change, iterate=lambda t, s: t - s.get("ahead", 0.0)), budget))
    assert outcome.ledger.updates == 2
    assert len(seen) == 3
    assert torch.equal(outcome.theta[None], seen[-1])


@pytest.mark.parametrize("more", [0, 1, 3])
def test_no_pass_is_free_under_a_budget_in_examples(more: int) -> None:
    """Also for a method that declares a cost in gradients, and takes losses besides."""

    def losses(theta: Tensor, objective: Any, state: Any) -> None:
        for _ in range(more):
            objective.loss(theta, objective.next_batch(BATCH))

    budget, loss = Budget("examples", 20.5 * BATCH), Tiny().passes().prices.loss  # type: ignore[union-attr]
    cost = BATCH * (1 + more * loss)
    for declared in (None, cost):
        outcome = train(fleet(Plugin(losses, cost=declared), budget))
        assert outcome.ledger.updates == 20 // (1 + more)
        assert outcome.ledger.examples <= budget.amount
