"""Optimizers of somebody's own, each odd in one way: --optimizers tests.harness.plugins:Watcher."""

from __future__ import annotations

import os
import time
import zlib

import torch

from bench.harness.training import method_objective
from bench.optim.hyperparameters import Hyperparameter, cast_all


class Watcher:
    """Plain gradient steps that report which cases they saw."""

    name = "watcher"
    reference = "a test"
    backends = ("torch",)
    fleet_key = None
    space = (
        Hyperparameter("batch", int, 20, "cases in a minibatch", low=1),
        Hyperparameter("lr", float, 0.05, "the rate", tune=(0.01, 1.0), scale="log"),
    )

    def __init__(self, backend="torch", **given):
        self.backend = backend
        self.hyperparameters = cast_all(self.space, given, self.name)
        self.cost_of_a_step = float(self.hyperparameters["batch"])

    def init(self, theta, seed, budget):
        return {"start": checksum(theta), "updates": 0}

    def step(self, theta, objective, state):
        batch = objective.next_batch(self.hyperparameters["batch"])
        loss, gradient = objective.gradient(theta, on=batch)
        theta.sub_(gradient, alpha=self.hyperparameters["lr"])
        state["updates"] += 1
        return {"loss": loss, "start": state["start"], "cases": checksum(tensors_of(batch).inputs)}

    def iterate(self, theta, state):
        return theta

    def state_dict(self, state):
        return dict(state)

    def load_state_dict(self, state, saved):
        state.update(saved)


class Greedy(Watcher):
    """Draws from the other stream and from torch's generator as well."""

    name = "greedy"

    def step(self, theta, objective, state):
        objective.next_batch(7, "curvature")
        torch.rand(3)
        return super().step(theta, objective, state)


class Failing(Watcher):
    """Raises in its tenth update."""

    name = "failing"

    def step(self, theta, objective, state):
        if state["updates"] == 9:
            raise ZeroDivisionError("at ten")
        return super().step(theta, objective, state)


class Hungry(Watcher):
    """Asks for a million GiB in its tenth update."""

    name = "hungry"

    def step(self, theta, objective, state):
        if state["updates"] == 9:
            torch.empty(2**50)
        return super().step(theta, objective, state)


class Stopping(Watcher):
    """Says in its tenth update that it cannot go on."""

    name = "stopping"

    def step(self, theta, objective, state):
        report = super().step(theta, objective, state)
        return report | ({"stop": "it has had enough"} if state["updates"] == 10 else {})


class Sleepy(Watcher):
    """Waits BENCH_TEST_SLEEPY_SECONDS in every update, and tells when it was made."""

    name = "sleepy"

    def step(self, theta, objective, state):
        time.sleep(float(os.environ.get("BENCH_TEST_SLEEPY_SECONDS", "0")))
        return super().step(theta, objective, state) | {"at": time.time()}


def tensors_of(batch):
    """What stands behind a batch, which a method has no way to."""
    return method_objective._CASES[id(batch)][2]


def checksum(values: torch.Tensor) -> float:
    return float(zlib.crc32(values.numpy().tobytes()))
