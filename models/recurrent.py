"""Recurrent networks on sequences with long dependencies (Sutskever et al. 2013, sec. 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.models.data.sequences import Task
from bench.models.data.sequences import data as sequences
from bench.models.initialization import EchoState
from bench.models.problem import Data, DataSource, Problem, to_tensor
from bench.models.recurrent_settings import Settings
from bench.models.recurrent_tasks import KINDS
from bench.models.rnn import RecurrentNetwork, RecurrentPasses

UNITS = 100
OUTPUT_SCALE = 0.1
LARGEST_SET = 4 * 2**30
"""The largest size in bytes of the sequences for evaluation."""
SOLVED = 0.01
"""A task counts as solved if the share of wrong new sequences is below this."""


class SequenceProblem(Problem):
    """A task on sequences, for a network of 100 tanh units with the published initialisation.

    Centred outputs are an output bias that starts where the constant output is the average
    target; for linear outputs that is to take the average from the targets. Otherwise it
    starts at 0.

    By keyword: T; init, what the weights start as, by default `esn`, which takes radius, the
    hidden weights' spectral radius, and input_scale; centred_inputs and centred_outputs, true or
    false; and what else start and task have. ValueError for any other.
    """

    def __init__(self, name: str, preset: str, **given: object) -> None:
        kind = KINDS[name]
        self._settings = Settings.read(name, preset, kind, given)
        self.task = kind.task(
            self._settings.length, self._settings.centred_inputs, self._settings.alphabet
        )
        self._kind, self._cases = kind, kind.presets[preset].cases
        _check_size(name, self.task, self._cases)
        self.network = RecurrentNetwork(
            self.task.features, UNITS, self.task.outputs, self.task.every_step
        )
        super().__init__(
            name=name,
            preset=preset,
            layout=self.network.layout(),
            loss=kind.loss,
            metric=kind.metric,
            initialization=self._initialization(),
            budget=kind.presets[preset].budget,
            evaluations=kind.presets[preset].evaluations,
            targets=kind.targets,
            margin=kind.margin,
            log_scale=False,
            parameters=self._settings.parameters,
            notes=kind.presets[preset].notes(self._settings.length),
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations, (K, B, O) or (K, B, S, O)."""
        return self._unrolled(params, inputs)[0]

    def logits_and_states(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return that, the pre-activations of all steps, (K, B, S·n), and tanh' there."""
        z, before, after = self._unrolled(params, inputs)
        weights = 1 - torch.stack(after, 2).detach().square()
        if not self.network.every_step:
            # 1 up to the end and 0 beyond it.
            weights = weights * inputs[..., -1:].flip(2).cumsum(2).flip(2)
        return z, torch.stack(before, 2).flatten(2), weights.flatten(2)

    def observe(self, params: Mapping[str, Tensor], inputs: Tensor) -> Mapping[str, Tensor]:
        """Return how much the hidden units oscillate.

        hidden_oscillation is a unit's standard deviation over the second half of T steps, where
        every sequence still goes on; the mean over units and cases.
        """
        length = self.task.length
        late = torch.stack(self._unrolled(params, inputs)[2][length // 2 : length], 2)
        return {"hidden_oscillation": late.std(2, correction=0).mean((1, 2))}

    def _unrolled(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return z, and pre-activations and states (K, B, n) of every step."""
        x = inputs if self.network.every_step else inputs[..., :-1]
        driven = (x @ params["Wx"].unsqueeze(1) + params["bh"][:, None, None]).unbind(2)
        h = params["h0"].unsqueeze(1).expand_as(driven[0])
        before, after = [], []
        for each in driven:
            before.append(torch.baddbmm(each, h, params["Wh"]))
            h = torch.tanh(before[-1])
            after.append(h)
        bias = params["bo"].unsqueeze(1)
        if self.network.every_step:
            z = torch.stack([torch.baddbmm(bias, h, params["Wo"]) for h in after], 2)
            return z, before, after
        # Summed step by step: double backward through a stack of the states would fill as
        # many tensors of its size with zeros as there are steps.
        at_end = torch.zeros_like(h)
        for h, end in zip(after, inputs[..., -1:].unbind(2), strict=True):
            at_end = at_end + h * end
        return at_end @ params["Wo"] + bias, before, after

    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Draw the weights; the initial state is 0."""
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        views, settings = self.layout.views(theta), self._settings
        start, features, outputs = settings.start, self.network.features, self.network.outputs
        if isinstance(start, EchoState):
            drawn = {
                "Wh": start.weights(rng, UNITS),
                "Wx": settings.input_scale * rng.standard_normal((features, UNITS)),
                "Wo": OUTPUT_SCALE * rng.standard_normal((UNITS, outputs)),
            }
        else:
            drawn = {
                "Wh": start.weights(rng, UNITS, UNITS),
                "Wx": start.weights(rng, features, UNITS),
                "Wo": start.weights(rng, UNITS, outputs),
            }
            views["bh"].fill_(start.bias)
        for name, values in drawn.items():
            views[name].copy_(torch.from_numpy(values))
        if settings.centred_outputs:
            views["bo"].copy_(self.loss.link(torch.from_numpy(self.task.mean_target)))
        return theta

    def _initialization(self) -> str:
        settings = self._settings
        centred = "" if settings.centred_inputs else "not "
        bias = "at the average target" if settings.centred_outputs else "0"
        start = settings.start
        if isinstance(start, EchoState):
            return (
                f"hidden: {start.rule}; inputs {settings.input_scale:g}·N(0, 1), {centred}centred; "
                f"outputs {OUTPUT_SCALE:g}·N(0, 1), output bias {bias}; hidden bias and "
                "initial state 0"
            )
        return (
            f"all weights {start.rule}; inputs {centred}centred; output bias {bias}; "
            "initial state 0"
        )

    def data(self, source: DataSource) -> Data:
        """Draw sequences on the fly."""
        return sequences(f"{self._kind.title} (generated)", self.task, self._cases)

    def passes(self) -> RecurrentPasses:
        """Return the hand-written passes."""
        return RecurrentPasses(self.network, self.loss, self.task.steps)


def _check_size(name: str, task: Task, cases: int) -> None:
    """Raise ValueError for sequences that are too large, before any is drawn."""
    channels = task.features + (task.outputs if task.every_step else 0)
    size = 2 * cases * task.steps * channels * np.dtype(np.float32).itemsize
    if size > LARGEST_SET:
        raise ValueError(
            f"{name} with T={task.length} and {task.features} input channels needs "
            f"{size / 2**30:.1f} GiB of sequences for evaluation, but {LARGEST_SET >> 30} GiB are "
            "allowed; choose a smaller T or alphabet"
        )


def biases_only(problem: SequenceProblem, data: Data) -> float:
    """Return the metric of the best output that does not see the inputs, on the test sequences.

    It is the average training target at each step that is asked for, which is where the loss is
    least: column `biases` of Sutskever et al. (2013), Table 5.
    """
    average = to_tensor(data.train_targets, torch.float64).mean(0)
    targets = to_tensor(data.test_targets, torch.float64)[None]
    z = problem.loss.link(average).expand_as(targets)
    return float(problem.metric.per_case(z, targets).mean())
