"""Replayed updates of a method with a recipe are the updates, bit for bit."""

from __future__ import annotations

import pytest
import torch

from bench.harness.core.spec import Budget
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.problem import DataSource
from bench.optim.objective import FORESEEN
from bench.optim.registry import resolve
from tests.harness.tape import TapedGraph
from tests.harness.training.test_fleet import Observer
from tests.models.tiny import Tiny

UPDATES = 2 * FORESEEN + 7
OWN = "batch=8,period=5,final=10"


def fleet(*texts: str) -> Fleet:
    first, *others = map(resolve, texts)
    data = DeviceData.from_data(Tiny().data(DataSource(())), torch.device("cpu"), torch.float64)
    seeds = range(len(texts))
    return Fleet(Tiny(), data, first.join(others), seeds, Budget("updates", UPDATES), 5)


@pytest.mark.parametrize(
    "recipe",
    [
        "lr_schedule=cosine,lr_warmup=3,clip_norm=0.1",
        "ema=0.9",
        "polyak=0.5,clip_value=0.01",
        "weight_decay=0.1,weight_decay_schedule=linear",
        "accumulation=3,clip_norm=0.1",
    ],
)
def test_replayed_updates_with_a_recipe_are_the_updates(
    recipe: str, request: pytest.FixtureRequest
) -> None:
    texts = (f"nag@torch[lr=0.02,{OWN},{recipe}]", f"cm@torch[lr=0.01,{OWN},{recipe}]")
    made, seen_made = fleet(*texts), Observer()
    eager = made.run(seen_made)
    graphs: list[TapedGraph] = request.getfixturevalue("taped")
    captured, seen = fleet(*texts), Observer()
    replayed = captured.run(seen)
    # A graph finds one batch for each update.
    repeated = [] if "accumulation" in recipe else [UPDATES - 1]
    assert [graph.replays for graph in graphs] == repeated
    for row, (one, other) in enumerate(zip(eager, replayed, strict=True)):
        assert torch.equal(one.theta, other.theta)
        assert seen_made.values(row) == seen.values(row)
    assert made.objective.batches.positions() == captured.objective.batches.positions()
