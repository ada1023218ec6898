"""Training and test cases on a device, and slices of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.harness.core.errors import BrokenContract
from bench.harness.distributed.ranks import Ranks
from bench.harness.training.checksum import checksum
from bench.models.problem import Data, Draw, are_tokens, input_tensor, to_tensor


@dataclass(frozen=True)
class Cases:
    """Inputs and targets on the device: (groups of rows that share them, cases, …).

    With several ranks they are one rank's part of a batch, which may be empty.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int | None = None
    """Cases of the whole batch, if these are a part of it."""

    @property
    def cases(self) -> int:
        """Number of cases for each row, on all ranks together."""
        return self.inputs.shape[1] if self.batch_size is None else self.batch_size

    def part(self, ranks: Ranks) -> Cases:
        """Return this rank's part of the batch."""
        if ranks.size == 1:
            return self
        mine = ranks.part(self.cases)
        return Cases(self.inputs[:, mine], self.targets[:, mine], batch_size=self.cases)

    def slices(self, limit: int) -> Iterator[tuple[Cases, float]]:
        """Yield slices of at most `limit` cases, each with its share of the whole batch."""
        count = self.inputs.shape[1]
        if count == self.cases <= limit:
            yield self, 1.0
            return
        for start in range(0, count, limit):
            window = slice(start, start + limit)
            part = Cases(self.inputs[:, window], self.targets[:, window])
            yield part, part.cases / self.cases


@dataclass(frozen=True)
class DeviceData:
    """Training and test sets on a device."""

    train: Cases
    test: Cases
    draw: Draw | None = None
    """Draws new training cases, if the problem has no fixed training set; `train` then only serves
    for evaluation."""
    checksums: dict[str, int] = field(init=False, repr=False)
    """Of every tensor, as it was put on the device."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of θ; inputs that are tokens have another type."""
        return self.train.targets.dtype

    def __post_init__(self) -> None:
        """Take the checksums."""
        object.__setattr__(self, "checksums", self._checksums())

    def require_unchanged(self, during: str) -> None:
        """Raise BrokenContract if any bit of the cases is another than at the beginning.

        `during` says in a message what ran meanwhile: "nag trained on curves".
        """
        now = self._checksums()
        if changed := [name for name, value in self.checksums.items() if now[name] != value]:
            raise BrokenContract(
                f"The data changed while {during}: {' and '.join(changed)}. The method or the "
                "network writes into them. The trial has failed, and nothing of it is used. Find "
                "the operation in place (`bench check` names the law that fails), and let it write "
                "into a copy."
            )

    def _checksums(self) -> dict[str, int]:
        found = {}
        for name, cases in (("training", self.train), ("test", self.test)):
            found[f"{name} inputs"] = checksum(cases.inputs)
            if cases.targets is not cases.inputs:
                found[f"{name} targets"] = checksum(cases.targets)
        return found

    @classmethod
    def from_data(cls, data: Data, device: torch.device, dtype: torch.dtype) -> DeviceData:
        """Copy the arrays to the device; targets that are the inputs share the inputs' memory."""

        def pair(inputs: np.ndarray, targets: np.ndarray) -> Cases:
            x = input_tensor(inputs, dtype).to(device)[None]
            same = targets is inputs and not are_tokens(inputs)
            return Cases(x, x if same else to_tensor(targets, dtype).to(device)[None])

        return cls(
            pair(data.train_inputs, data.train_targets),
            pair(data.test_inputs, data.test_targets),
            data.draw,
        )
