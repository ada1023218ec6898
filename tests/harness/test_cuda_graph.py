"""A captured product: on a GPU the product itself, elsewhere the logic, on a played graph."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import cuda_graph
from harness.binding import BoundObjective, DeviceData, initial_parameters
from harness.ledger import Account, Clock
from harness.spec import Budget
from models.problem import DataSource
from models.problems import PROBLEMS


class PlayedGraph:
    """Stands in for a CUDA graph: notes the operations of a capture, and repeats them."""

    capturing: PlayedGraph | None = None

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for call in self.calls:
            call()


@contextmanager
def played_capture(graph: PlayedGraph) -> Iterator[None]:
    PlayedGraph.capturing = graph
    yield
    PlayedGraph.capturing = None


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fake in {"CUDAGraph": PlayedGraph, "graph": played_capture}.items():
        monkeypatch.setattr(cuda_graph.torch.cuda, name, fake)


def doubling(result: Tensor) -> Callable[[Tensor], Tensor]:
    """v ↦ 2v into one memory, an operation that a played graph can repeat."""

    def double(v: Tensor) -> Tensor:
        def operation() -> Any:
            return torch.mul(v, 2, out=result)

        operation()
        if PlayedGraph.capturing is not None:
            PlayedGraph.capturing.calls.append(operation)
        return result

    return double


@pytest.mark.usefixtures("played")
def test_every_call_replays_on_its_own_argument() -> None:
    result = torch.zeros(1, 4)
    doubled = cuda_graph.Replayed(doubling(result), result)
    for value in (1.0, -3.0, 0.5):
        v = torch.full((1, 4), value)
        got = doubled(v)
        assert torch.equal(got, 2 * v)
        assert got.data_ptr() == result.data_ptr()
    assert doubled._graph.replays == 2
    assert len(doubled._graph.calls) == 1


@pytest.mark.usefixtures("played")
def test_memory_that_a_replay_reads_is_kept() -> None:
    def scaled() -> tuple[cuda_graph.Replayed, weakref.ref[Tensor]]:
        factor, result = torch.full((1, 4), 3.0), torch.zeros(1, 4)

        def function(v: Tensor) -> Tensor:
            return torch.mul(v, factor, out=result)

        made = cuda_graph.Replayed(function, result)
        made(result)
        made(result)
        return made, weakref.ref(factor)

    replayed, factor = scaled()
    assert factor() is not None
    del replayed
    assert factor() is None


@pytest.mark.parametrize("name", ["curves", "add", "mem5"])
def test_a_captured_product_is_the_product(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    problem, device = PROBLEMS[name]("quick"), torch.device("cuda")
    data = DeviceData.put(problem.data(DataSource(())), device, torch.float64)
    objective = BoundObjective(problem, data, [0], Account(Budget("updates", 1), Clock(device)))
    theta = initial_parameters(problem, [0], device, torch.float64)
    batch = objective.next_batch(100, "curvature")
    product = objective.curvature(theta, batch)
    plain = problem.passes().curvature(theta, batch.inputs, batch.targets)
    # What the linearisation left behind must not be what the graph reads.
    torch.full((64, *theta.shape), torch.nan, dtype=theta.dtype, device=device)
    for scale in (1.0, 0.5, -2.0):
        v = scale * theta
        assert torch.equal(product(v), plain(v))
