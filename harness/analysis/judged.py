"""The judged metric of a comparison: a quantity, on training or on test data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.harness.analysis.verdict import Direction
from bench.harness.core.errors import Usage
from bench.harness.core.records import Measurement, TrialRecord
from bench.harness.core.spec import Protocol
from bench.optim.hyperparameters import nearest

Split = Literal["train", "test"]
LOSS = "loss"
SPLIT_WORDS: Mapping[str, str] = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class JudgedMetric:
    """What decides a verdict: the value after the whole budget, on one of the two data splits."""

    split: Split
    quantity: str
    """The name of the problem's metric, or "loss"."""
    direction: Direction
    is_loss: bool = False

    @property
    def name(self) -> str:
        """The name that `--metric` takes: `train_squared_error`."""
        return f"{self.split}_{self.quantity}"

    @property
    def words(self) -> str:
        """Data split and quantity in words: "training squared error"."""
        return f"{SPLIT_WORDS[self.split]} {self.quantity.replace('_', ' ')}"

    @property
    def on_other_data(self) -> JudgedMetric:
        """The same quantity on the other split."""
        return replace(self, split="test" if self.split == "train" else "train")

    def value(self, trial: TrialRecord, measurements: Sequence[Measurement]) -> float | None:
        """Return the final value of a trial; None if it diverged, or if there is none."""
        if trial.status == "diverged":
            return None
        if not self.is_loss:
            found = trial.train_metric if self.split == "train" else trial.test_metric
        elif not measurements:
            found = None
        else:
            last = measurements[-1]
            found = last.train_loss if self.split == "train" else last.test_loss
        return found if found is not None and math.isfinite(found) else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "words": self.words,
            "split": self.split,
            "quantity": self.quantity,
            "direction": self.direction,
        }


def judged_metrics(protocol: Protocol) -> dict[str, JudgedMetric]:
    """Return what can be judged under a protocol by name; the first is judged by default."""
    quantity = protocol.metric.removeprefix("train_")
    own = JudgedMetric("train", quantity, protocol.direction)
    loss = JudgedMetric("train", LOSS, "lower", is_loss=True)
    every = (own, own.on_other_data, loss, loss.on_other_data)
    # A problem whose metric is called "loss" has no second quantity of this name.
    return {each.name: each for each in reversed(every)} | {each.name: each for each in every[:2]}


def judged_metric(protocol: Protocol, name: str | None) -> JudgedMetric:
    """Return the metric with this name; None: the problem's, on training data.

    Raises Usage with the names that are allowed.
    """
    every = judged_metrics(protocol)
    if name is None:
        return every[f"train_{protocol.metric.removeprefix('train_')}"]
    if name not in every:
        allowed = sorted(every, key=lambda each: (each.endswith("_loss"), each.startswith("test")))
        raise Usage(
            f"--metric {name}: {protocol.problem} has no such metric{nearest(name, allowed)} "
            f"Allowed: {', '.join(allowed)}."
        )
    return every[name]
