"""The batch computations of any model by automatic differentiation: the fallback and the oracle.

The Gauss–Newton product is the cached double backward: with w = 0, the gradient
gs(w) = ∂⟨w, z⟩/∂θ is linear in w, so that Jv = ∂⟨gs, v⟩/∂w. Its graph does not
depend on v and is made once per linearisation. Structural damping needs J_x v too, which
comes from the same double backward through z and x together.

The Hessian product differentiates the gradient g(θ), whose graph is made once: Hv = ∂⟨g, v⟩/∂θ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from bench.models.errors import ProblemError
from bench.models.groups import curvature_over_groups, for_rows, over_groups
from bench.models.layout import Layout
from bench.models.losses import MatchingLoss
from bench.models.passes import PASSES, Prices
from bench.models.unchanged import Watch

SAMPLE_VALUES = 2**24
"""Per-case gradients are made for as many cases at once as fit in this many values."""


ONCE = ("is not implemented", "once_differentiable", "does not require grad", "appears to not")
"""Words of torch's errors for what cannot be differentiated twice."""


class Network(Protocol):
    """What of a problem can be differentiated."""

    layout: Layout
    loss: MatchingLoss

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the pre-activations of the outputs, (K, B, …)."""

    def logits_and_states(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, hidden pre-activations over time, and their weights."""


