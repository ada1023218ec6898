"""A device function captured once as a CUDA graph and replayed at every call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Replayed:
    """v ↦ f(v) by replaying the kernels that f launched for a first v.

    A Gauss–Newton product launches hundreds of small kernels, and a GPU waits for each launch; a
    replay is one. f may use nothing but the device, must write its result into the same memory
    every time, and must not wait for the device.

    Reference: PyTorch's notes on CUDA graphs, "Whole-network capture".
    """

    def __init__(self, function: Callable[[Tensor], Tensor], like: Tensor) -> None:
        # A replay reads and writes whatever memory the function had, which must not be given back.
        self._function = function
        self._argument = torch.zeros_like(like)
        # Libraries set themselves up at their first use, which must not be captured.
        side = torch.cuda.Stream(like.device)
        side.wait_stream(torch.cuda.current_stream(like.device))
        with torch.cuda.stream(side):
            function(self._argument)
        torch.cuda.current_stream(like.device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = function(self._argument)

    def __call__(self, v: Tensor) -> Tensor:
        """Return f(v), in memory that the next call writes over."""
        self._argument.copy_(v)
        self._graph.replay()
        return self._result
