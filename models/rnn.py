"""A recurrent network of tanh units: forward, backward and R-passes through time by hand.

    h_t = tanh(x_t Wx + h_{t−1} Wh + bh),   t = 1 … S,   h_0 a parameter
    z_t = h_t Wo + bo

z is read at each sequence's end, which the last channel of the inputs marks with a 1, or at
every step of sequences of equal length, whose inputs have no such channel. Only what depends on
the step before is computed in the loop over time; everything else is one matrix product over
all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bench.models.groups import (
    affine_into,
    curvature_over_groups,
    for_rows,
    over_groups,
    product_into,
)
from bench.models.layout import Layout
from bench.models.losses import MatchingLoss
from bench.models.passes import PASSES, LayerPrices
from bench.models.unrolled import ReadAtEnd, ReadAtEveryStep, Sequences, flat
from bench.models.workspace import Workspace

WIDE_STEP = 4_000
"""From this many values a step on, tanh by expm1 is faster on a CPU than torch's own."""
SAMPLE_VALUES = 2**24
"""Per-case gradients are made for as many cases at once as fit in this many values."""


@dataclass(frozen=True)
class RecurrentNetwork:
    """Numbers of input channels (the end marker left out), hidden units and outputs."""

    features: int
    units: int
    outputs: int
    every_step: bool = False
    """Whether z is read at every step, (K, B, S, O), or at the end only, (K, B, O)."""

    def sequences(self, inputs: Tensor) -> Sequences:
        """Return a batch of inputs in the form that the passes use."""
        return (ReadAtEveryStep if self.every_step else ReadAtEnd).of(inputs)

    def layout(self) -> Layout:
        """Return Wx, Wh, bh, h0, Wo, bo as views of θ."""
        return Layout(
            {
                "Wx": (self.features, self.units),
                "Wh": (self.units, self.units),
                "bh": (self.units,),
                "h0": (self.units,),
                "Wo": (self.units, self.outputs),
                "bo": (self.outputs,),
            },
            transposed=frozenset({"Wx", "Wh", "Wo"}),
            roles={"bh": "bias", "bo": "bias"},
            layers={
                **dict.fromkeys(("Wx", "Wh", "bh", "h0"), "hidden"),
                **dict.fromkeys(("Wo", "bo"), "output"),
            },
        )

    def prices(self, steps: int) -> LayerPrices:
        """Count the multiplications of a pass over `steps` steps, in those of one hidden unit."""
        first = steps * self.features
        outputs = (steps if self.every_step else 1) * self.outputs
        return LayerPrices(forward=first + steps * self.units + outputs, first=first)


