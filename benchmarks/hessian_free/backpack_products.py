"""BackPACK's Gauss–Newton products under our own HF: passes that differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor

from bench.models.autoencoder import AutoencoderPasses
from bench.models.deep_autoencoders import DeepAutoencoder
from benchmarks.updates.plain import cross_entropy

BACKPACK = "BackPACK"


def installed_backpack() -> bool:
    """Return whether BackPACK can be imported."""
    return find_spec("backpack") is not None


def with_backpack(problem: DeepAutoencoder) -> DeepAutoencoder:
    """Return the same problem on BackPACK's products."""
    return _WithBackpack(problem.name, problem.preset, problem._setting, problem._load)


class _WithBackpack(DeepAutoencoder):
    def passes(self) -> AutoencoderPasses:
        return BackpackPasses(self.architecture, self.loss)


class BackpackPasses(AutoencoderPasses):
    """Our passes but for the products. The network has our layout, which spares copies."""

    def curvature(
        self,
        theta: Float[Tensor, "1 P"],
        inputs: Tensor,
        targets: Tensor,
        structural: float | None = None,
    ) -> Callable[[Float[Tensor, "1 P"]], Float[Tensor, "1 P"]]:
        """Run forward once with autograd; return v ↦ Gv by BackPACK, for one row."""
        from backpack.hessianfree.ggnvp import ggn_vector_product_from_plist

        leaves = [view.detach().requires_grad_() for view in self._parts(theta.clone())]
        with torch.enable_grad():
            z = inputs[0]
            for i in range(1, self.architecture.depth + 1):
                weight, bias = leaves[2 * i - 2 : 2 * i]
                z = torch.addmm(bias, z, weight)
                if self._logistic(i):
                    z = torch.sigmoid(z)
            loss = cross_entropy(z, targets[0])
        out = torch.zeros_like(theta)
        into = self._parts(out)

        def product(v: Float[Tensor, "1 P"]) -> Float[Tensor, "1 P"]:
            with torch.enable_grad():
                gv = ggn_vector_product_from_plist(loss, z, leaves, self._parts(v))
            for view, part in zip(into, gv, strict=True):
                view.copy_(part.detach())
            return out

        return product

    def _parts(self, theta: Float[Tensor, "1 P"]) -> list[Tensor]:
        return list(self.layout.views(theta[0]).values())
