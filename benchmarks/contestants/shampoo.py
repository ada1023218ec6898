"""Shampoo, where a run that has diverged ends as diverged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_optimizer
import torch


class Shampoo(pytorch_optimizer.Shampoo):
    """Shampoo of pytorch_optimizer, with parameters that become NaN where its SVD finds none.

    The SVD raises an error for numbers that are not finite, so that a diverged trial would count
    as failed, and would be left out.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update."""
        try:
            return super().step(closure)
        except torch.linalg.LinAlgError:
            for group in self.param_groups:
                for p in group["params"]:
                    p.fill_(math.nan)
        return None
