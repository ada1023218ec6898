"""The random numbers of a method, as a named stream of its trial.

What a plugin draws from a global stream of the process would depend on what was drawn before, and
would move the stream for others. So while it runs, streams that begin with the trial's seed are in
the place of the global ones. They are part of the state of the method: a checkpoint holds them, and
every process that trains the fleet has the same.

bench's own methods and torch's draw nothing, and run without this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.core.schema import Mismatch
from bench.harness.core.seeds import seed_of
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method, Objective
from bench.optim.plugins import short
from bench.optim.random_streams import RandomStreams
from bench.optim.registry import draws_nothing

STREAM = "method"
"""The name of the stream."""
WATCHED, INTERVAL = 10, 100
"""In a fleet of several rows, draws are looked for in the first steps, and then now and then."""


def with_random_stream(method: Method, seeds: Sequence[int], device: torch.device) -> Method:
    """Return the method with the stream of the trial, or the method itself if it draws nothing."""
    return method if draws_nothing(method) else MethodWithStream(method, seeds, device)  # type: ignore[return-value]


_NO_STREAMS = (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError)
"""What torch, NumPy and Python raise for a state that is none of theirs."""


class MethodWithStream:
    """A method that draws from streams which begin with its trial's seed; else it is the same."""

    def __init__(self, method: Method, seeds: Sequence[int], device: torch.device) -> None:
        self._method = method
        self._rows = len(seeds)
        self._streams = RandomStreams.seeded(seed_of(seeds[0], STREAM), device)
        self._steps = 0
        self._is_fixed = False
        """Whether it gives a GPU the same work every time, and has not drawn in its first step."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can repeat a step: not if random numbers are drawn in it."""
        return self._is_fixed

    @property
    def keep(self) -> Any:
        """The method's own `keep`, whose method has the same stream; None if it has none."""
        own = getattr(self._method, "keep", None)
        if own is None:
            return None

        def keep(state: Any, rows: Sequence[int], theta: Tensor) -> tuple[Method, Any]:
            self._method, kept = own(state, rows, theta)
            self._rows = len(rows)
            return self, kept  # type: ignore[return-value]

        return keep

    def init(self, theta: Float[Tensor, "K P"], seed: int, budget: int | None) -> Any:
        """Return the method's state before the first step."""
        with self._streams.in_place():
            return self._method.init(theta, seed, budget)

    def step(
        self, theta: Float[Tensor, "K P"], objective: Objective, state: Any
    ) -> Mapping[str, Any]:
        """Make one update; UsageError for draws in a fleet, whose rows would share them."""
        if self._is_fixed:
            return self._method.step(theta, objective, state)
        self._steps += 1
        can_be_fixed = self._steps == 1 and getattr(self._method, "capturable", False)
        shared = self._rows > 1 and (self._steps <= WATCHED or self._steps % INTERVAL == 0)
        before = self._streams.state_dict() if can_be_fixed or shared else None
        with self._streams.in_place():
            report = self._method.step(theta, objective, state)
        if before is not None:
            draws = not _equal(before, self._streams.state_dict())
            self._is_fixed = can_be_fixed and not draws
            if draws and self._rows > 1:
                raise UsageError(
                    f"{self._method.name} draws random numbers from a global stream while it "
                    f"trains {self._rows} trials as one fleet, so a trial would depend on the "
                    "others in its fleet. Let its fleet_key be None: then it trains one at a time."
                )
        return report

    def iterate(self, theta: Float[Tensor, "K P"], state: Any) -> Float[Tensor, "K P"]:
        """Return the parameters to evaluate; the streams stand afterwards where they stood.

        So a run is the same however often it is evaluated, also where that draws.
        """
        if self._is_fixed:
            return self._method.iterate(theta, state)
        before = self._streams.state_dict()
        try:
            with self._streams.in_place():
                return self._method.iterate(theta, state)
        finally:
            self._streams.load_state_dict(before)

    def state_dict(self, state: Any) -> dict[str, Any]:
        """Return the method's state with its streams."""
        return {**self._method.state_dict(state), STREAM_ENTRY: self._streams.state_dict()}

    def load_state_dict(self, state: Any, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state; Mismatch where its streams are none."""
        own = {name: value for name, value in saved.items() if name != STREAM_ENTRY}
        with self._streams.in_place():
            self._method.load_state_dict(state, own)
        try:
            self._streams.load_state_dict(saved[STREAM_ENTRY])
            with self._streams.in_place():
                pass
        except _NO_STREAMS as error:
            raise Mismatch(f"fleet.method.{STREAM_ENTRY}: {short(error)}") from error


STREAM_ENTRY = "random streams"
"""Where a saved state has the streams."""


def _equal(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(
        torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name]
        for name, value in a.items()
    )
