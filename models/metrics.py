"""Reported metrics: a value a case, averaged over a whole set by the harness."""

from __future__ import annotations

from torch import Tensor

from bench.models.losses import MatchingLoss
from bench.models.problem import Metric


def squared_error(loss: MatchingLoss) -> Metric:
    """Return ‖y − t‖², summed over outputs, no ½, y being the outputs that match `loss`."""
    return Metric(
        name="squared_error",
        direction="lower",
        per_case=lambda z, targets: (loss.outputs(z) - loss.values(targets)).square().sum(-1),
    )


def zero_one(loss: MatchingLoss, tolerance: float) -> Metric:
    """Return the share of cases with an output off by more than `tolerance`, or no number."""
    return Metric(
        name="zero_one_loss",
        direction="lower",
        is_share=True,
        per_case=lambda z, targets: (
            # NaN is no more than anything.
            ((loss.outputs(z) - loss.values(targets)).abs() <= tolerance)
            .logical_not_()
            .any(-1)
            .to(z.dtype)
        ),
    )


def misclassified() -> Metric:
    """Return the share of cases whose greatest output is not the target's class."""
    return Metric(
        name="zero_one_loss",
        direction="lower",
        is_share=True,
        per_case=lambda z, targets: _another(z, targets).to(z.dtype),
    )


def wrong_symbols(count: int) -> Metric:
    """Return how many of the last `count` steps have a greatest output that is not the target's."""

    def per_case(z: Tensor, targets: Tensor) -> Tensor:
        return _another(z[..., -count:, :], targets[..., -count:, :]).sum(-1).to(z.dtype)

    return Metric(name="wrong_symbols", direction="lower", per_case=per_case)


def _another(z: Tensor, targets: Tensor) -> Tensor:
    """Return where the greatest output is not the target's; among NaN there is none."""
    return (z.argmax(-1) != targets.argmax(-1)).logical_or_(z.isnan().any(-1))
