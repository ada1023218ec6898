"""Problems and optimizers that are each wrong in one place."""

from __future__ import annotations

import dataclasses
import sys
from collections import deque

import numpy as np
import torch

from bench.harness.check.problem_laws import CASES
from bench.harness.check.small_problems import Network
from bench.models.autodiff import AutodiffPasses
from bench.models.problem import Data, digest_of
from bench.optim.hyperparameters import Hyperparameter, cast_all
from bench.optim.objective import FULL
from tests.harness.plugins import tensors_of


class Passes(AutodiffPasses):
    """Autodiff, with what `wrong` names spoilt."""

    def __init__(self, problem, wrong):
        super().__init__(problem)
        self.wrong = wrong

    def gradient(self, theta, inputs, targets, out):
        if self.wrong == "groups" and 1 < len(inputs) < len(theta):
            inputs, targets = inputs.flip(0), targets.flip(0)
        loss = super().gradient(theta, inputs, targets, out)
        view = self.layout.views(out)["b1"]
        if self.wrong == "gradient":
            view.mul_(1.001)
        if self.wrong == "NaN":
            view.fill_(torch.nan)
        if self.wrong == "padding":
            out[:, -1] = 1e-30
        if self.wrong == "rows" and len(theta) > 1:
            out.copy_(out.roll(1, 0))
        return loss

    def squared_gradient(self, theta, inputs, targets):
        value = super().squared_gradient(theta, inputs, targets)
        return value * 2 if self.wrong == "squared" else value

    def curvature(self, theta, inputs, targets, structural=None):
        product = super().curvature(theta, inputs, targets, structural)
        if self.wrong == "curvature":
            return lambda v: product(v) * 1.001
        if self.wrong == "size":
            return lambda v: product(v) * (inputs.shape[1] / CASES)
        if self.wrong == "asymmetric":
            return lambda v: product(v) + 1e-3 * v.roll(1, 1)
        if self.wrong == "negative":
            return lambda v: -product(v)
        return product


METRICS = {
    "averaged": lambda z, t: (z - t).square().sum(-1).mean(),
    "relative": lambda z, t: (z - z.mean(1, keepdim=True) - t).square().sum(-1),
    "scribbled": lambda z, t: z.sub_(t).square_().sum(-1),
    "undefined": lambda z, t: (z - 1e9).log().sum(-1),
}


class Wrong(Network):
    def __init__(self, wrong, preset):
        super().__init__()
        self.wrong, self.count, self.preset = wrong, 0, preset
        if wrong == "metric":
            per_case = self.metric.per_case
            self.metric = dataclasses.replace(
                self.metric, per_case=lambda z, t: per_case(z, t) + 1e-6
            )
        if wrong in METRICS:
            self.metric = dataclasses.replace(self.metric, per_case=METRICS[wrong])
        if wrong == "presets" and preset == "paper":
            self.initialization = "uniform"
        if wrong == "higher":
            self.metric = dataclasses.replace(self.metric, direction="higher")

    def passes(self):
        return Passes(self, self.wrong)

    def logits(self, params, inputs):
        if self.wrong == "clipped":
            inputs.data.clamp_(-50, 50)
        if self.wrong == "bounded":
            params["W1"].data.clamp_(-50, 50)
        z = super().logits(params, inputs)
        if self.wrong == "company":
            z = z - z.mean(1, keepdim=True)
        if self.wrong == "chance":
            z = z + 1e-3 * torch.randn(())
        return z

    def initialize(self, rng):
        if self.wrong == "global":
            return super().initialize(np.random)
        if self.wrong == "counted":
            self.count += 1
            return super().initialize(rng) * self.count
        if self.wrong == "one":
            rng.random()
            return super().initialize(np.random.default_rng(0))
        return super().initialize(rng)

    def data(self, source):
        data = super().data(source)
        parts = {
            name: getattr(data, name)
            for name in ("train_inputs", "test_inputs", "train_targets", "test_targets")
        }
        if self.wrong == "digest":
            return dataclasses.replace(data, digest="0" * 64)
        if self.wrong == "inputs":
            return dataclasses.replace(data, digest=digest_of(data.train_inputs, data.test_inputs))
        if self.wrong == "drift":
            parts["train_inputs"] = parts["train_inputs"] + torch.rand(()).item()
        if self.wrong == "holes":
            parts["test_targets"] = np.full_like(parts["test_targets"], np.nan)
        if self.wrong == "count":
            parts["train_targets"] = parts["train_targets"][1:]
        if self.wrong == "signs":
            parts["train_targets"] = np.sign(parts["train_targets"] - 0.5)
        if self.wrong == "complex":
            parts["test_inputs"] = parts["test_inputs"] + 0j
        if self.wrong == "far":
            parts["train_inputs"] = parts["train_inputs"] + 1e9
        draw = None
        if self.wrong == "hidden":
            draw = Drawn().draw
        if self.wrong == "drawn":
            draw = drawn
        return Data("noise", digest_of(*parts.values()), *parts.values(), draw=draw)


