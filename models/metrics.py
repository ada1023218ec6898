"""Reported metrics: a value a case, averaged over a whole set by the harness."""

from __future__ import annotations

from models.losses import MatchingLoss
from models.problem import Metric


def squared_error(loss: MatchingLoss) -> Metric:
    """Return ‖y − t‖², summed over outputs, no ½, y being the outputs that match `loss`."""
    return Metric(
        name="squared_error",
        direction="lower",
        per_case=lambda z, targets: (loss.outputs(z) - targets).square().sum(-1),
    )


def zero_one(loss: MatchingLoss, tolerance: float) -> Metric:
    """Return the share of cases with an output off by more than `tolerance`."""
    return Metric(
        name="zero_one_loss",
        direction="lower",
        per_case=lambda z, targets: (
            ((loss.outputs(z) - targets).abs() > tolerance).any(-1).to(z.dtype)
        ),
    )
