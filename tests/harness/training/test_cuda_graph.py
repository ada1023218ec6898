"""A captured product: on a GPU the product itself, elsewhere the logic, on a taped graph."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from bench.harness.core.spec import Budget
from bench.harness.training import cuda_graph
from bench.harness.training.bound_objective import BoundObjective, initial_parameters
from bench.harness.training.cases import DeviceData
from bench.harness.training.cuda_graph import DelayedScalar, LaunchLimiter
from bench.harness.training.ledger import Account, Clock
from bench.models.built_in import PROBLEMS
from bench.models.problem import DataSource
from tests.harness.tape import TapedGraph

CPU = torch.device("cpu")


def test_every_call_replays_on_its_own_argument(taped: list[TapedGraph]) -> None:
    result = torch.zeros(1, 4)
    doubled = cuda_graph.ReplayedFunction(lambda v: torch.mul(v, 2, out=result), result)
    for value in (1.0, -3.0, 0.5):
        v = torch.full((1, 4), value)
        got = doubled(v)
        assert torch.equal(got, 2 * v)
        assert got.data_ptr() == result.data_ptr()
    assert [graph.replays for graph in taped] == [2]


@pytest.mark.usefixtures("taped")
def test_memory_that_a_replay_reads_is_kept() -> None:
    def scaled() -> tuple[cuda_graph.ReplayedFunction, weakref.ref[Tensor]]:
        factor, result = torch.full((1, 4), 3.0), torch.zeros(1, 4)

        def function(v: Tensor) -> Tensor:
            return torch.mul(v, factor, out=result)

        made = cuda_graph.ReplayedFunction(function, result)
        made(result)
        return made, weakref.ref(factor)

    replayed, factor = scaled()
    assert factor() is not None
    del replayed
    assert factor() is None


@pytest.mark.parametrize("name", ["curves", "add", "mem5"])
def test_a_product_is_captured_with_all_that_it_computes(
    name: str, taped: list[TapedGraph]
) -> None:
    problem = PROBLEMS[name]("quick")
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, torch.float64)
    objective = BoundObjective(problem, data, [0], Account(Budget("updates", 1), Clock(CPU)))
    theta = initial_parameters(problem, [0], CPU, torch.float64)
    batch = objective.next_batch(20, "curvature")
    product = objective.curvature(theta, batch)
    plain = problem.passes().curvature(theta, batch.inputs, batch.targets)
    for scale in (1.0, 0.5, -2.0):
        v = scale * theta
        assert torch.equal(product(v), plain(v))
    assert [graph.replays for graph in taped] == [2]


@pytest.mark.parametrize("wait", [False, True])
def test_the_host_waits_for_the_stretch_before_or_for_this_one(
    wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    class Event:
        made = 0

        def __init__(self, blocking: bool) -> None:
            assert blocking
            self.number, Event.made = Event.made, Event.made + 1

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            done.append(self.number)

    monkeypatch.setattr(cuda_graph.torch.cuda, "Event", Event)
    pace = LaunchLimiter(torch.device("cuda"))
    for _ in range(3):
        pace.end_stretch(wait)
    assert done == ([0, 0, 1, 1, 2] if wait else [0, 1])


def test_without_a_device_nobody_waits_and_numbers_are_seen_at_once() -> None:
    LaunchLimiter(CPU).end_stretch(wait=True)
    glimpse = DelayedScalar()
    assert [glimpse.update(torch.tensor(value)) for value in (1.0, 2.0)] == [1.0, 2.0]


@pytest.mark.parametrize("name", ["curves", "add", "mem5"])
def test_a_captured_product_is_the_product(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    problem, device = PROBLEMS[name]("quick"), torch.device("cuda")
    data = DeviceData.from_data(problem.data(DataSource(())), device, torch.float64)
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