def drawn(rng, cases):
    return rng.standard_normal((cases, 7)), rng.random((cases, 3))


class Drawn:
    """Draws from a stream of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def draw(self, rng, cases):
        return drawn(self.rng, cases)


def make(preset, wrong="nothing"):
    return Wrong(wrong, preset)


class Forgetful:
    """Momentum; subclasses are each wrong in one place."""

    name = "forgetful"
    reference = "a test"
    backends = ("torch",)
    fleet_key = None
    space = ()
    sign, stated, batch = -1.0, 8.0, 8

    def __init__(self, backend="torch"):
        self.backend, self.hyperparameters = backend, {}
        self.cost_of_a_step = self.stated

    def init(self, theta, seed, budget):
        return {"v": torch.zeros_like(theta)}

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(theta, on=objective.next_batch(self.batch))
        state["v"].mul_(0.9).add_(gradient, alpha=self.sign * 0.05)
        theta.add_(state["v"])
        return self.report(loss)

    def report(self, loss):
        return {"loss": loss}

    def iterate(self, theta, state):
        return theta

    def state_dict(self, state):
        return {"v": state["v"].clone()}

    def load_state_dict(self, state, saved):
        pass


class Sound(Forgetful):
    def load_state_dict(self, state, saved):
        state["v"].copy_(saved["v"])


class Empty(Forgetful):
    """Saves nothing, so that there is nothing to compare."""

    def state_dict(self, state):
        return {}


class Shared(Sound):
    def state_dict(self, state):
        return {"v": state["v"]}


class Uphill(Sound):
    sign = 1.0


class Cheap(Sound):
    stated = 4.0


class Silent(Sound):
    def report(self, loss):
        return {}


class Flattering(Sound):
    def report(self, loss):
        return {"loss": loss / 2}


class Noisy(Sound):
    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.mul_(1 + 1e-9 * torch.rand(()))
        return report


class Unseeded(Sound):
    """Draws from a generator that no seed sets."""

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.mul_(1 + 1e-6 * np.random.default_rng().random())
        return report


class Early(Sound):
    """Draws where it is made, which is before there is a trial."""

    def __init__(self, backend="torch"):
        super().__init__(backend)
        self.factor = 1 + 1e-6 * np.random.default_rng().random()

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.mul_(self.factor)
        return report


class Counting(Sound):
    """Counts the steps of every instance."""

    count = 0

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        Counting.count += 1
        theta.mul_(1 + 1e-6 / Counting.count)
        return report


class Single(Sound):
    """Sets a global stream to a seed of its own, which is its own affair."""

    def step(self, theta, objective, state):
        torch.manual_seed(3)
        report = super().step(theta, objective, state)
        theta.mul_(1 + 1e-6 * torch.rand(()))
        return report


class Still(Sound):
    """Steps on a copy."""

    def step(self, theta, objective, state):
        return super().step(theta.clone(), objective, state)


class Wide(Sound):
    """Turns θ into another type."""

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.data = theta.float()
        return report


class Averaging(Sound):
    """Keeps the mean of its iterates, and does not evaluate it."""

    def init(self, theta, seed, budget):
        return {**super().init(theta, seed, budget), "mean": theta.clone(), "count": 1}

    def rate(self, state):
        state["count"] += 1
        return 1 / state["count"]

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        state["mean"].lerp_(theta, self.rate(state))
        return report


class Moving(Averaging):
    """Keeps a moving average of a long memory."""

    def rate(self, state):
        return 0.001


class Padded(Sound):
    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.add_(1e-9)
        return report


class Langevin(torch.optim.SGD):
    """Noise on every number, so on the padding too, which no parameter sees."""

    def __init__(self, params, lr: float = 1e-2):
        super().__init__(params, lr=lr)

    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        for group in self.param_groups:
            for each in group["params"]:
                each.add_(torch.randn_like(each), alpha=1e-4)
        return loss


class CombinedComparison(Sound):
    fleet_key = ("joined",)

    def join(self, others):
        return Uphill()


class Contagious(Sound):
    """Every row is given nothing of the others, but nothing times NaN is NaN."""

    fleet_key = ("contagious",)

    def join(self, others):
        return self

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.add_(0 * theta.sum(0))
        return report


class Rated(Sound):
    """A fleet of it has the first row's step size in all rows."""

    fleet_key = ("rated",)
    space = (Hyperparameter("lr", float, 0.05, "step size", low=0.0),)

    def __init__(self, backend="torch", **given):
        super().__init__(backend)
        self.hyperparameters = cast_all(self.space, given, self.name)

    def join(self, others):
        return self

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(theta, on=objective.next_batch(self.batch))
        theta.sub_(gradient, alpha=self.hyperparameters["lr"])
        return {"loss": loss}


