"""Fleets that are stepped by hand make the loop's own updates, and say how many at a time."""

from __future__ import annotations

import pytest
import torch

from bench.harness.training.cases import DeviceData
from bench.models.deep_autoencoders import mnist
from bench.models.problem import DataSource
from bench.optim.objective import FORESEEN
from benchmarks.updates.fleets import diverged, fleet_of, images, nags, updates
from tests.harness.tape import TapedGraph
from tests.models.tiny import Tiny

CPU = torch.device("cpu")


def data() -> DeviceData:
    return DeviceData.from_data(Tiny().data(DataSource(())), CPU, torch.float32)


def test_a_call_is_one_update_on_a_cpu() -> None:
    fleet = fleet_of(Tiny(), data(), nags([3, 4], CPU, batch=4, lr=0.01), [3, 4])
    timed = updates(fleet, 5)
    assert (timed.repeat, timed.makes) == (5, 1)
    before = fleet.account.updates
    timed.call()
    assert fleet.account.updates == before + 1


def test_a_call_is_a_stretch_of_updates_where_they_are_captured(taped: list[TapedGraph]) -> None:
    methods = nags([0], CPU, batch=4, lr=0.01)
    torchs = [type(each)("torch", **each.hyperparameters) for each in methods]
    fleet = fleet_of(Tiny(), data(), torchs, [0])
    timed = updates(fleet, FORESEEN + 1)
    # Enough calls for the updates asked for.
    assert (timed.repeat, timed.makes) == (2, FORESEEN)
    before = fleet.account.updates
    timed.call()
    assert fleet.account.updates == before + FORESEEN
    assert len(taped) == 1


def test_rows_that_are_not_finite_are_counted() -> None:
    fleet = fleet_of(Tiny(), data(), nags([0, 1, 2], CPU, batch=4), [0, 1, 2])
    assert diverged(fleet) == 0
    fleet.theta[1, 5] = torch.nan
    fleet.theta[2, 0] = torch.inf
    assert diverged(fleet) == 2


def test_stand_in_images_are_as_many_and_as_large_and_called_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    problem = mnist("quick")
    name, stand_in = images(problem, CPU)
    assert name == "mnist/quick on random images"
    assert stand_in.train.inputs.shape == (1, 1_000, 196)
    assert stand_in.train.targets is stand_in.train.inputs
    assert len(stand_in.train.inputs.unique()) > 1_000
