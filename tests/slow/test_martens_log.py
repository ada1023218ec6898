"""Hessian-free on curves/paper against Martens' own log of the published settings."""

from __future__ import annotations

import pytest
import torch

from bench import optim
from bench.harness.core.paths import data_source
from bench.harness.core.published import MARTENS_LOG
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.models.built_in import PROBLEMS

ITERATIONS = (40, 50)
"""Lines of the log that are checked here: errors 15.11 and 12.21. benchmarks/RESULTS.md goes on."""


class Descent:
    """Notes the CG steps that were made when the training error first fell below each line's."""

    def __init__(self, errors: list[float]) -> None:
        self.reached = dict.fromkeys(errors, 0)
        self.curve: list[float] = []

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        self.curve.append(measurement.train_metric)
        for error, steps in self.reached.items():
            if not steps and measurement.train_metric <= error:
                self.reached[error] = measurement.ledger.cg_steps

    def on_progress(self, progress: Progress) -> None:
        """Nobody watches."""

    def should_stop(self) -> bool:
        return all(self.reached.values())


@pytest.mark.slow
def test_leaves_the_plateau_like_martens() -> None:
    """Within a factor 2 of his CG steps at training errors 15.11 and 12.21."""
    lines = [line for line in MARTENS_LOG if line.iteration in ITERATIONS]
    problem = PROBLEMS["curves"]("paper")
    data = problem.data(data_source(None))
    tensors = DeviceData.from_data(data, torch.device("cpu"), torch.float32)
    # Twice his steps on 5,000 cases each, and as much again for everything else.
    budget = Budget("gradients", 4 * lines[-1].cg_steps * 5_000 * 1.24)
    # Dense enough that an iteration of HF, some ten to thirty CG steps, is an evaluation.
    fleet = Fleet(problem, tensors, optim.resolve("hf"), [0], budget, 400)
    descent = Descent([line.train_squared_error for line in lines])
    fleet.run(descent)
    assert any(16 < error < 17.5 for error in descent.curve), "the plateau of a constant image"
    for line in lines:
        steps = descent.reached[line.train_squared_error]
        assert line.cg_steps / 2 <= steps <= line.cg_steps * 2, (line, descent.reached)
