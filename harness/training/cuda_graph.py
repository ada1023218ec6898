"""CUDA graphs: capture and replay of work on a GPU, and synchronisation with the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def can_capture(device: torch.device) -> bool:
    """Return whether work on this device can be captured in a graph."""
    return device.type == "cuda"


def capture(work: Callable[[], object]) -> Callable[[], None]:
    """Capture the kernels that `work` launches; return a function that runs them in one launch.

    `work` may only use the device and must not wait for it. It must read and write the same memory
    at every call, which the caller keeps alive. It must have run once before, because libraries
    initialise themselves at their first use, and that must not be captured.

    Reference: PyTorch's notes on CUDA graphs, "Whole-network capture".
    """
    graph = torch.cuda.CUDAGraph()
    # thread_local: other threads use the device, and their work must not enter the graph.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class ReplayedFunction:
    """A function v ↦ f(v) that replays the kernels of an earlier call.

    A Gauss–Newton product launches hundreds of small kernels, and a GPU waits for each launch. A
    replay is a single launch.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], like: Tensor) -> None:
        # A replay uses the memory of the captured call, so these tensors must stay alive.
        self._function = function
        self._argument = torch.zeros_like(like)
        self._replay: Callable[[], None] | None = None
        self._result: Tensor | None = None

    def __call__(self, v: Tensor) -> Tensor:
        """Return f(v), in memory that the next call overwrites.

        The first call runs f without a graph, because f may be called only once. The second call
        captures the graph.
        """
        if self._result is None:
            self._result = self._function(v)
            return self._result
        self._argument.copy_(v)
        if self._replay is None:
            self._replay = capture(partial(self._call, self._argument))
        self._replay()
        return self._result

    def _call(self, v: Tensor) -> None:
        self._result = self._function(v)


class LaunchLimiter:
    """Keeps the host at most two stretches of work ahead of the device.

    The device never waits for the host. Without a limit the host could be minutes ahead, and could
    then neither be interrupted nor report its progress.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._last: torch.cuda.Event | None = None

    def end_stretch(self, wait: bool = False) -> None:
        """Wait until the device has finished the previous stretch; with `wait` also this one."""
        if not self._is_cuda:
            return
        event = torch.cuda.Event(blocking=True)
        event.record()
        if self._last is not None:
            self._last.synchronize()
        self._last = event
        if wait:
            event.synchronize()


class DelayedScalar:
    """The last known value of a number on the device; the host never waits for a newer one."""

    def __init__(self) -> None:
        self._value = float("nan")
        self._pending: tuple[Tensor, torch.cuda.Event] | None = None

    def update(self, number: Tensor) -> float:
        """Start a copy of the number to the host; return the newest value that has arrived."""
        if not number.is_cuda:
            return float(number)
        if self._pending is None or self._pending[1].query():
            if self._pending is not None:
                self._value = float(self._pending[0])
            host = torch.empty_like(number, device="cpu", pin_memory=True)
            event = torch.cuda.Event()
            host.copy_(number, non_blocking=True)
            event.record()
            self._pending = host, event
        return self._value
