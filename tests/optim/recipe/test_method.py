"""A method with a recipe makes the updates of a loop written by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from bench.optim.hyperparameters import Hyperparameter, UsageError, cast_all
from bench.optim.objective import FORESEEN, Method
from bench.optim.recipe.method import RecipeMethod, plain, with_recipe
from bench.optim.recipe.objective import Gradients, RecipeObjective
from bench.optim.recipe.schedules import Place, RateSchedule
from bench.optim.registry import make, resolve
from bench.optim.text import parse
from tests.models.tiny import Tiny
from tests.optim.moving import MovingObjective, start

UPDATES = 30


class Spent(MovingObjective):
    """An objective that says what is spent: as if every step cost the same."""

    def __init__(self, updates: int = UPDATES) -> None:
        super().__init__()
        self.updates = updates

    @property
    def spent(self) -> float:
        return self.batches / self.updates


def train(
    method: Method, rows: int = 1, steps: int = UPDATES, budget: int | None = UPDATES
) -> list[Tensor]:
    """What is evaluated after every update."""
    theta, objective = start(rows), Spent()
    state = method.init(theta, 0, budget)
    points = []
    for _ in range(steps):
        method.step(theta, objective, state)  # type: ignore[arg-type]
        points.append(method.iterate(theta, state).clone())
    return points


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(start().clone())


def loop(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    change: Callable[[nn.Parameter], object] = lambda p: None,
    after: Callable[[torch.optim.Optimizer, int], object] = lambda o, t: None,
    evaluated: Callable[[nn.Module], Callable[[], Tensor]] | None = None,
    batches: int = 1,
) -> list[Tensor]:
    """A training loop in plain torch: the points after every update."""
    model, objective = Vector(), MovingObjective()
    optimizer = make([model.theta])
    points, shown = [], None if evaluated is None else evaluated(model)
    for t in range(UPDATES):
        found = [
            objective.gradient(model.theta.detach(), objective.next_batch(1))[1].clone()
            for _ in range(batches)
        ]
        model.theta.grad = torch.stack(found).mean(0)
        change(model.theta)
        optimizer.step()
        after(optimizer, t)
        points.append(model.theta.detach().clone() if shown is None else shown())
    return points


def check(text: str, expected: list[Tensor], exact: bool = False) -> None:
    found = train(resolve(text))
    for mine, theirs in zip(found, expected, strict=True):
        if exact:
            assert torch.equal(mine, theirs)
        else:
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.1)


def test_a_schedule_is_torchs() -> None:
    schedulers: list[Any] = []

    def with_scheduler(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = adamw(parameters)
        warm = LinearLR(optimizer, 1 / 6, total_iters=5)
        fall = CosineAnnealingLR(optimizer, UPDATES - 6, eta_min=0.01)
        schedulers.append(SequentialLR(optimizer, [warm, fall], [6]))
        return optimizer

    expected = loop(with_scheduler, after=lambda o, t: schedulers[0].step())
    recipe = "lr_schedule=cosine,lr_warmup=0.2,lr_floor=0.1"
    check(f"torch.optim.AdamW[lr=0.1,batch=1,{recipe}]", expected)


@pytest.mark.parametrize("limit", [0.5, 2.0, 1e9])
def test_a_clipped_norm_is_torchs(limit: float) -> None:
    expected = loop(adamw, change=lambda p: clip_grad_norm_([p], limit))
    check(f"torch.optim.AdamW[lr=0.1,batch=1,clip_norm={limit}]", expected)


def test_a_row_without_a_clip_is_as_it_is_where_a_norm_overflows() -> None:
    class Steep(Spent):
        def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
            loss, _ = super().gradient(theta, on)
            return loss, torch.full_like(theta, 1e20)

    free, clipped = (
        resolve(f"sgd@torch[lr=1e-20,batch=1,{recipe}]")
        for recipe in ("lr_schedule=constant", "clip_norm=1")
    )
    method, theta = free.join([clipped]), torch.zeros(2, start().shape[1])
    method.step(theta, Steep(), method.init(theta, 0, UPDATES))
    assert torch.equal(theta[0], torch.full_like(theta[0], -1.0))
    # As `clip_grad_norm_` does.
    assert torch.equal(theta[1], torch.zeros_like(theta[1]))


def test_clipped_values_are_torchs() -> None:
    expected = loop(adamw, change=lambda p: clip_grad_value_([p], 0.5))
    check("torch.optim.AdamW[lr=0.1,batch=1,clip_value=0.5]", expected, exact=True)


def test_an_ema_is_that_of_torch() -> None:
    def evaluated(model: nn.Module) -> Callable[[], Tensor]:
        average = AveragedModel(model, avg_fn=get_ema_avg_fn(0.9))

        def shown() -> Tensor:
            average.update_parameters(model)
            return average.module.theta.detach().clone()

        return shown

    check("torch.optim.AdamW[lr=0.1,batch=1,ema=0.9]", loop(adamw, evaluated=evaluated))


@pytest.mark.parametrize(("text", "begins"), [("0", 0), ("12", 12), ("0.5", 15)])
def test_a_polyak_average_is_that_of_torch(text: str, begins: int) -> None:
    def evaluated(model: nn.Module) -> Callable[[], Tensor]:
        average, times = AveragedModel(model), iter(range(UPDATES))

        def shown() -> Tensor:
            if next(times) < begins:
                return model.theta.detach().clone()  # type: ignore[operator,union-attr]
            average.update_parameters(model)
            return average.module.theta.detach().clone()

        return shown

    expected = loop(adamw, evaluated=evaluated)
    check(f"torch.optim.AdamW[lr=0.1,batch=1,polyak={text}]", expected)


def test_a_weight_decay_of_its_own_is_scheduled() -> None:
    def decays(optimizer: torch.optim.Optimizer, t: int) -> None:
        optimizer.param_groups[0]["weight_decay"] = 0.3 * (1 + (t + 1) / UPDATES)

    expected = loop(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3), after=decays)
    recipe = "weight_decay_schedule=linear,weight_decay_end=2"
    check(f"torch.optim.AdamW[lr=0.1,batch=1,weight_decay=0.3,{recipe}]", expected)


def test_accumulated_gradients_are_a_mean_over_batches() -> None:
    expected = loop(lambda p: torch.optim.SGD(p, lr=0.05), batches=3)
    check("torch.optim.SGD[lr=0.05,batch=1,accumulation=3]", expected)
    check("sgd@torch[lr=0.05,batch=1,accumulation=3]", expected)


def test_a_changed_gradient_lies_in_memory_as_any_other() -> None:
    """Optimizers may count on gradients whose numbers lie in a row."""

    class Given(Spent):
        def gradient(self, theta: Tensor, on: Any) -> tuple[Tensor, Tensor]:
            return theta.sum(1), theta.clone()

    # Its matrices lie the other way round.
    layout = Tiny().layout
    theta = torch.arange(float(layout.size)).unsqueeze(0)
    bounds = torch.full((1, 1), 9.0)
    changed = Gradients(accumulation=1, clip_norm=None, clip_value=bounds, total=None)
    objective: Any = RecipeObjective(Given(), changed, layout.parameters)  # type: ignore[arg-type]
    _, parts = objective.gradient_parts(theta, on=None)
    views = layout.parameters(theta[0]).values()
    assert not all(view.is_contiguous() for view in views)
    for part, view in zip(parts, views, strict=True):
        assert part.is_contiguous()
        assert torch.equal(part, view.clamp(max=9))


def test_an_l2_is_added_to_a_clipped_gradient() -> None:
    def change(p: nn.Parameter) -> None:
        clip_grad_norm_([p], 0.5)
        assert p.grad is not None
        p.grad.add_(p.detach(), alpha=0.2)

    expected = loop(lambda p: torch.optim.Rprop(p, lr=0.01), change=change)
    recipe = "weight_decay=0.2,weight_decay_form=l2,clip_norm=0.5"
    check(f"torch.optim.Rprop[lr=0.01,batch=1,{recipe}]", expected)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_nag_with_schedule_and_decay_is_the_textbooks(backend: str) -> None:
    """v' = μv − ε s_t ∇f(θ + μv), θ' = θ + v' − ε s_t λ d_t θ."""
    rate, objective = RateSchedule("linear", warmup=3), MovingObjective()
    theta, v, points = start(), torch.zeros_like(start()), []
    for t in range(UPDATES):
        s, d = rate.at(Place(t, t / UPDATES, UPDATES), 3 / UPDATES), 1 - t / UPDATES
        gradient = objective.at(t)(theta + 0.9 * v)
        v = 0.9 * v - 0.02 * s * gradient
        theta = theta + v - 0.02 * s * 0.5 * d * theta
        points.append(theta)
    method = "lr=0.02,mu_max=0.9,schedule=constant,period=1,final=0,batch=1"
    recipe = "lr_schedule=linear,lr_warmup=3,weight_decay=0.5,weight_decay_schedule=linear"
    found = train(resolve(f"nag@{backend}[{method},{recipe}]"))
    for mine, theirs in zip(found, points, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


class Newton:
    """A method without a rate: θ ← θ − 0.05 g."""

    name = "newton"
    reference = "none"
    backends = ("torch",)
    space = (Hyperparameter("batch", int, 1, "cases", low=1),)
    fleet_key = None

    def __init__(self, backend: str = "torch", **given: object) -> None:
        self.backend, self.hyperparameters = backend, cast_all(self.space, given, self.name)

    @property
    def cost_of_a_step(self) -> float:
        return 1.0

    def init(self, theta: Tensor, seed: int, budget: int | None) -> dict[str, Any]:
        return {}

    def step(self, theta: Tensor, objective: Any, state: Any) -> Mapping[str, Any]:
        loss, gradient = objective.gradient(theta, on=objective.next_batch(1))
        theta.add_(gradient, alpha=-0.05)
        return {"loss": loss}

    def iterate(self, theta: Tensor, state: Any) -> Tensor:
        return theta

    def state_dict(self, state: Any) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any, saved: Mapping[str, Any]) -> None:
        pass


