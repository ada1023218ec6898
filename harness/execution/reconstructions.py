"""Reconstructions of an autoencoder before and after training, as arrays and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.harness.report.files import BEFORE_TRAINING, RECONSTRUCTIONS
from bench.harness.report.plots import reconstructions
from bench.harness.training.bound_objective import initial_parameters
from bench.harness.training.cases import DeviceData
from bench.models.problem import Data, Problem

CASE_COUNTS = (("training cases", 5), ("test cases", 5))
"""Number of cases from each set in a picture of reconstructions, evenly spaced."""


def reconstruct(
    problem: Problem,
    tensors: DeviceData,
    originals: np.ndarray,
    seed: int,
    theta: Float[Tensor, " P"],
    label: str,
    folder: Path,
) -> None:
    """Save the reconstructions of some cases, at the initial parameters and at θ, in a folder.

    `originals` has these cases, (cases, height, width). Raises OSError if the folder cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sets = (tensors.train.inputs, tensors.test.inputs)
    inputs = torch.cat(
        [each[:, _spaced_indices(each.shape[1], n)] for each, n in _with_counts(sets)], 1
    )
    start = initial_parameters(problem, [seed], theta.device, theta.dtype)
    with torch.no_grad():
        z = problem.passes().logits(torch.cat([start, theta[None]]), inputs)
        shown = problem.outputs(z).cpu().numpy().astype(np.float32)
    before, after = shown.reshape(2, *originals.shape)
    np.save(folder / BEFORE_TRAINING, before)
    np.save(folder / RECONSTRUCTIONS, after)
    rows = [("before\ntraining", before), (label, after)]
    reconstructions(originals, rows, folder / "reconstructions.png", CASE_COUNTS)


def shown_cases(data: Data) -> np.ndarray | None:
    """Return the cases of the picture, (cases, height, width); None if they are not images."""
    if data.image_shape is None:
        return None
    shown = np.concatenate(
        [
            each[_spaced_indices(len(each), n)]
            for each, n in _with_counts((data.train_inputs, data.test_inputs))
        ]
    )
    return shown.reshape(-1, *data.image_shape)


def _with_counts(sets: Iterable[Any]) -> list[tuple[Any, int]]:
    """Pair the training set and the test set with the number of cases from each."""
    return [(each, count) for each, (_, count) in zip(sets, CASE_COUNTS, strict=True)]


def _spaced_indices(cases: int, count: int) -> list[int]:
    """Return the indices of `count` evenly spaced cases."""
    return [i * cases // count for i in range(count)]
