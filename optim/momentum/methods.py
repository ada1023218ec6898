"""SGD, classical momentum and Nesterov's accelerated gradient on flat parameters, K trials at once.

The three differ by one number a row, the look-ahead. What is kept is not θ but the point at which
the gradient is taken, y_t = θ_t + look·μ_t v_t. In these terms an update, v ← μ_t v − ε ∇f(y) and
θ ← θ + v, is

    v ← μ_t v − ε ∇f(y)        y ← y + ahead·v − look·ε ∇f(y)

with ahead = μ_{t+1} for look = 1, which is NAG, and ahead = 1 for look = 0, classical momentum; SGD
is the case μ = 0 (Sutskever et al. 2013, Eqs. 1–4). μ_{t+1} is known at t, so one pass over memory
does it all: it reads y, v and the gradient and writes y and v. This is not
`torch.optim.SGD(nesterov=True)`, which holds y too, but uses μ_t in both places and keeps −v/ε.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.optim.hyperparameters import Hyperparameter, Unavailable, UsageError, cast_all
from bench.optim.momentum import update_cpu, update_cuda
from bench.optim.momentum.schedules import Constant, FinalPhase, Nesterov1983, Rising, Schedule
from bench.optim.objective import FORESEEN, Method, Objective, rows

LR = Hyperparameter(
    "lr",
    float,
    0.01,
    "ε, the learning rate; it multiplies the gradient only",
    low=0.0,
    open_low=True,
    tune=(1e-3, 1.0),
    scale="log",
    grid=(0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001),
)
BATCH = Hyperparameter("batch", int, 200, "cases in a minibatch", low=1)
L2 = Hyperparameter("l2", float, 0.0, "weight of ½‖θ‖² in the objective", low=0.0)
MU_MAX = Hyperparameter(
    "mu_max",
    float,
    0.99,
    "μ_max, the largest momentum",
    low=0.0,
    high=1.0,
    tune=(0.9, 0.999),
    scale="log from one",
    grid=(0.9, 0.99, 0.995, 0.999),
)
SCHEDULE = Hyperparameter(
    "schedule",
    str,
    "sutskever",
    "sutskever: Eq. 5; constant: 0.9 for `period` updates, then mu_max; nesterov: 1983, A.1",
    choices=("sutskever", "constant", "nesterov"),
)
PERIOD = Hyperparameter("period", int, 250, "updates between two steps of the schedule", low=1)
FINAL = Hyperparameter("final", int, 1000, "last updates in which momentum is low", low=0)
FINAL_MU = Hyperparameter("final_mu", float, 0.9, "momentum of the final phase", low=0.0, high=1.0)


@dataclass
class State:
    """Velocity, and the coefficients of the updates to come."""

    v: Float[Tensor, "K P"]
    schedules: list[Schedule]
    lr: Float[Tensor, "K 1"]
    rate: Float[Tensor, "K 1"]
    """lr times the factor of a schedule, where there is one."""
    look: Float[Tensor, "K 1"]
    """1 for rows that look ahead, 0 for others."""
    l2: Float[Tensor, "K 1"] | None
    """None where no row has any."""
    coefficients: Float[Tensor, "n 2 K 1"]
    """μ_t and `ahead` of the updates from `begun` on, and μ_t behind them, in θ's place."""
    place: Int[Tensor, " 1"]
    """Which of them is next: a step on a device counts there, and asks nobody."""
    begun: int = 0
    left: int = 0
    """How many of them `step` may still use before it has to make more."""

    @property
    def t(self) -> int:
        """The number of updates made; on a GPU, reading it waits for them."""
        return self.begun + int(self.place)


