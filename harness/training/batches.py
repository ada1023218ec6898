"""The sequence of batches that the rows of a fleet are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.harness.training.case_order import CaseOrder
from bench.harness.training.case_stream import CaseStream
from bench.harness.training.cases import DeviceData
from bench.optim.objective import FORESEEN


def group_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seed of each group of rows that share their cases; all groups are equally large.

    Adjacent rows with the same seed see the same cases, which are drawn and gathered only once.

    >>> group_seeds([7, 7, 8, 8]), group_seeds([7, 7, 7, 8, 8])
    ([7, 8], [7, 7, 7, 8, 8])
    """
    together = [len(list(same)) for _, same in groupby(seeds)]
    return list(seeds[:: gcd(*together)])


class Batches:
    """Batches (G, size, …) for G groups of rows; each group has named streams of its own.

    `next` takes a batch from the streams. After `prefetch`, the batches of several updates are on
    the device, and a counter there selects the next one. A CUDA graph therefore reads a different
    batch at each replay.
    """

    def __init__(self, data: DeviceData, seeds: Sequence[int]) -> None:
        self._data, self._groups = data, group_seeds(seeds)
        self._streams: dict[str, list[CaseOrder | CaseStream]] = {}
        self._last: tuple[int, str] | None = None
        self._prefetched: list[Tensor] = []
        self._counter = torch.zeros(1, dtype=torch.int64, device=data.train.inputs.device)

    def next(self, size: int, stream: str) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the next `size` cases of a stream."""
        if self._prefetched:
            parts = [part.index_select(0, self._counter)[0] for part in self._prefetched]
            self._counter.add_(1)
        else:
            self._last = size, stream
            device = self._counter.device
            parts = [part[0].to(device) for part in self._host_batch(size, stream, updates=1)]
        return self._gather(parts[0]) if self._data.draw is None else (parts[0], parts[1])

    def prefetch(self, updates: int) -> None:
        """Copy the batches of the next `updates` updates to the device, where `next` finds them.

        Each update must need exactly one batch of the same size and stream as the last one.
        """
        assert self._last is not None
        taken = self._host_batch(*self._last, updates)
        if not self._prefetched:
            device = self._counter.device
            self._prefetched = [
                part.new_empty((FORESEEN, *part.shape[1:]), device=device) for part in taken
            ]
        for into, part in zip(self._prefetched, taken, strict=True):
            # Pinned, so that the copy is queued on the device and the host does not wait.
            source = part.pin_memory() if into.is_cuda else part
            into[:updates].copy_(source, non_blocking=True)
        self._counter.zero_()

    def positions(self) -> dict[str, list[int]]:
        """Return the position of every stream, by name and group."""
        return {name: [each.position for each in every] for name, every in self._streams.items()}

    def restore_positions(self, positions: Mapping[str, Sequence[int]]) -> None:
        """Set every stream to a position that `positions` returned; the same batches follow."""
        self._streams.clear()
        self._prefetched.clear()
        for name, places in positions.items():
            for each, position in zip(self._streams_of(name), places, strict=True):
                each.position = position

    def for_seeds(self, seeds: Sequence[int]) -> Batches:
        """Return the batches of other rows from the present position on.

        All groups must be at the same position of a stream.
        """
        others = Batches(self._data, seeds)
        others.restore_positions(
            {name: [at[0]] * len(others._groups) for name, at in self.positions().items()}
        )
        return others

    def _streams_of(self, stream: str) -> list[CaseOrder | CaseStream]:
        if stream not in self._streams:
            data = self._data
            self._streams[stream] = [
                CaseOrder(data.train.cases, seed, stream)
                if data.draw is None
                else CaseStream(data.draw, seed, stream)
                for seed in self._groups
            ]
        return self._streams[stream]

    def _host_batch(self, size: int, stream: str, updates: int) -> list[Tensor]:
        """Return the cases of the next updates on the host, (updates, G, size, …).

        The list has one tensor of case numbers, or the inputs and the targets of new cases.
        """
        taken = [each.take(updates * size) for each in self._streams_of(stream)]
        if self._data.draw is None:
            return [_stack(taken, updates)]
        like = self._data.train
        inputs, targets = (_stack(part, updates) for part in zip(*taken, strict=True))
        return [inputs.to(like.inputs.dtype), targets.to(like.targets.dtype)]

    def _gather(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cases with these numbers; if inputs and targets are one, gather them once."""
        train = self._data.train

        def gather(source: Tensor) -> Tensor:
            found = source[0].index_select(0, numbers.view(-1))
            return found.view(*numbers.shape, *source.shape[2:])

        inputs = gather(train.inputs)
        return inputs, inputs if train.targets is train.inputs else gather(train.targets)


def _stack(groups: Sequence[Any], updates: int) -> Tensor:
    """Stack the cases of all groups for so many updates: (updates, G, size, …)."""
    parts = [each.reshape(updates, -1, *each.shape[1:]) for each in groups]
    return torch.from_numpy(parts[0][:, None] if len(parts) == 1 else np.stack(parts, 1))