class AutodiffPasses:
    """`Problem.logits` differentiated by autograd; rows never mix, so K rows go at once."""

    prices: Prices | None = None
    capturable = False

    def __init__(self, problem: Network) -> None:
        self.problem = problem
        self.layout = problem.layout
        self.matching = problem.loss
        self._watch = Watch()

    def logits(self, theta: Float[Tensor, "K P"], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations, (K, B, T)."""
        with self._watch.over(θ=theta, inputs=inputs), torch.no_grad():
            return self._logits(self.layout.views(theta), inputs)

    def loss(self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of every row, (K,)."""
        with self._watch.over(θ=theta, inputs=inputs, targets=targets), torch.no_grad():
            return self._loss(theta, inputs, targets)

    def gradient(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> Tensor:
        """Write the gradient of the mean loss into `out`; return the mean loss, (K,)."""
        leaves = self._leaves(theta)
        watched = self._watch.over(θ=theta, inputs=inputs, targets=targets)
        with watched, torch.enable_grad():
            value = self._loss_of(leaves, inputs, targets)
            gradients = torch.autograd.grad(value.sum(), list(leaves.values()))
        _copy(gradients, self.layout.views(out).values())
        return value.detach()

    def squared_gradient(
        self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient."""

        def case_loss(row: Tensor, x: Tensor, t: Tensor) -> Tensor:
            return self._loss(row[None], x[None, None], t[None, None])[0]

        per_case = torch.func.vmap(torch.func.grad(case_loss), in_dims=(None, 0, 0))
        step = max(1, SAMPLE_VALUES // theta.shape[1])
        out = torch.zeros_like(theta)
        rows = theta.shape[0]
        with self._watch.over(θ=theta, inputs=inputs, targets=targets):
            for k in range(rows):
                x, t = (each[k * len(each) // rows] for each in (inputs, targets))
                for start in range(0, len(x), step):
                    some = slice(start, start + step)
                    out[k] += per_case(theta[k], x[some], t[some]).square().sum(0)
        return out.div_(inputs.shape[1])

    def curvature(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        structural: float | None = None,
    ) -> Callable[[Float[Tensor, "K P"]], Float[Tensor, "K P"]]:
        """Linearise once; return v ↦ mean over cases of (Jᵀ H_L J + s·J_xᵀ diag(1 − h²) J_x) v.

        s is `structural`; without it the second term is left out.
        """
        point = theta.clone()
        leaves = self._leaves(point)
        params, cases = list(leaves.values()), inputs.shape[1]
        weights = []
        with self._watch.over(θ=point, inputs=inputs), torch.enable_grad():
            if structural is None:
                outputs = [self._logits(leaves, inputs)]
            else:
                z, x, weight = self.problem.logits_and_states(leaves, _for_network(inputs, leaves))
                outputs = [z, x]
                weights.append(weight.detach() * (structural / cases))
            ws = [torch.zeros_like(output, requires_grad=True) for output in outputs]
            with _differentiated_twice():
                gs = torch.autograd.grad(outputs, params, ws, create_graph=True)
        matching = self.matching.curvature_at
        hessian = curvature_over_groups(matching, outputs[0].detach(), targets)
        out = torch.zeros_like(theta)
        into = list(self.layout.views(out).values())
        last, tangent = out, into

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            nonlocal last, tangent
            PASSES.run += 1
            # CG writes every direction into the same tensor: its views are made once.
            if v is not last:
                last, tangent = v, list(self.layout.views(v).values())
            with _differentiated_twice():
                jv, *states = torch.autograd.grad(gs, ws, tangent, retain_graph=True)
            curved = [hessian(jv).div_(cases)]
            curved += [weight * state for weight, state in zip(weights, states, strict=True)]
            gradients = torch.autograd.grad(outputs, params, curved, retain_graph=True)
            _copy(gradients, into)
            return out

        return product

    def hessian(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> tuple[Float[Tensor, " K"], Callable[[Float[Tensor, "K P"]], Float[Tensor, "K P"]]]:
        """Write the gradient of the mean loss into `out`; return the mean loss and v ↦ H v.

        H is the Hessian of the mean loss. Every product is written into the same memory.
        """
        point = theta.clone()
        params = self._leaves(point)
        watched = self._watch.over(θ=point, inputs=inputs, targets=targets)
        with watched, torch.enable_grad():
            value = self._loss_of(params, inputs, targets)
            with _differentiated_twice():
                gs = torch.autograd.grad(value.sum(), list(params.values()), create_graph=True)
        _copy((g.detach() for g in gs), self.layout.views(out).values())
        # Where the loss is linear in a parameter, its gradient is a constant without a graph.
        curved = {name: g for name, g in zip(params, gs, strict=True) if g.requires_grad}
        product = torch.zeros_like(theta)
        into = self.layout.views(product)

        def multiply(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            PASSES.run += 1
            if not curved:
                return product.zero_()
            along = self.layout.views(v)
            with _differentiated_twice():
                hv = torch.autograd.grad(
                    list(curved.values()),
                    list(params.values()),
                    [along[name] for name in curved],
                    retain_graph=True,
                    materialize_grads=True,
                )
            _copy(hv, into.values())
            return product

        return value.detach(), multiply

    def _leaves(self, theta: Tensor) -> dict[str, Tensor]:
        """Return each view as a leaf: through a slice of θ, autograd would make P values a view."""
        return {k: view.detach().requires_grad_() for k, view in self.layout.views(theta).items()}

    def _logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return self.problem.logits(params, _for_network(inputs, params))

    def _loss(self, theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._loss_of(self.layout.views(theta), inputs, targets)

    def _loss_of(
        self, params: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, " K"]:
        per_case = over_groups(self.matching.per_case, self._logits(params, inputs), targets)
        return per_case.mean(1, dtype=torch.float64)


@contextmanager
def _differentiated_twice() -> Iterator[None]:
    """Explain torch's error for an operation that can be differentiated once only."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in ONCE):
            raise
        raise ProblemError(
            "Gauss–Newton and Hessian products differentiate the network twice, and an operation "
            f"in it can be differentiated once only ({str(error).splitlines()[0].rstrip('.')}). "
            "Compare methods that need gradients only, or write its derivative with operations of "
            "torch"
        ) from error


def _for_network(inputs: Tensor, params: Mapping[str, Tensor]) -> Tensor:
    """Return inputs as `Problem.logits` takes them: one for all rows, or one a row."""
    return inputs if len(inputs) == 1 else for_rows(inputs, len(next(iter(params.values()))))


def _copy(gradients: Iterable[Tensor], views: Iterable[Tensor]) -> None:
    for view, gradient in zip(views, gradients, strict=True):
        view.copy_(gradient)