class Momentum(Method):
    """SGD, CM or NAG with per-row ε, μ and look-ahead; the backend decides who computes it."""

    reference: ClassVar[str] = "Sutskever, Martens, Dahl & Hinton 2013, sec. 2"
    space: ClassVar[tuple[Hyperparameter, ...]] = (
        LR,
        MU_MAX,
        BATCH,
        SCHEDULE,
        PERIOD,
        FINAL,
        FINAL_MU,
        L2,
    )
    backends: ClassVar[tuple[str, ...]] = ("torch", "numba", "numba-cuda")
    look: ClassVar[float]
    hyperparameters: Mapping[str, Any]
    capturable: ClassVar[bool] = True

    def __init__(self, backend: str = "torch", **given: object) -> None:
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        self._rows: list[Momentum] = [self]

    @classmethod
    def default_backend(cls, device: str) -> str:
        """Return the faster backend: one Numba pass on a CPU, torch elsewhere."""
        return "numba" if device == "cpu" else "torch"

    @classmethod
    def require_backend(cls, backend: str, device: str) -> None:
        """Raise an error for @numba on a GPU, and for @numba-cuda without GPU or simulator."""
        if backend == "numba" and device != "cpu":
            raise UsageError(
                f"{cls.name}@numba runs only on the CPU, not on {device}; write {cls.name}@torch."
            )
        if backend == "numba-cuda" and (found := update_cuda.obstacle(device)):
            others = f"{cls.name}@torch" + (f" or {cls.name}@numba" if device == "cpu" else "")
            raise Unavailable(
                f"{cls.name}@numba-cuda cannot run: {found.reason}. {found.remedy}, "
                f"or write {others}."
            )

    @property
    def cost_of_a_step(self) -> float:
        """One gradient on every case of the batch."""
        return float(self.hyperparameters["batch"])

    @property
    def fleet_key(self) -> tuple[Any, ...]:
        """Rows share a fleet whatever their kind, if backend and batch size are the same."""
        return ("momentum", self.backend, self.hyperparameters["batch"])

    @property
    def vectors(self) -> int:
        """y, v and the gradient."""
        return 3

    @property
    def linearized(self) -> float:
        """No curvature."""
        return 0.0

    def join(self, others: list[Momentum]) -> Momentum:
        """Return one method with a row for each."""
        if any(other.fleet_key != self.fleet_key for other in others):
            raise UsageError("rows of one fleet need the same backend and batch size.")
        joined = type(self)(self.backend, **self.hyperparameters)
        joined._rows = [row for method in (self, *others) for row in method._rows]
        return joined

    def schedule(self, budget: int | None) -> Schedule:
        """Return μ_t of this row; the final phase needs to know where the run ends."""
        h = self.hyperparameters
        before: dict[str, Schedule] = {
            "sutskever": Rising(h["mu_max"], h["period"]),
            "constant": Constant(h["mu_max"], h["period"]),
            "nesterov": Nesterov1983(h["mu_max"]),
        }
        mu = before[h["schedule"]]
        return mu if budget is None else FinalPhase(mu, budget, h["final"], h["final_mu"])

    def anytime_updates(self, budget: int | None) -> float:
        """Return the number of updates before the final phase lowers μ in a row; ∞ if it does not.

        A final phase of n updates in a run of T gives T − n, unless μ is still as low as that then.
        """
        schedules = [row.schedule(budget) for row in self._rows]
        return min(
            schedule.first_lowered if isinstance(schedule, FinalPhase) else math.inf
            for schedule in schedules
        )

    def init(self, theta: Float[Tensor, "K P"], seed: int, budget: int | None) -> State:
        """Return zero velocity at t = 0, where y is θ."""
        self.require_backend(self.backend, theta.device.type)
        schedules = [row.schedule(budget) for row in self._rows]
        l2 = [row.hyperparameters["l2"] for row in self._rows]
        if self.backend == "numba":
            update_cpu.compile_for(theta)
        if self.backend == "numba-cuda":
            update_cuda.compile_for(theta)
        lr = rows([row.hyperparameters["lr"] for row in self._rows], theta)
        state = State(
            v=torch.zeros_like(theta),
            schedules=schedules,
            lr=lr,
            rate=lr.clone(),
            look=rows([row.look for row in self._rows], theta),
            l2=rows(l2, theta) if any(l2) else None,
            coefficients=theta.new_zeros((FORESEEN + 1, 2, len(theta), 1)),
            place=torch.zeros(1, dtype=torch.int64, device=theta.device),
        )
        self.foresee(state, 0, 0)
        return state

    def step(
        self, theta: Float[Tensor, "K P"], objective: Objective, state: State
    ) -> Mapping[str, Any]:
        """Make one update of every row; `theta` holds y."""
        batch = objective.next_batch(self.hyperparameters["batch"])
        loss, gradient = objective.gradient(theta, on=batch)
        if state.l2 is not None:
            gradient.addcmul_(theta, state.l2)
        if not state.left:
            self.foresee(state, state.t, FORESEEN)
        state.left -= 1
        mu, ahead = state.coefficients.index_select(0, state.place)[0].unbind()
        state.place.add_(1)
        UPDATES[self.backend](theta, state.v, gradient, state.rate, mu, ahead, state.look)
        return {"loss": loss}

    def set_rates(self, state: State, factors: Float[Tensor, "K 1"]) -> None:
        """Let the next steps have these factors of ε."""
        torch.mul(state.lr, factors, out=state.rate)

    def foresee(self, state: State, t: int, updates: int) -> None:
        """Put μ_t and `ahead` of the steps t … t + updates − 1 where `step` reads them.

        μ_t of one more lies behind them, for `iterate`.
        """
        mu = [[schedule(t + i) for schedule in state.schedules] for i in range(updates + 2)]
        looks = [row.look for row in self._rows]
        ahead = [[m if look else 1.0 for look, m in zip(looks, now, strict=True)] for now in mu[1:]]
        table = torch.tensor(list(zip(mu, ahead, strict=False)), dtype=state.lr.dtype).unsqueeze(3)
        if state.place.is_cuda:
            table = table.pin_memory()
        state.coefficients[: updates + 1].copy_(table, non_blocking=True)
        state.place.zero_()
        state.begun, state.left = t, updates

    def iterate(self, theta: Float[Tensor, "K P"], state: State) -> Float[Tensor, "K P"]:
        """Return θ = y − look·μ_t v; like `step` it asks the device for nothing."""
        if not any(row.look for row in self._rows):
            return theta
        mu, _ = state.coefficients.index_select(0, state.place)[0].unbind()
        return torch.addcmul(theta, state.v, state.look * mu, value=-1)

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return velocity and t."""
        return {"v": state.v.clone(), "t": state.t}

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        state.v.copy_(saved["v"])
        self.foresee(state, saved["t"], 0)

    def keep(
        self, state: State, rows: Sequence[int], theta: Float[Tensor, "k P"]
    ) -> tuple[Momentum, State]:
        """Return method and state of some of the rows, whose θ is now `theta`."""
        first, *others = (self._rows[row] for row in rows)
        kept, some = first.join(others), list(rows)
        of_some = State(
            v=state.v[some],
            schedules=[state.schedules[row] for row in some],
            lr=state.lr[some],
            rate=state.rate[some],
            look=state.look[some],
            l2=None if state.l2 is None else state.l2[some],
            coefficients=theta.new_zeros((FORESEEN + 1, 2, len(theta), 1)),
            place=torch.zeros_like(state.place),
        )
        kept.foresee(of_some, state.t, 0)
        return kept, of_some


class CM(Momentum):
    """Classical momentum (Polyak 1964): v' = μv − ε∇f(θ), θ' = θ + v'."""

    name = "cm"
    look = 0.0


