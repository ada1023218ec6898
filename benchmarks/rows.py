"""The cost of a trial in a fleet of K rows against the same trial alone."""

from __future__ import annotations

import torch

from benchmarks.figures import Figure, Part, figure, thread_counts
from benchmarks.fleets import load, stepper
from benchmarks.ratios import Timed, interleaved
from harness.binding import DeviceData
from models.deep_autoencoders import DeepAutoencoder

ONE = "one by one (K = 1)"
ROUNDS = {"quick": 200, "paper": 40}
"""Preset → rounds: what is quick is timed more often."""


def measure(smoke: bool, device: torch.device) -> Part:
    """Time an update of K = 1, 4 and 16 rows for two networks and two batch sizes."""
    figures = []
    for preset, rounds in ({"quick": 3} if smoke else ROUNDS).items():
        problem, data = load(preset, device)
        for threads in thread_counts(smoke, device):
            torch.set_num_threads(threads)
            for batch in (100, 200):
                figures += _at(problem, data, batch, rounds)
    return Part(
        "K trials as one fleet against one by one",
        figures,
        (
            "The cost a trial: the seconds of one update of the fleet divided by K, over those of "
            "an update of a fleet of one row; below 1 the fleet is cheaper. Every row has a seed, "
            "and so its minibatches, of its own. A round is 4 updates with K = 1 and one with "
            "each other K.",
        ),
    )


def _at(problem: DeepAutoencoder, data: DeviceData, batch: int, rounds: int) -> list[Figure]:
    device = data.train.inputs.device
    candidates = {1: Timed(stepper(problem, data, batch, [0]), 4)}
    for k in (4, 16):
        candidates[k] = Timed(stepper(problem, data, batch, range(k)))
    named = {str(k): candidate for k, candidate in candidates.items()}
    seconds = interleaved(named, rounds, device)
    return [
        figure(
            f"{problem.name}/{problem.preset}, B = {batch}",
            (f"K = {k} as one fleet, a trial", [each / k for each in seconds[str(k)]]),
            (ONE, seconds["1"]),
        )
        for k in (4, 16)
    ]
