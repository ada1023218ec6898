"""A batch of sequences with time before cases, and the steps at which its outputs are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.models.groups import for_rows


def flat(values: Float[Tensor, "K S B n"]) -> Float[Tensor, "K SB n"]:
    """Return all steps of all cases as one matrix a row, a view."""
    rows, steps, cases, n = values.shape
    return values.view(rows, steps * cases, n)


@dataclass(frozen=True)
class Sequences(ABC):
    """Inputs with time before cases; states are (K, S + 1, B, n), index 0 before the first step.

    Inputs belong to groups of rows, states to each row. What is read are R states of each row,
    (K, R, n), from which outputs (K, R, O) are made.
    """

    x: Float[Tensor, "G S B D"]

    @property
    def steps(self) -> int:
        """Number of steps, S."""
        return self.x.shape[1]

    @property
    def count(self) -> int:
        """Number of cases, B."""
        return self.x.shape[2]

    @abstractmethod
    def read(self, values: Float[Tensor, "K S1 B n"]) -> Float[Tensor, "K R n"]:
        """Return the values at the steps where outputs are read."""

    @abstractmethod
    def add(self, values: Float[Tensor, "K S1 B n"], more: Float[Tensor, "K R n"]) -> None:
        """Add to the values at the steps where outputs are read."""

    @abstractmethod
    def shaped(self, z: Float[Tensor, "K R O"]) -> Float[Tensor, "K B ..."]:
        """Return outputs in the targets' shape."""

    @abstractmethod
    def unshaped(self, dz: Float[Tensor, "K B ..."]) -> Float[Tensor, "K R O"]:
        """Return a tensor of the targets' shape in the shape of the outputs."""

    @abstractmethod
    def each_case(self, values: Float[Tensor, "K R n"]) -> Float[Tensor, "K B r n"]:
        """Return the values of each case at its r reads."""

    @abstractmethod
    def within(self) -> Float[Tensor, "G S B 1"]:
        """Return 1 up to each case's last step and 0 beyond."""


@dataclass(frozen=True)
class ReadAtEnd(Sequences):
    """Sequences that are read at their ends, which the last channel of the inputs marks."""

    end: Int[Tensor, "G B 1"]
    """For each case the row of its last state in (S + 1)·B; index 0 is before the first step."""

    @classmethod
    def of(cls, inputs: Float[Tensor, "G B S D1"]) -> ReadAtEnd:
        """Take the end marker off the inputs."""
        x = inputs[..., :-1].transpose(1, 2).contiguous()
        count = inputs.shape[1]
        last = inputs[..., -1].argmax(2).add_(1).mul_(count)
        return cls(x, last.add_(torch.arange(count, device=x.device)).unsqueeze(2))

    def read(self, values: Float[Tensor, "K S1 B n"]) -> Float[Tensor, "K B n"]:
        """Return each case's values at its last step."""
        every = flat(values)
        return every.gather(1, for_rows(self.end, every.shape[0]).expand(-1, -1, every.shape[2]))

    def add(self, values: Float[Tensor, "K S1 B n"], more: Float[Tensor, "K B n"]) -> None:
        """Add to each case's values at its last step."""
        flat(values).scatter_add_(1, for_rows(self.end, more.shape[0]).expand_as(more), more)

    def shaped(self, z: Float[Tensor, "K B O"]) -> Float[Tensor, "K B O"]:
        """Return z, which has the targets' shape already."""
        return z

    def unshaped(self, dz: Float[Tensor, "K B O"]) -> Float[Tensor, "K B O"]:
        """Return dz, which has the outputs' shape already."""
        return dz

    def each_case(self, values: Float[Tensor, "K B n"]) -> Float[Tensor, "K B 1 n"]:
        """Return the only read of each case."""
        return values.unsqueeze(2)

    def within(self) -> Float[Tensor, "G S B 1"]:
        """Return 1 up to each case's last step and 0 beyond."""
        step = torch.arange(1, self.steps + 1, device=self.x.device)[:, None, None]
        last = self.end.div(self.count, rounding_mode="floor").unsqueeze(1)
        return (step <= last).to(self.x)


@dataclass(frozen=True)
class ReadAtEveryStep(Sequences):
    """Sequences of equal length that are read at every step."""

    @classmethod
    def of(cls, inputs: Float[Tensor, "G B S D"]) -> ReadAtEveryStep:
        """Put time before cases."""
        return cls(inputs.transpose(1, 2).contiguous())

    def read(self, values: Float[Tensor, "K S1 B n"]) -> Float[Tensor, "K SB n"]:
        """Return the values of all steps and cases, a view."""
        return flat(values[:, 1:])

    def add(self, values: Float[Tensor, "K S1 B n"], more: Float[Tensor, "K SB n"]) -> None:
        """Add to the values of all steps."""
        flat(values[:, 1:]).add_(more)

    def shaped(self, z: Float[Tensor, "K SB O"]) -> Float[Tensor, "K B S O"]:
        """Return z with cases before time, a view."""
        return z.view(len(z), self.steps, self.count, -1).transpose(1, 2)

    def unshaped(self, dz: Float[Tensor, "K B S O"]) -> Float[Tensor, "K SB O"]:
        """Return dz with time before cases."""
        return dz.transpose(1, 2).flatten(1, 2)

    def each_case(self, values: Float[Tensor, "K SB n"]) -> Float[Tensor, "K B S n"]:
        """Return all steps of each case, a view."""
        return self.shaped(values)

    def within(self) -> Float[Tensor, "G S B 1"]:
        """Return 1 everywhere."""
        return torch.ones_like(self.x[..., :1])
