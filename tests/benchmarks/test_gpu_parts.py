"""What is measured on a GPU, tiny and on the CPU: by the loop as it is, and with graphs."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from benchmarks.figures import Figure
from benchmarks.paper import add_fleet, mnist_fleet, projection
from benchmarks.updates import momentum
from tests.harness.tape import TapedGraph

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("few_rows")


def goals(figures: list[Figure]) -> list[float]:
    return [each.goal for each in figures if each.goal is not None]


def test_the_update_is_held_against_a_copy_and_sgd() -> None:
    figures = list(momentum.measure(True, CPU).figures)
    assert [each.against for each in figures] == [
        "a copy on the device",
        "SGD(fused=True).step()",
        "momentum update, torch",
        "SGD(fused=True).step()",
        "momentum update, torch",
    ]
    assert figures[0].unit == "GB/s" and goals(figures) == [0.9, 1.0, 1.0]
    assert figures[0].rate == pytest.approx(20 * 2_000 / 1e9 / figures[0].seconds)


def test_mnist_is_held_against_the_eager_loop_a_product_and_the_roofline() -> None:
    figures = list(mnist_fleet.measure(True, CPU).figures)
    assert goals(figures) == [7.0, 0.7, 20.0, 0.35]
    assert [each.unit for each in figures] == 2 * (2 * ["trial-updates/s"] + 2 * ["TFLOP/s"])
    speed = figures[1]
    assert ", K = 9, B = 5, float32" in speed.case
    assert speed.rate == pytest.approx(9 / speed.seconds)
    assert speed.against_rate == pytest.approx(1 / speed.against_seconds)
    rate, bound = figures[2:4]
    assert bound.rate == rate.rate
    # No bound is above the product's rate.
    assert bound.ratio["median"] >= rate.ratio["median"] * (1 - 1e-9)


def test_add_is_held_against_the_eager_loop() -> None:
    torchs, ours = add_fleet.measure(True, CPU).figures
    assert (torchs.goal, ours.goal) == (None, 100.0)
    assert ours.case == "add/quick, T = 20, K = 7, B = 5, float32"
    assert ours.unit == "trial-updates/s"


def test_all_tasks_of_both_tables_are_projected() -> None:
    tables = projection.measure(True, CPU).tables
    assert [(table.name, len(table.tasks)) for table in tables] == [
        ("all of Table 1, TF32", 3),
        ("all of Table 1, float32", 3),
        ("all of Table 5, float32", 4),
    ]
    assert all(task.seconds["median"] > 0 for table in tables for task in table.tasks)


@pytest.mark.parametrize("part", [mnist_fleet, add_fleet], ids=["mnist", "add"])
def test_updates_are_measured_as_replays(
    part: ModuleType, taped: list[TapedGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the backends it is torch's whose operations are noted here.
    monkeypatch.setattr(part, "backends", lambda device: ("torch", "torch"))
    part.measure(True, CPU)
    assert taped and all(graph.replays > 0 for graph in taped)


def test_every_means_of_the_update_is_captured(
    taped: list[TapedGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.optim.momentum.methods import torch_update

    monkeypatch.setattr(momentum, "can_capture", lambda device: True)
    monkeypatch.setattr(momentum, "_kernel", lambda device: ("one kernel", torch_update))
    momentum.measure(True, CPU)
    assert len(taped) == 6
    # Uncounted, and three rounds.
    assert {graph.replays for graph in taped} == {4}