class Narrow(torch.optim.SGD):
    """Keeps its state in float32, and adds it to a gradient of any type in place."""

    def __init__(self, params, lr=0.05):
        super().__init__(params, lr=lr)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["mean"] = torch.zeros(p.shape, dtype=torch.float32)
                state["mean"].lerp_(p.grad, 0.5)
                p.sub_(state["mean"], alpha=group["lr"])


class Wrong32(Narrow):
    """That, and it forgets its state where it is saved."""

    def state_dict(self):
        return {**super().state_dict(), "state": {}}


class Outside(Rated):
    """Its customary grid has a value that it refuses."""

    fleet_key = None
    space = (Hyperparameter("lr", float, 0.05, "step size", high=1.0, grid=(0.1, 2.0)),)


class Schooled(Rated):
    """Changes its own step size for good."""

    fleet_key = None

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        self.hyperparameters = {"lr": self.hyperparameters["lr"] * 0.999}
        return report


class Deaf(Rated):
    """Takes a step size, and steps by another."""

    fleet_key = None

    def step(self, theta, objective, state):
        return Sound.step(self, theta, objective, state)


class Biased(Sound):
    """Its gradient is off by the same in every direction."""

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.add_((theta != 0) * 0.01)
        return report


class Passing(Sound):
    """Is at the minimum after 50 steps, and goes back from there."""

    batch, stated = 24, 24.0

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(theta, on=objective.next_batch(self.batch))
        state["v"].add_(1)
        theta.sub_(gradient if state["v"][0, 0] <= 50 else -gradient)
        return {"loss": loss}


class Stale(Sound):
    """Takes its gradients where it began."""

    def init(self, theta, seed, budget):
        return {"v": torch.zeros_like(theta), "began": theta.clone()}

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(state["began"], on=objective.next_batch(self.batch))
        theta.sub_(gradient, alpha=0.001)
        return {"loss": loss}

    def state_dict(self, state):
        return {name: value.clone() for name, value in state.items()}

    def load_state_dict(self, state, saved):
        for name, value in saved.items():
            state[name].copy_(value)


class Endless(Sound):
    def step(self, theta, objective, state):
        batch = objective.next_batch(self.batch)
        while True:
            objective.loss(theta, on=batch)


class Crashing(Sound):
    def step(self, theta, objective, state):
        raise ValueError("no step\nfor a reason")


class Leaving(Sound):
    def step(self, theta, objective, state):
        sys.exit(3)


class Peeking(Sound):
    """Looks into a batch, of which a process has but a part."""

    def step(self, theta, objective, state):
        batch = objective.next_batch(self.batch)
        loss, gradient = objective.gradient(theta, on=batch)
        theta.sub_(gradient * (0.05 + 1e-6 * tensors_of(batch).inputs.mean()))
        return {"loss": loss}


class Chaotic(Sound):
    """A rounding error is ten times as large after each step."""

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        theta.copy_(torch.where(theta != 0, torch.sin(10 * theta), theta))
        return report


class Odd(Sound):
    """Keeps its state in what a checkpoint does not hold."""

    def state_dict(self, state):
        return {"v": deque([state["v"].clone()])}

    def load_state_dict(self, state, saved):
        state["v"].copy_(saved["v"][0])


class Talking(Sound):
    def step(self, theta, objective, state):
        print("a step")
        return super().step(theta, objective, state)


class Scribbling(Sound):
    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        tensors_of(objective.next_batch(FULL)).targets.mul_(0.999)
        return report


class Setting(Sound):
    def step(self, theta, objective, state):
        torch.set_num_threads(2)
        return super().step(theta, objective, state)


class Cooling(Sound):
    """Lowers its rate until the budget ends, and does not say so."""

    def init(self, theta, seed, budget):
        return {**super().init(theta, seed, budget), "t": 0, "end": budget}

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(theta, on=objective.next_batch(self.batch))
        theta.add_(gradient, alpha=-0.1 * (1 - 0.5 * state["t"] / state["end"]))
        state["t"] += 1
        return self.report(loss)

    def state_dict(self, state):
        return {"t": state["t"], "end": state["end"]}

    def load_state_dict(self, state, saved):
        state.update(saved)


class Cooled(Cooling):
    """The same, which says so."""

    def anytime_updates(self, budget):
        return 0


class Late(Sound):
    """Has low momentum in the last 4 updates of the budget, and says so."""

    last = 4

    def init(self, theta, seed, budget):
        return {**super().init(theta, seed, budget), "left": budget}

    def step(self, theta, objective, state):
        if state["left"] <= 4:
            state["v"].mul_(0.5)
        state["left"] -= 1
        return super().step(theta, objective, state)

    def state_dict(self, state):
        return {"v": state["v"].clone(), "left": state["left"]}

    def load_state_dict(self, state, saved):
        super().load_state_dict(state, saved)
        state["left"] = saved["left"]

    def anytime_updates(self, budget):
        return budget - self.last


class Later(Late):
    """Says two updates too many."""

    last = 2


class Felt(Sound):
    """Goes on from where it was evaluated."""

    def iterate(self, theta, state):
        return theta.add_(state["v"], alpha=0.1)
