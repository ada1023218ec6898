"""The recurrent problems of Sutskever et al. 2013, sec. 4: sequences with long dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.data.sequences import Adding
from models.data.sequences import data as sequences
from models.initialization import RADIUS, recurrent
from models.losses import HalfSquaredError
from models.metrics import zero_one
from models.problem import Data, DataSource, Problem
from models.rnn import RecurrentNetwork, RecurrentPasses

UNITS = 100
FEATURES = 2
INPUT_SCALE = 0.001
OUTPUT_SCALE = 0.1
TOLERANCE = 0.04
"""A case whose output is off by more is wrong."""
MEAN_TARGET = 0.5
SOLVED = 0.01
LENGTHS = (20, 1_000)


@dataclass(frozen=True)
class Preset:
    """What a preset of a sequence problem fixes."""

    length: int
    cases: int
    """Training and test sequences that a trial is evaluated on."""
    budget: int
    evaluations: int
    notes: str


ADD = {
    "quick": Preset(20, 2_000, 800_000, 24, "T = 20, 100 units, cases drawn anew"),
    "standard": Preset(30, 10_000, 5_000_000, 40, "T = 30, 100 units, cases drawn anew"),
    "paper": Preset(80, 10_000, 5_000_000, 100, "as published: T = 80, 50,000 updates of 100"),
}


class Add(Problem):
    """The adding problem on a network of 100 tanh units."""

    def __init__(self, preset: str, T: str | int | None = None) -> None:
        setting = ADD[preset]
        self.task = Adding(_length(T, setting.length))
        self._cases = setting.cases
        self.network = RecurrentNetwork(FEATURES, UNITS, 1)
        loss = HalfSquaredError()
        super().__init__(
            name="add",
            preset=preset,
            layout=self.network.layout(),
            loss=loss,
            metric=zero_one(loss, TOLERANCE),
            initialization=(
                f"hidden: sparse, 15 incoming weights a unit, spectral radius {RADIUS:g}; inputs "
                f"{INPUT_SCALE:g}·N(0, 1), outputs {OUTPUT_SCALE:g}·N(0, 1), output bias "
                f"{MEAN_TARGET:g}, hidden bias and initial state 0"
            ),
            budget=setting.budget,
            evaluations=setting.evaluations,
            targets=(0.5, 0.1, SOLVED),
            margin=0.01,
            log_scale=False,
            parameters={"T": self.task.length},
            notes=setting.notes,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the output's pre-activation at each sequence's end, (K, B, 1)."""
        return self._unrolled(params, inputs)[0]

    def logits_and_states(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return that, the pre-activations of all steps, (K, B, S·n), and tanh' there."""
        z, before, after = self._unrolled(params, inputs)
        # 1 up to the end and 0 beyond it.
        within = inputs[..., -1:].flip(2).cumsum(2).flip(2)
        weights = (1 - torch.stack(after, 2).detach().square()) * within
        return z, torch.stack(before, 2).flatten(2), weights.flatten(2)

    def _unrolled(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return z, and pre-activations and states (K, B, n) of every step."""
        x, ends = inputs[..., :-1], inputs[..., -1:].unbind(2)
        driven = (x @ params["Wx"].unsqueeze(1) + params["bh"][:, None, None]).unbind(2)
        h = params["h0"].unsqueeze(1).expand_as(driven[0])
        before, after = [], []
        # Summed step by step: double backward through a stack of the states would fill as
        # many tensors of its size with zeros as there are steps.
        at_end = torch.zeros_like(h)
        for each, end in zip(driven, ends, strict=True):
            before.append(torch.baddbmm(each, h, params["Wh"]))
            h = torch.tanh(before[-1])
            after.append(h)
            at_end = at_end + h * end
        return at_end @ params["Wo"] + params["bo"].unsqueeze(1), before, after

    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Draw the weights; the output starts at the targets' mean."""
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        views = self.layout.views(theta)
        views["Wh"].copy_(torch.from_numpy(recurrent(rng, UNITS)))
        views["Wx"].copy_(torch.from_numpy(INPUT_SCALE * rng.standard_normal((FEATURES, UNITS))))
        views["Wo"].copy_(torch.from_numpy(OUTPUT_SCALE * rng.standard_normal((UNITS, 1))))
        views["bo"].fill_(MEAN_TARGET)
        return theta

    def data(self, source: DataSource) -> Data:
        """Draw sequences on the fly."""
        return sequences("adding problem (generated)", self.task, self._cases)

    def passes(self) -> RecurrentPasses:
        """Return the hand-written passes."""
        return RecurrentPasses(self.network, self.loss, self.task.longest)


def _length(given: str | int | None, default: int) -> int:
    low, high = LENGTHS
    try:
        length = default if given is None else int(given)
    except ValueError:
        length = -1
    if not low <= length <= high:
        raise ValueError(f"T={given}: a whole number from {low} to {high:,} is allowed")
    return length
