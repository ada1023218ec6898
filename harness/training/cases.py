"""Training and test cases on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.harness.distributed.ranks import Ranks
from bench.models.problem import Data, Draw, to_tensor


@dataclass(frozen=True)
class Cases:
    """Inputs and targets on the device: (groups of rows that share them, cases, …).

    On several ranks they are a rank's part of a batch, which may be empty.
    """

    inputs: Tensor
    targets: Tensor
    of: int | None = None
    """Cases of the batch that these are a part of; None where they are all of it."""

    @property
    def cases(self) -> int:
        """Number of cases a row, on all ranks together."""
        return self.inputs.shape[1] if self.of is None else self.of

    def part(self, ranks: Ranks) -> Cases:
        """Return what of this batch is a rank's."""
        if ranks.size == 1:
            return self
        mine = ranks.part(self.cases)
        return Cases(self.inputs[:, mine], self.targets[:, mine], of=self.cases)

    def slices(self, most: int) -> Iterator[tuple[Cases, float]]:
        """Yield slices of at most so many cases, each with its share of the whole batch."""
        here = self.inputs.shape[1]
        if here == self.cases <= most:
            yield self, 1.0
            return
        for start in range(0, here, most):
            some = slice(start, start + most)
            part = Cases(self.inputs[:, some], self.targets[:, some])
            yield part, part.cases / self.cases


@dataclass(frozen=True)
class DeviceData:
    """Training and test sets on a device."""

    train: Cases
    test: Cases
    draw: Draw | None = None
    """Where training cases are drawn anew, how; `train` is then what trials are evaluated on."""

    @classmethod
    def put(cls, data: Data, device: torch.device, dtype: torch.dtype) -> DeviceData:
        """Copy the arrays to the device; targets that are the inputs share their memory."""

        def pair(inputs: np.ndarray, targets: np.ndarray) -> Cases:
            x = to_tensor(inputs, dtype).to(device)[None]
            same = targets is inputs
            return Cases(x, x if same else to_tensor(targets, dtype).to(device)[None])

        return cls(
            pair(data.train_inputs, data.train_targets),
            pair(data.test_inputs, data.test_targets),
            data.draw,
        )
