import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.optim.hyperparameters import UsageError
from bench.optim.momentum import reference
from bench.optim.momentum.methods import CM, NAG, SGD, Momentum, State
from bench.optim.momentum.schedules import Schedule
from bench.optim.objective import FORESEEN
from bench.optim.objective import rows as column
from tests.optim.dense import spectrum
from tests.optim.moving import WIDTH, MovingObjective, start

KINDS: dict[str, type[Momentum]] = {"sgd": SGD, "cm": CM, "nag": NAG}
RULES = {"sgd": reference.momentum, "cm": reference.momentum, "nag": reference.nesterov}
BACKENDS = ("torch", "numba")
STEPS = 1_000
FINAL = 150
MIXED = (
    ("sgd", {"lr": 0.02}),
    ("cm", {"lr": 0.003, "mu_max": 0.99, "final": FINAL}),
    ("nag", {"lr": 0.01, "mu_max": 0.9, "final": FINAL}),
    ("nag", {"lr": 0.005, "mu_max": 0.999, "final": FINAL}),
)
FLEETS = [pytest.param((row,), id=row[0]) for row in MIXED[:3]] + [pytest.param(MIXED, id="mixed")]

Row = tuple[str, dict[str, Any]]


def fleet(rows: tuple[Row, ...], backend: str) -> Momentum:
    first, *others = (KINDS[kind](backend, **given) for kind, given in rows)
    return first.join(others) if others else first


