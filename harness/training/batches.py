"""The batches that the rows of a fleet see, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.harness.training.case_order import Order
from bench.harness.training.case_stream import Fresh
from bench.harness.training.cases import DeviceData
from bench.optim.objective import FORESEEN


def groups_of(seeds: Sequence[int]) -> list[int]:
    """Return the seed of each group of rows that share their cases: all groups are equally large.

    Rows of one seed that stand together see the same cases, which are then drawn and gathered
    once.

    >>> groups_of([7, 7, 8, 8]), groups_of([7, 7, 7, 8, 8])
    ([7, 8], [7, 7, 7, 8, 8])
    """
    together = [len(list(same)) for _, same in groupby(seeds)]
    return list(seeds[:: gcd(*together)])


class Batches:
    """Batches (G, size, …) of G groups of rows, from named streams that each group has for itself.

    They are taken when they are asked for; or those of several updates are put on the device
    beforehand, and a counter there says which is next, so that a CUDA graph finds another batch
    each time that it is replayed.
    """

    def __init__(self, data: DeviceData, seeds: Sequence[int]) -> None:
        self._data, self._groups = data, groups_of(seeds)
        self._streams: dict[str, list[Order | Fresh]] = {}
        self._last: tuple[int, str] | None = None
        self._ahead: list[Tensor] = []
        self._place = torch.zeros(1, dtype=torch.int64, device=data.train.inputs.device)

    def next(self, size: int, stream: str) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the next `size` cases of a stream."""
        if self._ahead:
            parts = [part.index_select(0, self._place)[0] for part in self._ahead]
            self._place.add_(1)
        else:
            self._last = size, stream
            device = self._place.device
            parts = [part[0].to(device) for part in self._taken(size, stream, updates=1)]
        return self._gathered(parts[0]) if self._data.draw is None else (parts[0], parts[1])

    def foresee(self, updates: int) -> None:
        """Put the batches of the next `updates` updates on the device, where `next` finds them.

        Every update is taken to need one batch like the last one.
        """
        assert self._last is not None
        taken = self._taken(*self._last, updates)
        if not self._ahead:
            device = self._place.device
            self._ahead = [
                part.new_empty((FORESEEN, *part.shape[1:]), device=device) for part in taken
            ]
        for into, part in zip(self._ahead, taken, strict=True):
            # Pinned, so that the copy takes its turn on the device and nobody waits for it.
            source = part.pin_memory() if into.is_cuda else part
            into[:updates].copy_(source, non_blocking=True)
        self._place.zero_()

    def positions(self) -> dict[str, list[int]]:
        """Return where every stream stands."""
        return {name: [each.position for each in every] for name, every in self._streams.items()}

    def move_to(self, positions: Mapping[str, Sequence[int]]) -> None:
        """Put every stream where `positions` found it, so that the next batches are the same."""
        self._streams.clear()
        self._ahead.clear()
        for name, places in positions.items():
            for each, position in zip(self._of(name), places, strict=True):
                each.position = position

    def of(self, seeds: Sequence[int]) -> Batches:
        """Return other rows' batches from here on; all streams of a name stand at one position."""
        others = Batches(self._data, seeds)
        others.move_to(
            {name: [at[0]] * len(others._groups) for name, at in self.positions().items()}
        )
        return others

    def _of(self, stream: str) -> list[Order | Fresh]:
        if stream not in self._streams:
            data = self._data
            self._streams[stream] = [
                Order(data.train.cases, seed, stream)
                if data.draw is None
                else Fresh(data.draw, seed, stream)
                for seed in self._groups
            ]
        return self._streams[stream]

    def _taken(self, size: int, stream: str, updates: int) -> list[Tensor]:
        """Return cases of the next updates on the host, (updates, G, size, …).

        They are case numbers, or the inputs and the targets of cases drawn anew.
        """
        taken = [each.take(updates * size) for each in self._of(stream)]
        if self._data.draw is None:
            return [_together(taken, updates)]
        dtype = self._data.train.inputs.dtype
        return [_together(part, updates).to(dtype) for part in zip(*taken, strict=True)]

    def _gathered(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cases of these numbers; inputs that are the targets are gathered once."""
        train = self._data.train

        def gather(source: Tensor) -> Tensor:
            found = source[0].index_select(0, numbers.view(-1))
            return found.view(*numbers.shape, *source.shape[2:])

        inputs = gather(train.inputs)
        return inputs, inputs if train.targets is train.inputs else gather(train.targets)


def _together(groups: Sequence[Any], updates: int) -> Tensor:
    """Return what each group takes in so many updates as one, (updates, G, size, …)."""
    parts = [each.reshape(updates, -1, *each.shape[1:]) for each in groups]
    return torch.from_numpy(parts[0][:, None] if len(parts) == 1 else np.stack(parts, 1))
