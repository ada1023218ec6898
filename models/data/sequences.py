"""What all tasks on sequences with long dependencies have in common; sequences are drawn anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from bench.models.problem import Data, digest_of

RESOLUTION = 2**16
"""Values are multiples of its inverse, so that sequences are the same on every processor."""
RECIPE = 1
"""The version of the draws: it rises when the same stream gives other sequences."""
EVALUATION_SEED = 0
LONGEST = 1_000
"""The largest T that is allowed."""


@dataclass(frozen=True)
class Task(ABC):
    """The inputs of a network step by step, and its targets.

    A task is asked for one target (B, O) at each sequence's end, which the last input channel
    then marks with a 1, or for one at every step, (B, S, O), of sequences of equal length.
    """

    every_step: ClassVar[bool] = False
    shortest: ClassVar[int] = 1
    """The smallest T whose windows are long enough."""

    length: int
    """The length T that names the task."""
    centred: bool
    """Whether the mean over all steps is subtracted from each input channel."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of the longest sequence, S."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Input channels, the end marker left out."""

    @property
    @abstractmethod
    def mean_target(self) -> Float64[np.ndarray, " O"]:
        """The expected target, over all steps that have one."""

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S _"], Float32[np.ndarray, "B ..."]]:
        """Return inputs and targets of `cases` new sequences.

        After a sequence's end there is nothing but zeros.
        """

    @property
    def outputs(self) -> int:
        """Number of outputs, O."""
        return len(self.mean_target)


@dataclass(frozen=True)
class VaryingTask(Task):
    """A task whose sequences have T' steps, T' uniform in [T, 1.1 T]."""

    @property
    def steps(self) -> int:
        """Steps of the longest sequence, ⌊1.1 T⌋."""
        return self.length + self.length // 10

    @property
    def mean_length(self) -> float:
        """The mean of T'."""
        return (self.length + self.steps) / 2

    def lengths(self, rng: np.random.Generator, cases: int) -> np.ndarray:
        """Draw T' for each case."""
        return rng.integers(self.length, self.steps, cases, endpoint=True)


def exact(values: np.ndarray) -> np.ndarray:
    """Round down to a multiple of 2⁻¹⁶, which float32 differences of such values keep exactly."""
    rounded: np.ndarray = np.floor(values * RESOLUTION) / RESOLUTION
    return rounded


def marked_ends(inputs: np.ndarray, lengths: np.ndarray) -> Float32[np.ndarray, "B S D1"]:
    """Set inputs (B, S, D) to zero after each end, and append the channel that marks it."""
    cases, steps, features = inputs.shape
    out = np.zeros((cases, steps, features + 1), np.float32)
    out[..., :-1] = inputs
    out[np.arange(steps) >= lengths[:, None]] = 0
    out[np.arange(cases), lengths - 1, -1] = 1
    return out


def data(name: str, task: Task, cases: int) -> Data:
    """Return data whose training sequences are drawn anew, and `cases` + `cases` to evaluate on."""
    rng = np.random.Generator(np.random.PCG64([EVALUATION_SEED, RECIPE]))
    train, test = task.draw(rng, cases), task.draw(rng, cases)
    return Data(
        name=name,
        digest=digest_of(*train, *test),
        train_inputs=train[0],
        test_inputs=test[0],
        train_targets=train[1],
        test_targets=test[1],
        draw=task.draw,
    )
