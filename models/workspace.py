"""Memory for intermediate results, kept from one pass to the next."""

from __future__ import annotations

import torch
from torch import Tensor

KEPT = 4
"""Shapes whose memory is kept: a run alternates between minibatches and slices of the whole set."""


class Workspace:
    """Tensors by role and shape; allocating megabytes anew costs more than small products do.

    What is handed out holds anything, and is handed out again to the next who asks for it. Memory
    that was taken while a CUDA graph was captured is never given back: replays write to it.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], list[Tensor]] = {}
        self._captured: set[tuple[object, ...]] = set()

    def take(self, role: str, shapes: tuple[tuple[int, ...], ...], like: Tensor) -> list[Tensor]:
        """Return tensors of these shapes, of `like`'s type and place."""
        key = (role, shapes, like.dtype, like.device)
        if key not in self._kept:
            mine = [each for each in self._kept if each[0] == role and each not in self._captured]
            if len(mine) == KEPT:
                self._kept.pop(mine[0])
            self._kept[key] = [like.new_empty(shape) for shape in shapes]
        if _capturing(like):
            self._captured.add(key)
        return self._kept[key]


def _capturing(like: Tensor) -> bool:
    return like.is_cuda and torch.cuda.is_current_stream_capturing()
