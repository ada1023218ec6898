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
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None

    def __call__(self, v: Tensor) -> Tensor:
        """Return f(v), in memory that the next call writes over.

        The first call runs f: libraries set themselves up at their first use, which must not be
        captured, and a function that is called once is not worth a graph. The second captures.
        """
        if self._result is None:
            self._result = self._function(v)
            return self._result
        self._argument.copy_(v)
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._result = self._function(self._argument)
            self._graph = graph
        self._graph.replay()
        return self._result
