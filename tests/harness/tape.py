"""A stand-in for CUDA graphs: every operation of a capture is noted, and repeated by a replay.

Like a graph it repeats nothing but operations on the same memory: what Python did at the capture, a
counter on the host or another tensor in a variable, is done once and never again. Unlike a graph
it computes at the capture too, so what it finds there is put back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TapedGraph:
    def __init__(self) -> None:
        self.notes: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for operation, args, kwargs, results in self.notes:
            again = operation(*args, **kwargs)
            for now, then in zip(tree_leaves(again), tree_leaves(results), strict=True):
                if isinstance(then, Tensor) and now.data_ptr() != then.data_ptr():
                    then.copy_(now)


class _Taping(TorchDispatchMode):
    def __init__(self, graph: TapedGraph) -> None:
        super().__init__()
        self._graph, self._before = graph, dict[int, tuple[Tensor, Tensor]]()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("A value was read on the host: a graph cannot be captured so.")
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor):
                memory = each.untyped_storage()
                if memory.data_ptr() not in self._before:
                    whole = torch.empty(0, dtype=each.dtype).set_(memory)
                    self._before[memory.data_ptr()] = (whole, whole.clone())
        results = operation(*args, **kwargs)
        self._graph.notes.append((operation, args, kwargs, results))
        return results

    def put_back(self) -> None:
        for memory, before in self._before.values():
            memory.copy_(before)


@contextmanager
def taping(graph: TapedGraph, capture_error_mode: str = "global") -> Iterator[None]:
    mode = _Taping(graph)
    with mode:
        yield
    mode.put_back()
