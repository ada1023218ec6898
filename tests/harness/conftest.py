"""What tests of whole comparisons share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.harness.training import bound_objective, cuda_graph
from tests.harness.tape import TapedGraph, taping


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A comparison sets torch's threads for its process; the next test has them as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: for tests that look at no file, pictures only take time."""
    monkeypatch.setattr("bench.harness.comparison.compare.write_files", lambda *given: None)
    monkeypatch.setattr(
        "bench.harness.execution.leased_fleet.LeasedFleet._draw", lambda *given: None
    )


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> list[TapedGraph]:
    """Capture on the CPU too; the graphs that were made."""
    made: list[TapedGraph] = []

    def new() -> TapedGraph:
        made.append(TapedGraph())
        return made[-1]

    monkeypatch.setattr(cuda_graph.torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(cuda_graph.torch.cuda, "graph", taping)
    monkeypatch.setattr(bound_objective, "can_capture", lambda device: True)
    return made