class Rated(Newton):
    space = (*Newton.space, Hyperparameter("lr", float, 0.5, "rate", low=0.0))


def with_values(kind: Any, **given: object) -> Any:
    return with_recipe(kind, given)("torch", **given)


def test_the_steps_of_a_method_without_a_rate_are_scaled() -> None:
    found = train(with_values(Newton, lr_schedule="linear", weight_decay=0.1))
    theta, objective = start(), MovingObjective()
    for t in range(UPDATES):
        s = 1 - t / UPDATES
        theta = theta - s * 0.05 * objective.at(t)(theta) - s * 0.1 * theta
        torch.testing.assert_close(found[t], theta, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("recipe", ["lr_schedule=cosine", "lr_schedule=wsd", "polyak=0.5"])
def test_what_is_spent_takes_the_place_of_an_unknown_number(recipe: str) -> None:
    """Where every step costs the same, both are the same run."""
    text = f"nag[lr=0.02,final=0,batch=1,{recipe}]"
    known, by_share = train(resolve(text)), train(resolve(text), budget=None)
    for mine, theirs in zip(by_share, known, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)


ROWS = (
    "nag[lr=0.02,batch=1,final=5,lr_schedule=cosine,lr_warmup=0.1]",
    "sgd[lr=0.05,batch=1,clip_norm=1.5,ema=0.9]",
    "cm[lr=0.03,batch=1,final=5,weight_decay=0.2,weight_decay_schedule=linear]",
    "nag[lr=0.01,batch=1,final=5,polyak=0.5,lr_schedule=wsd,clip_value=1]",
    "nag[lr=0.01,batch=1,final=5,lr_schedule=constant]",
)


def fleet(backend: str = "torch") -> Any:
    first, *others = (resolve(text.replace("[", f"@{backend}[", 1)) for text in ROWS)
    return first.join(others)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_every_row_of_a_fleet_has_its_own_recipe(backend: str) -> None:
    together = train(fleet(backend), rows=len(ROWS))
    for row, text in enumerate(ROWS):
        alone = train(resolve(text.replace("[", f"@{backend}[", 1)))
        for mine, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(mine[row], theirs[0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("stretches", [(1, 1, 5), (FORESEEN, 3, FORESEEN, 20)])
def test_foreseen_steps_are_the_steps(stretches: tuple[int, ...]) -> None:
    method, steps, objective = fleet(), sum(stretches), Spent()
    theta = start(len(ROWS))
    state = method.init(theta, 0, 2 * UPDATES)
    for updates in stretches:
        method.foresee(state, state.factors.t, updates)
        for _ in range(updates):
            method.step(theta, objective, state)
    expected = train(fleet(), len(ROWS), steps, 2 * UPDATES)[-1]
    assert torch.equal(method.iterate(theta, state), expected)


def test_a_step_on_a_device_reads_its_factors_there() -> None:
    """No tensor moves from step to step, so that a graph can repeat one."""
    method, theta = fleet(), start(len(ROWS))
    state = method.init(theta, 0, UPDATES)
    method.foresee(state, 0, 3)
    held = [state.average, state.inner.rate, state.factors._table, state.factors._place]
    places = [each.data_ptr() for each in held]
    for _ in range(3):
        method.step(theta, Spent(), state)
    method.foresee(state, 3, 2)
    now = [state.average, state.inner.rate, state.factors._table, state.factors._place]
    assert [each.data_ptr() for each in now] == places
    assert method.capturable


@pytest.mark.parametrize(
    ("text", "budget"), [(ROWS[0], None), ("nag[batch=1,accumulation=2,lr_schedule=cosine]", 9)]
)
def test_factors_are_where_the_method_reads_them(text: str, budget: int | None) -> None:
    """Also where no graph can repeat a step."""
    method = resolve(text.replace("nag[", "nag@torch[").replace(",lr_warmup=0.1", ""))
    state = method.init(torch.zeros(1, 3, device="meta"), 0, budget)
    assert not method.capturable
    assert state.factors.next().rate.is_meta


@pytest.mark.parametrize("rows", [[1, 3], [0], [2, 4, 1]])
def test_rows_that_are_kept_go_on_as_before(rows: list[int]) -> None:
    every, theta, objective = fleet(), start(len(ROWS)), Spent()
    state = every.init(theta, 0, UPDATES)
    for _ in range(11):
        every.step(theta, objective, state)
    some = theta[rows]
    kept, of_some = every.keep(state, rows, some)
    other = Spent()
    other.batches = objective.batches
    for _ in range(11):
        every.step(theta, objective, state)
        kept.step(some, other, of_some)
    assert torch.equal(some, theta[rows])
    assert torch.equal(kept.iterate(some, of_some), every.iterate(theta, state)[rows])


@pytest.mark.parametrize("budget", [UPDATES, None])
@pytest.mark.parametrize(
    "text",
    [
        ROWS[0],
        ROWS[3],
        "torch.optim.AdamW[lr=0.1,batch=1,lr_schedule=cosine,ema=0.9,weight_decay_schedule=cosine]",
        "torch.optim.SGD[lr=0.01,batch=1,momentum=0.9,lr_schedule=wsd,polyak=0.3,clip_norm=1]",
    ],
)
def test_a_resumed_run_is_the_run(text: str, budget: int | None) -> None:
    if budget is None:
        text = text.replace(",lr_warmup=0.1", "")
    expected = train(resolve(text), budget=budget)
    theta, objective, method = start(), Spent(), resolve(text)
    state = method.init(theta, 0, budget)
    for t in range(UPDATES):
        if t in (0, 1, 7, 20):
            saved = copy.deepcopy(method.state_dict(state))
            kept, method = theta.clone(), resolve(text)
            theta = start()
            state = method.init(theta, 0, budget)
            theta.copy_(kept)
            method.load_state_dict(state, saved)
        method.step(theta, objective, state)  # type: ignore[arg-type]
        assert torch.equal(method.iterate(theta, state), expected[t])


def test_the_recipe_is_recorded_with_its_family_and_nothing_else_is() -> None:
    bare, made = resolve("nag"), resolve("nag[lr_schedule=cosine,clip_norm=2]")
    more = dict(made.hyperparameters.items() - bare.hyperparameters.items())
    assert more == {
        "lr_schedule": "cosine",
        "lr_warmup": 0.0,
        "lr_cooldown": 0.2,
        "lr_floor": 0.0,
        "clip_norm": 2.0,
    }
    assert not isinstance(bare, RecipeMethod)
    assert type(plain(made)) is type(bare)
    assert made.name == bare.name == "nag"


def test_a_grid_runs_over_recipes_too() -> None:
    made = make(parse("nag[lr_schedule=constant|cosine,clip_norm=1|2,lr=0.1]"))
    assert [(m.hyperparameters["lr_schedule"], m.hyperparameters["clip_norm"]) for m in made] == [
        ("constant", 1.0),
        ("constant", 2.0),
        ("cosine", 1.0),
        ("cosine", 2.0),
    ]


def test_how_long_a_run_does_not_depend_on_its_end() -> None:
    for text, anytime in (
        ("sgd[clip_norm=1,ema=0.9]", math.inf),
        ("nag[period=1,final=50,clip_norm=1]", 950),
        ("nag[final=50,lr_schedule=cosine]", 0),
        ("nag[final=50,lr_schedule=wsd,lr_cooldown=0.1]", 900),
        ("sgd[weight_decay=0.1,weight_decay_schedule=cosine]", 0),
        ("sgd[polyak=0.25]", 250),
        ("sgd[polyak=100]", math.inf),
        ("torch.optim.AdamW[lr_schedule=inverse_sqrt,lr_warmup=100]", math.inf),
    ):
        method: Any = resolve(text)
        assert method.anytime_updates(1_000) == anytime, text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nag[lr_schedule=cosin]", "allowed are constant, linear, cosine"),
        ("nag[lr_warmup=1.5]", "neither a share of the updates, which is below 1"),
        ("nag[lr_warmup=-1]", "at least 0"),
        ("nag[ema=0.9,polyak=0]", "ema and polyak exclude each other"),
        ("nag[clip_norm=1,clip_value=1]", "clip_norm and clip_value exclude each other"),
        ("nag[clip_norm=0]", "above 0"),
        ("nag[ema=1]", "below 1"),
        ("nag[weight_decay=0.1,weight_decay_form=l2]", "Write l2=0.1"),
        ("nag[weight_decay_schedule=cosine]", "Give weight_decay too"),
        ("hf[accumulation=2]", "nothing to accumulate"),
        ("torch.optim.Rprop[lr_schedule=cosine]", "does not read lr"),
        ("torch.optim.AdamW[weight_decay_form=l2]", "has no hyperparameter 'weight_decay_form'"),
        ("nag[warmup=3]", "did you mean 'lr_warmup'"),
    ],
)
def test_what_cannot_be_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(text)


def test_a_rate_that_no_schedule_reaches_is_said() -> None:
    with pytest.raises(UsageError, match=r"set_rates\(state, factors\)"):
        with_values(Rated, lr_schedule="cosine")
    assert with_values(Rated, clip_norm=1.0).hyperparameters["lr"] == 0.5


@pytest.mark.parametrize(
    ("text", "updates", "said"),
    [
        ("nag[lr_warmup=100,lr_schedule=cosine]", 100, "shorter than the budget"),
        ("nag[lr_warmup=101]", 100, "lr_warmup=101 is 101 updates"),
        ("nag[lr_schedule=wsd,lr_warmup=0.5,lr_cooldown=60]", 100, "Shorten one"),
        ("nag[polyak=100]", 100, "Let it begin earlier"),
        ("hf[lr_warmup=0.1]", None, "Write a number of updates"),
        ("hf[lr_schedule=wsd,lr_cooldown=10]", None, "Write a share of the budget"),
    ],
)
def test_what_does_not_fit_into_the_budget_is_said(
    text: str, updates: int | None, said: str
) -> None:
    method: Any = resolve(text)
    with pytest.raises(UsageError, match=said):
        method.check_budget(updates)
    with pytest.raises(UsageError, match=said):
        method.init(start(), 0, updates)


class Restless(torch.optim.SGD):
    """It has a schedule of its own."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.9
        return result


class InPlace(torch.optim.SGD):
    """Has its rate in a tensor, and lets it fall by itself."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, torch.tensor(lr, dtype=torch.float64))

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            group["lr"].mul_(0.9)
        return result


@pytest.mark.parametrize("optimizer", [Restless, InPlace])
def test_a_second_schedule_is_said(optimizer: type[torch.optim.Optimizer]) -> None:
    from bench.optim.torch.adapter import adapt

    method = with_values(adapt(optimizer, "own"), lr=0.1, batch=1, lr_schedule="cosine")
    with pytest.raises(UsageError, match="changes lr in its groups by itself"):
        train(method)