class RecurrentPasses:
    """The batch computations of a recurrent network on K rows.

    Memory is laid out (K, S + 1, B, n): a step is a slice, and all steps of all cases are one
    matrix of S·B rows without a copy. Index 0 is before the first step.
    """

    capturable = True

    def __init__(self, network: RecurrentNetwork, loss: MatchingLoss, steps: int) -> None:
        self.network = network
        self.matching = loss
        self.layout = network.layout()
        self.prices = network.prices(steps)
        self._memory = Workspace()

    def logits(self, theta: Float[Tensor, "K P"], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations, (K, B, O) or (K, B, S, O)."""
        params, cases = self.layout.views(theta), self.network.sequences(inputs)
        return cases.shaped(_readout(params, cases.read(self._forward(params, cases))))

    def loss(self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of every row, (K,), summed in float64."""
        per_case = over_groups(self.matching.per_case, self.logits(theta, inputs), targets)
        return per_case.mean(1, dtype=torch.float64)

    def gradient(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> Tensor:
        """Write the gradient of the mean loss into `out`; return the mean loss, (K,)."""
        params, cases = self.layout.views(theta), self.network.sequences(inputs)
        h = self._forward(params, cases)
        z = cases.shaped(_readout(params, cases.read(h)))
        slope, delta = self._memory.take("back", (h.shape, h.shape), h)
        _slope_into(slope, h)
        dz = cases.unshaped(over_groups(self.matching.derivative, z, targets).div_(cases.count))
        self._backward(params, cases, h, slope, dz, delta.zero_(), self.layout.views(out))
        return over_groups(self.matching.per_case, z, targets).mean(1, dtype=torch.float64)

    def squared_gradient(
        self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient.

        A weight is used at every step, so a case's gradient is a sum over time before it is
        squared: hᵀδ of each case, one small matrix product a case.
        """
        params, cases = self.layout.views(theta), self.network.sequences(inputs)
        h = self._forward(params, cases)
        read = cases.read(h)
        z = cases.shaped(_readout(params, read))
        dz = cases.unshaped(over_groups(self.matching.derivative, z, targets))
        slope, delta = self._memory.take("back", (h.shape, h.shape), h)
        self._deltas(params, cases, _slope_into(slope, h), dz, delta.zero_())
        out = torch.zeros_like(theta)
        into = self.layout.views(out)
        back = torch.matmul(delta[:, 1], params["Wh"].mT)
        for name, squared in (
            ("bh", delta[:, 1:].sum(1).square()),
            ("h0", back.square()),
            ("bo", cases.each_case(dz).sum(2).square()),
        ):
            torch.mean(squared, 1, out=into[name])
        # (K, B, n, S) (K, B, S, m)
        after = delta[:, 1:].transpose(1, 2)
        pairs = (
            ("Wh", h[:, :-1].permute(0, 2, 3, 1), after),
            ("Wx", for_rows(cases.x, len(theta)).permute(0, 2, 3, 1), after),
            ("Wo", cases.each_case(read).mT, cases.each_case(dz)),
        )
        some = max(1, SAMPLE_VALUES // theta.shape[1])
        for start in range(0, cases.count, some):
            part = slice(start, start + some)
            for name, left, right in pairs:
                per_case = torch.matmul(left[:, part], right[:, part])
                into[name].add_(per_case.square_().sum(1), alpha=1 / cases.count)
        return out

    def curvature(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        structural: float | None = None,
    ) -> Callable[[Float[Tensor, "K P"]], Float[Tensor, "K P"]]:
        """Run forward once; return v ↦ Gv, by an R-forward and a backward pass through time.

        Rx_t = x_t Vx + h_{t−1} Vh + vb + Rh_{t−1} Wh,  Rh_t = (1 − h_t²) Rx_t, then back with
        H_L Rz in place of the loss's derivative. Structural damping adds s (1 − h_t²) Rx_t, which
        is s Rh_t, to what comes back to x_t: one more addition a step.

        Reference: Martens & Sutskever (2011), section 3 and 4; Pearlmutter (1994).
        """
        params = {name: view.clone() for name, view in self.layout.views(theta).items()}
        cases = self.network.sequences(inputs)
        h, slope, r, delta = (theta.new_empty(self._shape(theta, cases)) for _ in range(4))
        self._forward(params, cases, h)
        read = cases.read(h)
        _slope_into(slope, h)
        z = cases.shaped(_readout(params, read))
        curved = curvature_over_groups(self.matching.curvature_at, z, targets)
        out = torch.zeros_like(theta)
        into, steps_r, step = self.layout.views(out), _steps(r), _step_of(theta)
        weight, slopes = _matrices(params["Wh"]), _steps(slope)
        x, before = flat(cases.x), flat(h[:, :-1])
        within = None
        if structural is not None:
            within = for_rows(cases.within().mul_(structural / cases.count), len(theta))

        def product(v: Float[Tensor, "K P"]) -> Float[Tensor, "K P"]:
            PASSES.run += 1
            tangent = self.layout.views(v)
            r[:, 0] = tangent["h0"].unsqueeze(1)
            rx = flat(r[:, 1:])
            affine_into(rx, x, tangent["Wx"], tangent["bh"])
            rx.baddbmm_(before, tangent["Wh"])
            for t in range(1, len(steps_r)):
                step(steps_r[t], steps_r[t - 1], weight).mul_(slopes[t])
            rz = _readout(params, cases.read(r)) - params["bo"].unsqueeze(1)
            rz.baddbmm_(read, tangent["Wo"]).add_(tangent["bo"].unsqueeze(1))
            if within is None:
                delta.zero_()
            else:
                torch.mul(r[:, 1:], within, out=delta[:, 1:])
            dz = cases.unshaped(curved(cases.shaped(rz)).div_(cases.count))
            self._backward(params, cases, h, slope, dz, delta, into)
            return out

        return product

    def _shape(self, theta: Float[Tensor, "K _"], cases: Sequences) -> tuple[int, ...]:
        return len(theta), cases.steps + 1, cases.count, self.network.units

    def _forward(
        self, params: dict[str, Tensor], cases: Sequences, into: Tensor | None = None
    ) -> Float[Tensor, "K S1 B n"]:
        """Return h_0 … h_S, by default in memory that the next pass overwrites."""
        PASSES.run += 1
        start, weight = params["h0"], _matrices(params["Wh"])
        h = into
        if h is None:
            (h,) = self._memory.take("forward", (self._shape(start, cases),), start)
        h[:, 0] = start.unsqueeze(1)
        affine_into(flat(h[:, 1:]), flat(cases.x), params["Wx"], params["bh"])
        states, step = _steps(h), _step_of(start)
        wide = start.device.type == "cpu" and states[0].numel() >= WIDE_STEP
        tanh_ = _tanh_by_expm1 if wide else Tensor.tanh_
        for before, after in zip(states, states[1:], strict=False):
            tanh_(step(after, before, weight))
        return h

    def _deltas(
        self,
        params: dict[str, Tensor],
        cases: Sequences,
        slope: Tensor,
        dz: Float[Tensor, "K R O"],
        delta: Float[Tensor, "K S1 B n"],
    ) -> None:
        """Carry ∂/∂z back through time; `delta` holds what x_t gets besides, and in the end ∂/∂x_t.

        Index 0 is left alone.
        """
        cases.add(delta, torch.bmm(dz, params["Wo"].mT).mul_(cases.read(slope)))
        weight, slopes, deltas = _matrices(params["Wh"].mT), _steps(slope), _steps(delta)
        back = torch.empty_like(deltas[0])
        product = torch.mm if back.dim() == 2 else torch.bmm
        for t in range(len(deltas) - 2, 0, -1):
            deltas[t].addcmul_(product(deltas[t + 1], weight, out=back), slopes[t])

    def _backward(
        self,
        params: dict[str, Tensor],
        cases: Sequences,
        h: Tensor,
        slope: Tensor,
        dz: Tensor,
        delta: Tensor,
        into: dict[str, Tensor],
    ) -> None:
        """Write Jᵀ of ∂/∂z, and of what `delta` holds at x_t, into the views `into`."""
        torch.bmm(cases.read(h).mT, dz, out=into["Wo"])
        torch.sum(dz, 1, out=into["bo"])
        self._deltas(params, cases, slope, dz, delta)
        after = flat(delta[:, 1:])
        torch.bmm(flat(h[:, :-1]).mT, after, out=into["Wh"])
        product_into(into["Wx"], flat(cases.x), after)
        torch.sum(after, 1, out=into["bh"])
        first = delta[:, 1].sum(1, keepdim=True)
        torch.bmm(first, params["Wh"].mT, out=into["h0"].unsqueeze(1))


def _readout(params: dict[str, Tensor], read: Float[Tensor, "K R n"]) -> Float[Tensor, "K R O"]:
    return torch.baddbmm(params["bo"].unsqueeze(1), read, params["Wo"])


def _tanh_by_expm1(x: Tensor) -> Tensor:
    """x ← tanh x = expm1(2x) / (expm1(2x) + 2), which is accurate near 0 too, in place."""
    # Where expm1 would be infinite tanh has long been 1.
    x.mul_(2).clamp_max_(60).expm1_()
    return x.div_(x + 2)


def _slope_into(out: Tensor, h: Tensor) -> Tensor:
    """out ← tanh'(x) = 1 − h²."""
    return torch.addcmul(h.new_ones(()), h, h, value=-1, out=out)


# A step of one row is a plain matrix product, which costs less to start than a batch of one.


def _steps(values: Float[Tensor, "K S1 B n"]) -> list[Tensor]:
    return list((values[0] if len(values) == 1 else values.transpose(0, 1)).unbind(0))


def _matrices(weight: Float[Tensor, "K n n"]) -> Tensor:
    return weight[0] if len(weight) == 1 else weight


def _step_of(like: Float[Tensor, "K P"]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return (out, a, b) → out += a b, in place."""
    return Tensor.addmm_ if len(like) == 1 else Tensor.baddbmm_
