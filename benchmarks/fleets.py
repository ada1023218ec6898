"""A fleet that is stepped by hand, so that its updates can take turns with a peer's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

import optim
from harness.binding import DeviceData
from harness.fleet import Fleet
from harness.folders import data_source
from harness.spec import Budget
from models.deep_autoencoders import DeepAutoencoder, curves

UNLIMITED = Budget("updates", 1e9)


def load(preset: str, device: torch.device) -> tuple[DeepAutoencoder, DeviceData]:
    """Return the curves problem with its data on a device, in float32."""
    problem = curves(preset)
    data = problem.data(data_source(None))
    return problem, DeviceData.put(data, device, torch.float32)


def stepper(
    problem: DeepAutoencoder, data: DeviceData, batch: int, seeds: Sequence[int]
) -> Callable[[], None]:
    """Return one update of nag after another, as the training loop makes them: K rows, K seeds.

    Batch, gradient, update, ledger and the check for divergence are in it.
    """
    device = data.train.inputs.device.type
    first, *others = (optim.resolve(f"nag[batch={batch}]", device) for _ in seeds)
    method = first.join(others) if others else first
    fleet = Fleet(problem, data, method, list(seeds), UNLIMITED, 2)

    @torch.no_grad()
    def update() -> None:
        # Fleet.run makes updates to the end of a budget; nothing public makes just one.
        fleet._step()

    return update