def published(t: int, mu_max: float, steps: int = STEPS, final: int = FINAL) -> float:
    """Eq. 5 as it is printed, and 0.9 in the last `final` updates."""
    mu = min(1 - 2 ** (-1 - math.log2(t // 250 + 1)), mu_max)
    return min(mu, 0.9) if t >= steps - final else mu


def reference_row(
    kind: str, mu: Callable[[int], float], lr: Callable[[int], float], steps: int, l2: float = 0.0
) -> Tensor:
    """θ after each of `steps` updates by optim/momentum/reference.py, (steps, P)."""
    objective, (theta,), trajectory = MovingObjective(), start(), []
    v = torch.zeros_like(theta)
    for t in range(steps):
        f = objective.at(t)
        theta, v = RULES[kind](theta, v, lambda x, f=f: f(x) + l2 * x, lr(t), mu(t))
        trajectory.append(theta)
    return torch.stack(trajectory)


def train(
    method: Momentum,
    steps: int,
    rows: int = 1,
    before: Callable[[int, State], None] | None = None,
    budget: int | None = None,
) -> Tensor:
    """θ after each of `steps` updates, (steps, K, P)."""
    objective, theta, trajectory = MovingObjective(), start(rows), []
    state = method.init(theta, 0, budget or steps)
    for t in range(steps):
        if before is not None:
            before(t, state)
        method.step(theta, objective, state)
        trajectory.append(method.iterate(theta, state).clone())
    return torch.stack(trajectory)


def apart(a: Tensor, b: Tensor) -> float:
    """The largest distance of two trajectories, relative to the length of θ."""
    return ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", FLEETS)
def test_golden_under_the_published_schedule(rows: tuple[Row, ...], backend: str) -> None:
    made = train(fleet(rows, backend), STEPS, len(rows))
    for k, (kind, given) in enumerate(rows):
        expected = under_the_schedule(kind, given["lr"], given.get("mu_max", 0.0))
        assert apart(made[:, k], expected) <= 1e-12


@cache
def under_the_schedule(kind: str, lr: float, mu_max: float) -> Tensor:
    return reference_row(kind, lambda t: published(t, mu_max), lambda _: lr, STEPS)


@dataclass
class Drawn:
    """Another μ at every t, the same whenever t is asked for."""

    seed: int

    def __call__(self, t: int) -> float:
        return random.Random(f"{self.seed} {t}").uniform(0.1, 0.95)


def drawn_rate(k: int, t: int) -> float:
    return 10 ** random.Random(f"rate {k} {t}").uniform(-4, -1.5)


def draw(method_rows: int) -> Callable[[int, State], None]:
    def before(t: int, state: State) -> None:
        state.schedules = [Drawn(k) for k in range(method_rows)]
        state.rate.copy_(column([drawn_rate(k, t) for k in range(method_rows)], state.rate))

    return before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kinds", [("cm",), ("nag",), ("cm", "nag", "nag", "cm")])
def test_golden_with_momentum_and_rate_drawn_anew_every_step(
    kinds: tuple[str, ...], backend: str
) -> None:
    method = fleet(tuple((kind, {}) for kind in kinds), backend)
    made = train(method, STEPS, len(kinds), draw(len(kinds)))
    for k, kind in enumerate(kinds):
        assert apart(made[:, k], all_drawn(kind, k)) <= 1e-12


@cache
def all_drawn(kind: str, k: int) -> Tensor:
    return reference_row(kind, Drawn(k), lambda t: drawn_rate(k, t), STEPS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_theorem_2_1(backend: str) -> None:
    """On a quadratic, along an eigendirection of curvature λ, NAG(μ, ε) is CM(μ(1 − λε), ε)."""
    eigenvalues, epsilon, steps = [0.02, 0.3, 2.0, 9.0], 0.05, 400
    hessian = spectrum(torch.tensor(eigenvalues, dtype=torch.float64), seed=3)
    directions = torch.linalg.eigh(hessian).eigenvectors

    class Quadratic(MovingObjective):
        def gradient(self, theta: Tensor, on: object) -> tuple[Tensor, Tensor]:
            return theta.new_zeros(len(theta)), theta @ hessian

    def rolled(method: Momentum, schedules: list[Schedule]) -> Tensor:
        theta = torch.ones(len(schedules), 4, dtype=torch.float64)
        state, objective, trajectory = method.init(theta, 0, None), Quadratic(), []
        state.schedules = schedules
        for _ in range(steps):
            method.step(theta, objective, state)
            trajectory.append(method.iterate(theta, state).clone())
        return torch.stack(trajectory)

    def mu(t: int) -> float:
        return published(t, 0.99, steps)

    nag = rolled(fleet((("nag", {"lr": epsilon}),), backend), [mu])
    damped: list[Schedule] = [lambda t, c=c: mu(t) * (1 - c * epsilon) for c in eigenvalues]
    cm = rolled(fleet((("cm", {"lr": epsilon}),) * 4, backend), damped)
    along_nag = nag[:, 0] @ directions
    along_cm = torch.einsum("tkp,pk->tk", cm, directions)
    start_along = torch.ones(4).double() @ directions
    assert ((along_nag - along_cm) / start_along).abs().max() <= 1e-12
    # Plain CM is another method: the theorem is not met by everything.
    plain = rolled(fleet((("cm", {"lr": epsilon}),), backend), [mu])[:, 0] @ directions
    assert ((along_nag - plain) / start_along).abs().max() > 0.1


def torch_sgd(
    mu: Callable[[int], float], lr: Callable[[int], float], exact: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """torch.optim.SGD(nesterov=True): its parameters p, θ by its own μ_t, and θ by μ_{t+1}.

    With v = −εb the parameters are the look-ahead point, and θ = p + εμb. `exact`: before
    each step the buffer is multiplied by μ_t ε_{t−1} / (μ_{t+1} ε_t), and momentum is μ_{t+1}.
    """
    parameter = torch.nn.Parameter(start()[0])
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.5, nesterov=True, foreach=False)
    objective, (group,), seen = MovingObjective(), optimizer.param_groups, []
    for t in range(STEPS):
        group["lr"], group["momentum"] = lr(t), mu(t + 1) if exact else mu(t)
        if exact and t > 0:
            buffer = optimizer.state[parameter]["momentum_buffer"]
            buffer.mul_(mu(t) * lr(t - 1) / (mu(t + 1) * lr(t)))
        parameter.grad = objective.at(t)(parameter.detach())
        optimizer.step()
        p, b = parameter.detach().clone(), optimizer.state[parameter]["momentum_buffer"]
        seen.append((p, p + lr(t) * mu(t) * b, p + lr(t) * mu(t + 1) * b))
    held, own, ahead = (torch.stack(each) for each in zip(*seen, strict=True))
    return held, own, ahead


def both_points(method: Momentum, before: Callable[[int, State], None]) -> tuple[Tensor, Tensor]:
    """θ and the look-ahead point after each update."""
    objective, y = MovingObjective(), start()
    state, points = method.init(y, 0, STEPS), list[tuple[Tensor, Tensor]]()
    for t in range(STEPS):
        before(t, state)
        method.step(y, objective, state)
        points.append((method.iterate(y, state)[0].clone(), y[0].clone()))
    theta, lookahead = (torch.stack(each) for each in zip(*points, strict=True))
    return theta, lookahead


def test_torch_nesterov_is_another_method_under_the_schedule() -> None:
    """torch looks ahead with the μ_t of the step it has made, NAG with the μ_{t+1} of the next.

    torch holds the look-ahead point p and b = −v/ε, and moves p by −ε(g + μb'). With constant
    μ and ε that is NAG in other variables. Where μ rises between t and t + 1, p lies at
    θ + μ_t v instead of θ + μ_{t+1} v, the next gradient is taken there, and the paths part;
    where ε changes, b stands for a velocity rescaled by ε_t/ε_{t−1}. So neither p, read as θ
    or as the look-ahead point, nor p + εμb agrees.
    """
    lr = 0.005
    method = NAG("torch", lr=lr, mu_max=0.99, final=FINAL)
    theta, lookahead = both_points(method, lambda t, state: None)
    held, own, ahead = torch_sgd(lambda t: published(t, 0.99), lambda t: lr)
    assert apart(held, theta) >= 1e-5
    assert apart(held, lookahead) >= 1e-5
    assert apart(own, theta) >= 1e-5
    assert apart(ahead, theta) >= 1e-5


def test_torch_nesterov_is_nag_where_momentum_and_rate_are_constant() -> None:
    theta, lookahead = both_points(
        NAG("torch", lr=0.005, mu_max=0.9, schedule="constant", final=0), lambda t, state: None
    )
    held, own, _ = torch_sgd(lambda t: 0.9, lambda t: 0.005)
    assert apart(held, lookahead) <= 1e-12
    assert apart(own, theta) <= 1e-12


def test_torch_sgd_emulates_nag_once_its_buffer_is_rescaled() -> None:
    mu = Drawn(0)

    def rate(t: int) -> float:
        return drawn_rate(0, t)

    theta, lookahead = both_points(NAG("torch"), draw(1))
    held, _, ahead = torch_sgd(mu, rate, exact=True)
    assert apart(held, lookahead) <= 1e-12
    assert apart(ahead, theta) <= 1e-12
    as_written, own, _ = torch_sgd(mu, rate)
    assert min(apart(as_written, lookahead), apart(own, theta)) > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_of_a_fleet_is_the_trial_alone(backend: str, dtype: torch.dtype) -> None:
    """Bit for bit: the gradients are given, so that only the update can differ."""
    width, steps = 37, 60
    gradients = torch.randn(steps, 1, width, generator=torch.Generator().manual_seed(0)).to(dtype)

    class Given(MovingObjective):
        def gradient(self, theta: Tensor, on: object) -> tuple[Tensor, Tensor]:
            return theta.new_zeros(len(theta)), gradients[on.n].repeat(len(theta), 1)

    def end(rows: tuple[Row, ...]) -> Tensor:
        method, objective = fleet(rows, backend), Given()
        theta = torch.linspace(-1, 1, width, dtype=dtype).repeat(len(rows), 1)
        state = method.init(theta, 0, steps)
        for _ in range(steps):
            method.step(theta, objective, state)
        return theta

    together = end(MIXED)
    for k, row in enumerate(MIXED):
        assert torch.equal(together[k], end((row,))[0])


def test_backends_agree_in_float32() -> None:
    def end(backend: str) -> Tensor:
        method, objective, theta = fleet(MIXED, backend), MovingObjective(), start(4).float()

        class Single(MovingObjective):
            def gradient(self, theta: Tensor, on: object) -> tuple[Tensor, Tensor]:
                return theta.new_zeros(len(theta)), objective.at(on.n)(theta.double()).float()

        state = method.init(theta, 0, 300)
        for _ in range(300):
            method.step(theta, Single(), state)
        return theta

    torch.testing.assert_close(end("torch"), end("numba"), rtol=2e-5, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", FLEETS)
def test_state_round_trip_in_the_middle_is_exact(rows: tuple[Row, ...], backend: str) -> None:
    method, objective, theta = fleet(rows, backend), MovingObjective(), start(len(rows))
    state = method.init(theta, 0, STEPS)
    for _ in range(260):
        method.step(theta, objective, state)
    saved, resumed_theta = method.state_dict(state), theta.clone()
    kept = {name: value.clone() for name, value in saved.items() if isinstance(value, Tensor)}
    for _ in range(300):
        method.step(theta, objective, state)
    assert all(torch.equal(saved[name], value) for name, value in kept.items())

    again, other = fleet(rows, backend), MovingObjective()
    other.batches = 260
    resumed = again.init(resumed_theta, 0, STEPS)
    again.load_state_dict(resumed, saved)
    for _ in range(300):
        again.step(resumed_theta, other, resumed)
    assert torch.equal(theta, resumed_theta)
    assert torch.equal(state.v, resumed.v)
    assert state.t == resumed.t == 560


@pytest.mark.parametrize("backend", BACKENDS)
def test_l2_adds_its_gradient_at_the_point_of_the_gradient(backend: str) -> None:
    rows: tuple[Row, ...] = (
        ("cm", {"lr": 0.01, "mu_max": 0.9, "l2": 0.3}),
        ("nag", {"lr": 0.01, "mu_max": 0.9, "l2": 0.1}),
        ("nag", {"lr": 0.01, "mu_max": 0.9}),
    )
    made = train(fleet(rows, backend), 300, 3)
    for k, (kind, given) in enumerate(rows):
        l2 = given.get("l2", 0.0)
        expected = reference_row(
            kind, lambda t: published(t, 0.9, 300, 1000), lambda _: 0.01, 300, l2
        )
        assert apart(made[:, k], expected) <= 1e-12


@pytest.mark.parametrize("kind", ["cm", "nag"])
def test_momentum_is_low_in_the_last_updates_of_the_budget(kind: str) -> None:
    given = {"mu_max": 0.99, "period": 10, "final": 40, "final_mu": 0.6}
    method = KINDS[kind]("torch", **given)
    made = train(method, 200)
    high = [min(1 - 0.5 / (t // 10 + 1), 0.99) for t in range(201)]
    low = [mu if t < 160 else 0.6 for t, mu in enumerate(high)]
    assert apart(made[:, 0], reference_row(kind, low.__getitem__, lambda _: 0.01, 200)) <= 1e-12
    endless = train(method, 200, budget=10_000)[:, 0]
    assert apart(endless, reference_row(kind, high.__getitem__, lambda _: 0.01, 200)) <= 1e-12


def test_without_a_known_end_there_is_no_final_phase() -> None:
    schedule = CM("torch", mu_max=0.99, period=1, final=10).schedule(None)
    assert schedule(10**9) == 0.99


def test_the_updates_before_the_final_phase_do_not_depend_on_the_budget() -> None:
    nag = NAG("torch", mu_max=0.99, period=10, final=40, final_mu=0.6)
    assert nag.anytime_updates(200) == 160
    assert nag.anytime_updates(None) == math.inf
    assert NAG("torch", mu_max=0.6, period=10, final=40, final_mu=0.6).anytime_updates(200) == (
        math.inf
    )
    assert SGD("torch").anytime_updates(200) == math.inf
    joined = nag.join([NAG("torch", final=0), NAG("torch", period=10, final=50, final_mu=0.6)])
    assert joined.anytime_updates(200) == 150


def test_sgd_knows_no_momentum() -> None:
    assert [h.name for h in SGD.space] == ["lr", "batch", "l2"]
    with pytest.raises(UsageError, match="sgd has no hyperparameter 'mu_max'"):
        SGD("torch", mu_max=0.9)
    made = train(SGD("torch", lr=0.02), 100)[:, 0]
    assert apart(made, reference_row("sgd", lambda _: 0.0, lambda _: 0.02, 100)) <= 1e-12


def test_schedules_by_name() -> None:
    def mu(**given: object) -> Schedule:
        return NAG("torch", **given).schedule(None)

    assert mu(schedule="sutskever", mu_max=0.99, period=5)(5) == 0.75
    assert [mu(schedule="constant", mu_max=0.98, period=5)(t) for t in (4, 5)] == [0.9, 0.98]
    assert mu(schedule="nesterov", mu_max=0.5)(0) == 0.0
    with pytest.raises(UsageError, match="allowed are sutskever, constant, nesterov"):
        mu(schedule="cosine")


def test_what_can_share_a_fleet() -> None:
    assert NAG("torch", lr=1).fleet_key == CM("torch", lr=2).fleet_key == SGD("torch").fleet_key
    assert NAG("torch").fleet_key != NAG("numba").fleet_key
    for other in (NAG("numba"), NAG("torch", batch=10)):
        with pytest.raises(UsageError, match="same backend and batch size"):
            NAG("torch").join([other])


def test_joining_fleets_keeps_every_row() -> None:
    parts = [fleet(MIXED[:2], "torch"), fleet(MIXED[2:], "torch")]
    joined = parts[0].join(parts[1:])
    assert torch.equal(train(joined, 50, 4), train(fleet(MIXED, "torch"), 50, 4))


def test_default_backend_follows_the_device() -> None:
    assert NAG.default_backend("cpu") == "numba"
    assert NAG.default_backend("cuda") == "torch"


def test_numba_is_refused_away_from_the_cpu() -> None:
    with pytest.raises(UsageError, match="numba.*only on the CPU.*nag@torch"):
        NAG("numba").init(torch.zeros(1, WIDTH, device="meta"), 0, None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_kept_of_rows_that_do_not_look_ahead_is_theta(backend: str) -> None:
    theta = start(2)
    method, nag = fleet(MIXED[:2], backend), fleet(MIXED[1:3], backend)
    assert method.iterate(theta, method.init(theta, 0, None)) is theta
    assert torch.equal(nag.iterate(theta, nag.init(theta, 0, None)), theta)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_step_of_a_nan_row_leaves_the_others_alone(backend: str) -> None:
    def end(first: float) -> Tensor:
        method, theta = fleet(MIXED, backend), start(4)
        theta[1, 0] = first
        state, objective = method.init(theta, 0, 40), MovingObjective()
        for _ in range(40):
            method.step(theta, objective, state)
        return theta

    spoilt, sound = end(math.nan), end(1.0)
    assert spoilt[1].isnan().any()
    for k in (0, 2, 3):
        assert torch.equal(spoilt[k], sound[k])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stretches", [(1, 1, 5), (FORESEEN, 3, FORESEEN, 20)])
def test_foreseen_steps_are_the_steps(stretches: tuple[int, ...], backend: str) -> None:
    """Wherever a stretch begins, its coefficients are those of its place in the run."""
    method, steps = fleet(MIXED, backend), sum(stretches)
    objective, theta = MovingObjective(), start(len(MIXED))
    state = method.init(theta, 0, STEPS)
    for updates in stretches:
        method.foresee(state, state.t, updates)
        for _ in range(updates):
            method.step(theta, objective, state)
    expected = train(fleet(MIXED, backend), steps, len(MIXED), budget=STEPS)[-1]
    assert torch.equal(method.iterate(theta, state), expected)


def test_a_step_on_a_device_reads_its_coefficients_there() -> None:
    """Nothing on the host but `left` changes in a step, so that a graph can repeat it."""
    method, theta = fleet(MIXED, "torch"), start(len(MIXED))
    state = method.init(theta, 0, STEPS)
    method.foresee(state, 0, 3)
    host = {name: value for name, value in vars(state).items() if not isinstance(value, Tensor)}
    places = {name: value.data_ptr() for name, value in vars(state).items() if name not in host}
    for _ in range(3):
        method.step(theta, MovingObjective(), state)
    assert {name: vars(state)[name] for name in host} == {**host, "left": 0}
    method.foresee(state, 3, 2)
    assert {name: vars(state)[name].data_ptr() for name in places} == places


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [[1, 3], [0], [0, 1], [2, 0, 3]])
def test_rows_that_are_kept_go_on_as_before(rows: list[int], backend: str) -> None:
    every, theta, objective = fleet(MIXED, backend), start(4), MovingObjective()
    state = every.init(theta, 0, STEPS)
    for _ in range(90):
        every.step(theta, objective, state)
    some = theta[rows]
    kept, of_some = every.keep(state, rows, some)
    other = MovingObjective()
    other.batches = objective.batches
    for _ in range(90):
        every.step(theta, objective, state)
        kept.step(some, other, of_some)
    assert torch.equal(some, theta[rows])
    assert torch.equal(kept.iterate(some, of_some), every.iterate(theta, state)[rows])


def test_a_state_may_be_loaded_into_a_run_that_has_begun() -> None:
    method, objective, theta = fleet(MIXED, "torch"), MovingObjective(), start(len(MIXED))
    state = method.init(theta, 0, STEPS)
    for _ in range(260):
        method.step(theta, objective, state)
    saved, kept = method.state_dict(state), theta.clone()
    other, y = MovingObjective(), start(len(MIXED))
    begun = method.init(y, 0, STEPS)
    for _ in range(5):
        method.step(y, other, begun)
    y.copy_(kept)
    method.load_state_dict(begun, saved)
    other.batches = objective.batches
    for _ in range(40):
        method.step(theta, objective, state)
        method.step(y, other, begun)
    assert torch.equal(y, theta)
    assert begun.t == state.t == 300
