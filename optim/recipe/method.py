"""A method with a recipe: the method itself, and around its steps what the recipe says.

In step t, with the factors s_t of the learning rate and d_t of the weight decay,

    g     the mean of the gradients on `accumulation` batches, clipped; + λ d_t θ in the form l2
    θ'    the method's own step on g with the learning rate lr·s_t;
          for a method without a rate, θ + s_t·(its step)
    θ''   θ' − lr·s_t·λ d_t·θ, the decoupled form
    a     a + w_t (θ'' − a), which is evaluated in place of θ'' where there is an average

A method that has a rate takes s_t from `set_rates(state, factors)`, and one that has a weight
decay takes d_t from `set_weight_decay(state, factors)`: columns (K, 1) of float64, on θ's device
for a method that a CUDA graph can repeat, else on the CPU. Such a method has an `iterate` that a
graph can repeat too: a decay and an average ask it in the step. One that keeps copies of θ is told
by `theta_moved(state)` that θ was changed behind its step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.hyperparameters import Hyperparameter, UsageError, cast_all
from bench.optim.objective import LINEARIZED, VECTORS, Layout, Method, Objective
from bench.optim.recipe.factors import Factors
from bench.optim.recipe.hyperparameters import WEIGHT_DECAY, given_families
from bench.optim.recipe.objective import NO_CLIP, Gradients, RecipeObjective
from bench.optim.recipe.recipe import Recipe

OWN_VECTORS = 4
"""θ and the evaluated point before a step, the average, and the sum of gradients."""


@dataclass
class State:
    """The method's own state, and what the recipe holds."""

    inner: Any
    factors: Factors
    gradients: Gradients
    average: Float[Tensor, "K P"] | None
    """What is evaluated; None where no row has an average."""


