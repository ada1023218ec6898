"""What an autoencoder makes of some cases, before training and after: as numbers and a picture."""

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

SHOWN = (("training cases", 5), ("test cases", 5))
"""In a picture of reconstructions, spread evenly over either set."""


def reconstruct(
    problem: Problem,
    tensors: DeviceData,
    originals: np.ndarray,
    seed: int,
    theta: Float[Tensor, " P"],
    label: str,
    folder: Path,
) -> None:
    """Keep in a folder what the network makes of the cases shown, at its start and at θ.

    `originals` are these cases, (cases, height, width). OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sets = (tensors.train.inputs, tensors.test.inputs)
    inputs = torch.cat([each[:, _spread(each.shape[1], n)] for each, n in _counted(sets)], 1)
    start = initial_parameters(problem, [seed], theta.device, theta.dtype)
    with torch.no_grad():
        z = problem.passes().logits(torch.cat([start, theta[None]]), inputs)
        shown = problem.outputs(z).cpu().numpy().astype(np.float32)
    before, after = shown.reshape(2, *originals.shape)
    np.save(folder / BEFORE_TRAINING, before)
    np.save(folder / RECONSTRUCTIONS, after)
    rows = [("before\ntraining", before), (label, after)]
    reconstructions(originals, rows, folder / "reconstructions.png", SHOWN)


def shown_cases(data: Data) -> np.ndarray | None:
    """Return the cases that are shown, (cases, height, width); None where they are no images."""
    if data.image_shape is None:
        return None
    shown = np.concatenate(
        [each[_spread(len(each), n)] for each, n in _counted((data.train_inputs, data.test_inputs))]
    )
    return shown.reshape(-1, *data.image_shape)


def _counted(sets: Iterable[Any]) -> list[tuple[Any, int]]:
    """Pair training and test set with how many cases of each are shown."""
    return [(each, count) for each, (_, count) in zip(sets, SHOWN, strict=True)]


def _spread(cases: int, count: int) -> list[int]:
    """Return the numbers of at most `count` cases, evenly over all."""
    return [i * cases // count for i in range(count)]
