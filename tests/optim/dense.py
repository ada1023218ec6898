"""An Objective whose Jacobian is explicit, so that every product has a dense oracle.

f(θ) = mean over cases of L(z(θ, x), t), z by any plain function of one row of θ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.optim.objective import FULL, BudgetSpent, Curvature, Full, Stream, dots

Network = Callable[[Tensor, Tensor], Tensor]
"""(θ of shape (P,), inputs (B, D)) -> z of shape (B, T)."""
Hidden = Callable[[Tensor, Tensor], Tensor]
"""(θ of shape (P,), inputs (B, D)) -> hidden pre-activations x of shape (B, H)."""


@dataclass(frozen=True)
class Cases:
    indices: Tensor

    @property
    def cases(self) -> int:
        return len(self.indices)


class DenseObjective:
    """Counts its calls; `budget` calls can be paid. K = 1.

    With `hidden` it has structural curvature. `fresh`: there is no whole training set.
    """

    dots = staticmethod(dots)

    def __init__(
        self,
        network: Network,
        inputs: Tensor,
        targets: Tensor,
        loss: str = "logistic",
        budget: float = float("inf"),
        hidden: Hidden | None = None,
        fresh: bool = False,
    ) -> None:
        self.network, self.inputs, self.targets, self.kind = network, inputs, targets, loss
        self.hidden, self.fresh = hidden, fresh
        self.budget = budget
        self.calls: Counter[str] = Counter()
        self.position = {"gradient": 0, "curvature": 0}
        # The contract lets every call write over the last gradient, and every product over the
        # last product; this one makes sure of it.
        self._gradient: Tensor | None = None
        self._product: Tensor | None = None

    def next_batch(self, size: int | Full, stream: Stream = "gradient") -> Cases:
        n = len(self.inputs)
        if size is FULL:
            if self.fresh:
                raise ValueError("The cases are drawn anew; give the method a batch size.")
            return Cases(torch.arange(n))
        start = self.position[stream]
        self.position[stream] += size
        return Cases((start + torch.arange(size)) % n)

    def loss(self, theta: Tensor, on: Cases) -> Tensor:
        self._pay("loss")
        return self._per_case(theta[0], on).mean().unsqueeze(0)

    def gradient(self, theta: Tensor, on: Cases) -> tuple[Tensor, Tensor]:
        self._pay("gradient")
        row = theta[0].detach().requires_grad_()
        loss = self._per_case(row, on).mean()
        if self._gradient is None:
            self._gradient = torch.empty_like(theta)
        self._gradient.copy_(*torch.autograd.grad(loss, row))
        return loss.detach().unsqueeze(0), self._gradient

    def squared_gradient(self, theta: Tensor, on: Cases) -> Tensor:
        self._pay("squared_gradient")
        return self._per_case_gradients(theta[0], on).square().mean(0, keepdim=True)

    def curvature(self, theta: Tensor, on: Cases, structural: float | None = None) -> Curvature:
        self._pay("linearization")
        g = self.gauss_newton(theta, on)
        if structural is not None:
            g = g + structural * self.structural(theta, on)
        if self._product is None:
            self._product = torch.empty_like(theta)
        memory = self._product

        def product(v: Tensor) -> Tensor:
            self._pay("product")
            memory.fill_(float("nan"))
            return torch.mm(v, g, out=memory)

        return product

    def structural(self, theta: Tensor, on: Cases) -> Tensor:
        """The dense G_S = mean over cases of J_xᵀ diag(1 − tanh²(x)) J_x."""
        if self.hidden is None:
            raise ValueError("There is no hidden state over time.")
        j = _jacobian(self.hidden, theta[0], self.inputs[on.indices])
        h = torch.tanh(self.hidden(theta[0], self.inputs[on.indices]))
        return torch.einsum("bhi,bh,bhj->ij", j, 1 - h.square(), j) / on.cases

    def gauss_newton(self, theta: Tensor, on: Cases) -> Tensor:
        """The dense G = mean over cases of Jᵀ H_L J."""
        j = _jacobian(self.network, theta[0], self.inputs[on.indices])
        z = self.network(theta[0], self.inputs[on.indices])
        y = torch.sigmoid(z)
        h = y * (1 - y) if self.kind == "logistic" else torch.ones_like(z)
        weighted = (h.sqrt().unsqueeze(2) * j).flatten(0, 1)
        return weighted.T @ weighted / on.cases

    def _pay(self, what: str) -> None:
        if self.calls.total() >= self.budget:
            raise BudgetSpent
        if self._gradient is not None:
            self._gradient.fill_(float("nan"))
        self.calls[what] += 1

    def _per_case(self, theta: Tensor, on: Cases) -> Tensor:
        z, t = self.network(theta, self.inputs[on.indices]), self.targets[on.indices]
        if self.kind == "logistic":
            return F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)
        return 0.5 * (z - t).square().sum(1)

    def _per_case_gradients(self, theta: Tensor, on: Cases) -> Tensor:
        z = self.network(theta, self.inputs[on.indices])
        y = torch.sigmoid(z) if self.kind == "logistic" else z
        j = _jacobian(self.network, theta, self.inputs[on.indices])
        return torch.einsum("bt,bti->bi", y - self.targets[on.indices], j)


def _jacobian(function: Network | Hidden, theta: Tensor, inputs: Tensor) -> Tensor:
    """∂z/∂θ or ∂x/∂θ of every case, (B, T, P)."""
    of_a_case = torch.func.jacrev(lambda row, x: function(row, x.unsqueeze(0))[0])
    return torch.func.vmap(of_a_case, (None, 0))(theta, inputs)


def linear(theta: Tensor, x: Tensor) -> Tensor:
    """One output, z = xᵀθ."""
    return (x @ theta).unsqueeze(1)


def quadratic(hessian: Tensor, minimum: Tensor) -> DenseObjective:
    """f(θ) = ½ (θ − minimum)ᵀ H (θ − minimum), as a linear regression on P cases."""
    p = len(minimum)
    x = p**0.5 * torch.linalg.cholesky(hessian).T
    return DenseObjective(linear, x, linear(minimum, x), loss="squared")


def spectrum(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with the given eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    return q @ torch.diag(eigenvalues.double()) @ q.T


def mlp(sizes: tuple[int, ...]) -> tuple[Network, int]:
    """A logistic network with linear outputs, and its number of parameters."""
    shapes = [shape for i, o in zip(sizes, sizes[1:], strict=False) for shape in ((i, o), (o,))]
    count = sum(torch.Size(shape).numel() for shape in shapes)

    def network(theta: Tensor, x: Tensor) -> Tensor:
        start, parts = 0, []
        for shape in shapes:
            size = torch.Size(shape).numel()
            parts.append(theta[start : start + size].view(shape))
            start += size
        for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
            x = torch.sigmoid(x @ weight + bias)
        return x @ parts[-2] + parts[-1]

    return network, count


def small_rnn(seed: int = 0, cases: int = 12, fresh: bool = False) -> tuple[DenseObjective, Tensor]:
    """A network of 4 tanh units over 5 time steps of 2 inputs, one output at the end, and a θ."""
    generator = torch.Generator().manual_seed(seed)
    units, steps, width = 4, 5, 2

    def hidden(theta: Tensor, x: Tensor) -> Tensor:
        into, among = theta[: width * units], theta[width * units : (width + units) * units]
        state, before = x.new_zeros(len(x), units), []
        for at in x.unflatten(1, (steps, width)).unbind(1):
            before.append(at @ into.view(width, units) + state @ among.view(units, units))
            state = torch.tanh(before[-1])
        return torch.cat(before, 1)

    def network(theta: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(hidden(theta, x)[:, -units:]) @ theta[-units:].unsqueeze(1)

    x = torch.randn(cases, steps * width, generator=generator, dtype=torch.float64)
    t = x[:, ::width].mean(1, keepdim=True)
    count = (width + units + 1) * units
    theta = 0.5 * torch.randn(1, count, generator=generator, dtype=torch.float64)
    return DenseObjective(network, x, t, "squared", hidden=hidden, fresh=fresh), theta


def small_mlp(
    seed: int = 0, cases: int = 24, sizes: tuple[int, ...] = (5, 6, 3), **kwargs: float
) -> tuple[DenseObjective, Tensor]:
    """A small classifier with logistic outputs on random data, and a start θ of shape (1, P)."""
    generator = torch.Generator().manual_seed(seed)
    network, count = mlp(sizes)
    x = torch.randn(cases, sizes[0], generator=generator, dtype=torch.float64)
    t = (torch.rand(cases, sizes[-1], generator=generator) < 0.4).double()
    theta = torch.randn(1, count, generator=generator, dtype=torch.float64)
    return DenseObjective(network, x, t, **kwargs), theta


def small_autoencoder(seed: int = 0, cases: int = 24) -> tuple[DenseObjective, Tensor]:
    """A 10-8-6-2-6-8-10 logistic autoencoder of bumps on a line, and a start θ.

    Training meets a long plateau, the reconstruction of every case by the mean, at f = 5.93.
    """
    generator = torch.Generator().manual_seed(seed)
    network, count = mlp((10, 8, 6, 2, 6, 8, 10))
    centre = 9 * torch.rand(cases, 1, generator=generator)
    width = 1 + 2 * torch.rand(cases, 1, generator=generator)
    x = torch.exp(-(((torch.arange(10.0) - centre) / width) ** 2)).double()
    theta = 0.5 * torch.randn(1, count, generator=generator, dtype=torch.float64)
    return DenseObjective(network, x, x), theta