class RecipeMethod(Method):
    """A method of any kind with a recipe; both have one name."""

    kind: ClassVar[Any]
    """The class of the method itself."""
    made_from: ClassVar[Any]
    """What its source is."""
    recipe_space: ClassVar[tuple[Hyperparameter, ...]]
    hyperparameters: Mapping[str, Any]

    def __init__(self, backend: str = "torch", /, **given: object) -> None:
        of_recipe = {h.name for h in self.recipe_space}
        own = {name: value for name, value in given.items() if name not in of_recipe}
        self.inner: Method = self.kind(backend, **own)
        values = cast_all(
            self.recipe_space, {n: v for n, v in given.items() if n in of_recipe}, self.name
        )
        self.backend = self.inner.backend
        self.hyperparameters = {**self.inner.hyperparameters, **values}
        self.recipes = [Recipe.of(values, rate_of(self.inner.hyperparameters), self.name)]
        self._by_share = False
        self._parameters: Callable[[Tensor], Mapping[str, Tensor]] = lambda row: {"θ": row}
        self._check(values)

    def _check(self, values: Mapping[str, Any]) -> None:
        """Raise UsageError where the method cannot have such a recipe."""
        own = self.inner.hyperparameters
        if values.get("accumulation", 1) > 1 and own.get("batch") == 0:
            raise UsageError(
                f"{self.name}: batch=0 is the whole training set, so there is nothing to "
                "accumulate. Leave accumulation out, or give a batch size."
            )
        if values.get("weight_decay_form") == "l2" and "l2" in own:
            raise UsageError(
                f"{self.name} has a hyperparameter l2 of its own for this. Write "
                f"l2={values[WEIGHT_DECAY]:g}."
            )
        decays = self._has_own_decay or values.get(WEIGHT_DECAY)
        if self._any("decay") and not decays:
            raise UsageError(
                f"{self.name} has no weight decay for weight_decay_schedule. Give weight_decay too."
            )
        for part, has, hook, name in (
            ("rate", "lr" in own, "set_rates", "lr"),
            ("decay", self._has_own_decay, "set_weight_decay", WEIGHT_DECAY),
        ):
            if self._any(part) and has and not self._has(hook):
                raise UsageError(
                    f"{self.name} has a hyperparameter {name} that no schedule reaches. Let its "
                    f"class have {hook}(state, factors), which multiplies it from then on."
                )
            if self._any(part) and self._has(f"check_{hook}"):
                getattr(self.inner, f"check_{hook}")()

    @property
    def _has_own_decay(self) -> bool:
        """Whether the method, or a part of a route, has a weight decay of its own."""
        own = self.inner.hyperparameters
        return any(name.rpartition(".")[2] == WEIGHT_DECAY for name in own)

    def _has(self, name: str) -> bool:
        return callable(getattr(self.inner, name, None))

    def __getattr__(self, name: str) -> Any:
        # What is no part of the contract, such as `choices`.
        if name.startswith("_") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """Whether a CUDA graph can repeat a step: as the method, unless it asks what is spent.

        Nor where it takes several batches: a graph finds one for each step.
        """
        one = self.recipes[0].accumulation == 1
        return self._reads_on_device and one and not self._by_share

    @property
    def _reads_on_device(self) -> bool:
        """Whether the method takes its factors on θ's device."""
        return bool(getattr(self.inner, "capturable", False))

    @property
    def cost_of_a_step(self) -> float | None:
        """The method's, on as many batches as are accumulated."""
        own = self.inner.cost_of_a_step
        return None if own is None else own * self.recipes[0].accumulation

    @property
    def fleet_key(self) -> tuple[Any, ...] | None:
        """Rows of any recipes share a fleet, if their methods can and they accumulate alike."""
        own = self.inner.fleet_key
        return None if own is None else ("recipe", self.recipes[0].accumulation, own)

    @property
    def vectors(self) -> int:
        """Those of the method, θ before a step, the average, and the sum of gradients."""
        return int(getattr(self.inner, "vectors", VECTORS)) + OWN_VECTORS

    @property
    def linearized(self) -> float:
        """The method's, for batches of `batch` cases."""
        own = float(getattr(self.inner, "linearized", LINEARIZED))
        return own * self.recipes[0].accumulation

    @property
    def hessian_part(self) -> float:
        """The method's, likewise."""
        return float(getattr(self.inner, "hessian_part", 0.0)) * self.recipes[0].accumulation

    def join(self, others: list[Any]) -> Method:
        """Return one method with the rows of all, each with its own recipe."""
        joined = copy.copy(self)
        joined.inner = self.inner.join([other.inner for other in others])
        joined.recipes = [recipe for each in (self, *others) for recipe in each.recipes]
        return joined

    def for_layout(self, layout: Layout) -> Method:
        """Return the method for a network, as a new one, with which a single fleet is trained."""
        made = copy.copy(self)
        made._parameters = layout.parameters
        asks = getattr(self.inner, "for_layout", None)
        if asks is not None:
            made.inner = asks(layout)
        return made

    def anytime_updates(self, budget: int | None) -> float:
        """Return how many first updates do not depend on where the budget ends."""
        own = getattr(self.inner, "anytime_updates", None)
        found = math.inf if own is None else own(budget)
        return min(found, *(recipe.anytime_updates(budget) for recipe in self.recipes))

    def check_budget(self, updates: int | None) -> None:
        """Raise UsageError where the recipe does not fit into so many updates."""
        for recipe in self.recipes:
            recipe.check(updates, self.name)
        if self._has("check_budget"):
            self.inner.check_budget(updates)  # type: ignore[attr-defined]

    def init(self, theta: Float[Tensor, "K P"], seed: int, budget: int | None) -> State:
        """Return the method's state, with an average that begins at θ."""
        for recipe in self.recipes:
            recipe.check(budget, self.name)
        self._by_share = budget is None and any(recipe.needs_end for recipe in self.recipes)
        inner = self.inner.init(theta, seed, budget)
        averages = any(recipe.averages for recipe in self.recipes)
        where = theta.device if self._reads_on_device else torch.device("cpu")
        return State(
            inner=inner,
            factors=Factors(self.recipes, budget, self._by_share, where),
            gradients=self._gradients(theta),
            average=self.inner.iterate(theta, inner).clone() if averages else None,
        )

    def _gradients(self, theta: Float[Tensor, "K P"]) -> Gradients:
        """Return what is done to gradients; a column has no effect on a row that has none."""

        def column(limits: list[float | None]) -> Tensor | None:
            if not any(limits):
                return None
            plain = [NO_CLIP if limit is None else limit for limit in limits]
            return torch.tensor(plain, dtype=theta.dtype, device=theta.device).unsqueeze(1)

        number = self.recipes[0].accumulation
        return Gradients(
            accumulation=number,
            clip_norm=column([recipe.clip_norm for recipe in self.recipes]),
            clip_value=column([recipe.clip_value for recipe in self.recipes]),
            total=torch.zeros_like(theta) if number > 1 else None,
        )

    def step(
        self, theta: Float[Tensor, "K P"], objective: Objective, state: State
    ) -> Mapping[str, Any]:
        """Make one update; what follows the method's own step costs nothing and cannot be cut."""
        if state.factors.is_used_up:
            state.factors.foresee_next(objective.spent if self._by_share else 0.0)
        now, method = state.factors.next(), self.inner
        if self._any("decay") and self._has_own_decay:
            method.set_weight_decay(state.inner, now.decay)  # type: ignore[attr-defined]
        scales = self._any("rate") and not self._has("set_rates")
        if self._any("rate") and not scales:
            method.set_rates(state.inner, now.rate)  # type: ignore[attr-defined]
        decays = any(recipe.weight_decay and not recipe.is_l2 for recipe in self.recipes)
        before = method.iterate(theta, state.inner).clone() if decays else None
        start = theta.clone() if scales else None
        l2 = now.l2.to(theta) if any(recipe.is_l2 for recipe in self.recipes) else None
        gradients = replace(state.gradients, l2=l2)
        seen: Any = RecipeObjective(objective, gradients, self._parameters)

        report = method.step(theta, seen, state.inner)

        if start is not None:
            torch.lerp(start, theta, now.rate.to(theta), out=theta)
        if before is not None:
            theta.addcmul_(before, now.decoupled.to(theta), value=-1)
        if (scales or decays) and self._has("theta_moved"):
            method.theta_moved(state.inner)  # type: ignore[attr-defined]
        if state.average is not None:
            point = method.iterate(theta, state.inner)
            state.average.lerp_(point, now.weight.to(point))
        return report

    def foresee(self, state: State, t: int, updates: int) -> None:
        """Make ready on the device what the steps t … t + updates − 1 will read."""
        state.factors.foresee(t, updates)
        self.inner.foresee(state.inner, t, updates)

    def iterate(self, theta: Float[Tensor, "K P"], state: State) -> Float[Tensor, "K P"]:
        """Return the average, or what the method evaluates."""
        if state.average is not None:
            return state.average
        return self.inner.iterate(theta, state.inner)

    def state_dict(self, state: State) -> dict[str, Any]:
        """Return the method's own state, the place in the run, and the average."""
        saved = {"inner": self.inner.state_dict(state.inner), **state.factors.state_dict()}
        if state.average is not None:
            saved["average"] = state.average.clone()
        return saved

    def load_state_dict(self, state: State, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.inner.load_state_dict(state.inner, saved["inner"])
        state.factors.load_state_dict(saved)
        if state.average is not None:
            state.average.copy_(saved["average"])

    @property
    def keep(self) -> Any:
        """The method's own `keep` for a fleet with recipes; None if it has none."""
        own = getattr(self.inner, "keep", None)
        return None if own is None else self._keep

    def _keep(
        self, state: State, rows: Sequence[int], theta: Float[Tensor, "k P"]
    ) -> tuple[Method, State]:
        kept = copy.copy(self)
        kept.recipes = [self.recipes[row] for row in rows]
        own: Any = self.inner
        kept.inner, inner = own.keep(state.inner, rows, theta)
        return kept, State(
            inner=inner,
            factors=state.factors.keep(rows),
            gradients=kept._gradients(theta),
            average=None if state.average is None else state.average[list(rows)],
        )

    def _any(self, part: str) -> bool:
        """Return whether some row has a part of a recipe."""
        return any(getattr(recipe, part) is not None for recipe in self.recipes)


def rate_of(hyperparameters: Mapping[str, Any]) -> object:
    """Return the step size of a method, or the only one of what it is made of; None if none.

    >>> rate_of({"k": 5, "inner.lr": 0.1})
    0.1
    """
    rates = [value for name, value in hyperparameters.items() if name.rpartition(".")[2] == "lr"]
    return hyperparameters.get("lr", rates[0] if len(rates) == 1 else None)


def with_recipe(kind: Any, keys: Iterable[str]) -> Any:
    """Return the class of a method with the recipe that some keys give; the class itself if none.

    Keys that are none of a recipe are left out.
    """
    found = given_families(keys, (h.name for h in kind.space))
    if not found:
        return kind
    given = {
        "kind": kind,
        "made_from": getattr(kind, "made_from", None) or kind,
        "name": kind.name,
        "reference": kind.reference,
        "backends": kind.backends,
        "recipe_space": found,
        "space": (*kind.space, *found),
        "__module__": kind.__module__,
    }
    for name in ("default_backend", "require_backend"):
        if hasattr(kind, name):
            given[name] = staticmethod(getattr(kind, name))
    return type(kind.__name__, (RecipeMethod,), given)


def plain(method: Any) -> Any:
    """Return a method without its recipe."""
    return method.inner if isinstance(method, RecipeMethod) else method


def plain_class(kind: Any) -> Any:
    """Return the class of a method without its recipe."""
    return kind.kind if isinstance(kind, type) and issubclass(kind, RecipeMethod) else kind
