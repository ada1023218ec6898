"""Work on a CUDA device captured once and replayed, and how the host keeps up with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def captures(device: torch.device) -> bool:
    """Say whether work on this device can be captured at all."""
    return device.type == "cuda"


def capture(work: Callable[[], object]) -> Callable[[], None]:
    """Note the kernels that `work` launches, without running them; return what runs them.

    They are one launch then. `work` may use nothing but the device, must not wait for it, and
    finds and leaves everything in the same memory, which the caller keeps. It has to have run
    before: libraries set themselves up at their first use, which must not be captured.

    Reference: PyTorch's notes on CUDA graphs, "Whole-network capture".
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads record and draw: what they do with the device is no part of the graph.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Replayed:
    """v ↦ f(v) by replaying the kernels that f launched for a first v.

    A Gauss–Newton product launches hundreds of small kernels, and a GPU waits for each launch; a
    replay is one.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], like: Tensor) -> None:
        # A replay reads and writes whatever memory the function had, which must not be given back.
        self._function = function
        self._argument = torch.zeros_like(like)
        self._replay: Callable[[], None] | None = None
        self._result: Tensor | None = None

    def __call__(self, v: Tensor) -> Tensor:
        """Return f(v), in memory that the next call writes over.

        The first call runs f, since a function that is called once is not worth a graph; the
        second captures.
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


class Pace:
    """Keeps the host at most two stretches of work ahead of the device.

    The device never waits for the host; but a host that is minutes ahead could neither be
    interrupted nor say where it stands.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._before: torch.cuda.Event | None = None

    def stretch_given(self, wait: bool = False) -> None:
        """Wait until the device has done the stretch before the one just given; or this one."""
        if not self._on_device:
            return
        event = torch.cuda.Event(blocking=True)
        event.record()
        if self._before is not None:
            self._before.synchronize()
        self._before = event
        if wait:
            event.synchronize()


class Glimpse:
    """A number on the device as the host saw it last: it comes late, and nobody waits for it."""

    def __init__(self) -> None:
        self._value = float("nan")
        self._coming: tuple[Tensor, torch.cuda.Event] | None = None

    def look(self, number: Tensor) -> float:
        """Return what an earlier look asked for, if it has come, and ask for this one."""
        if not number.is_cuda:
            return float(number)
        if self._coming is None or self._coming[1].query():
            if self._coming is not None:
                self._value = float(self._coming[0])
            host = torch.empty_like(number, device="cpu", pin_memory=True)
            event = torch.cuda.Event()
            host.copy_(number, non_blocking=True)
            event.record()
            self._coming = host, event
        return self._value