class NAG(Momentum):
    """Nesterov's accelerated gradient: v' = μv − ε∇f(θ + μv), θ' = θ + v'."""

    name = "nag"
    look = 1.0


class SGD(Momentum):
    """Stochastic gradient descent: θ' = θ − ε∇f(θ)."""

    name = "sgd"
    look = 0.0
    space = (LR, BATCH, L2)

    def schedule(self, budget: int | None) -> Schedule:
        """Return μ = 0."""
        return Rising(0.0)


def torch_update(
    y: Float[Tensor, "K P"],
    v: Float[Tensor, "K P"],
    gradient: Float[Tensor, "K P"],
    lr: Float[Tensor, "K 1"],
    mu: Float[Tensor, "K 1"],
    ahead: Float[Tensor, "K 1"],
    look: Float[Tensor, "K 1"],
) -> None:
    """v ← μv − εg, y ← y + (ahead·v − look·εg), in place; the gradient is written over."""
    v.mul_(mu).addcmul_(gradient, lr, value=-1)
    y.add_(gradient.mul_(look * -lr).addcmul_(v, ahead))


UPDATES: dict[str, Callable[..., None]] = {
    "torch": torch_update,
    "numba": update_cpu.fused_update,
    "numba-cuda": update_cuda.fused_update,
}
