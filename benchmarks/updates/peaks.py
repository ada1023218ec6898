"""What a device can do at most, measured: a large copy, a large matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.models.autoencoder import Architecture
from benchmarks.ratios import Timed

BYTES = 32
"""What an update moves a parameter at least: y read forward and backward and g written by the
passes; g, v and y read and v and y written by the step."""
COPY = "a copy on the device"


@dataclass(frozen=True)
class Peak:
    """Something to be timed, and how much work one call is: bytes, or operations."""

    name: str
    timed: Timed
    work: float


def copy(smoke: bool, device: torch.device) -> Peak:
    """Return a copy that is far larger than any cache; its work is bytes read plus written."""
    values = 2**16 if smoke else 2**28
    source = torch.rand(values, device=device)
    into = torch.empty_like(source)
    return Peak(COPY, Timed(lambda: into.copy_(source), 10), 2.0 * source.nbytes)


def product(smoke: bool, device: torch.device) -> Peak:
    """Return a large product of float32 matrices, in the precision set; its work is operations."""
    size = 64 if smoke else 8192
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    into = torch.empty_like(a)
    name = f"a matrix product, {size}³"
    return Peak(name, Timed(lambda: torch.mm(a, b, out=into), 4), 2.0 * size**3)


def operations(architecture: Architecture, cases: int) -> int:
    """Return the floating-point operations of a gradient, 2 a multiply-add, in matrix products.

    With W weights, w₁ of them in the first layer, and B cases: 2BW forward, and backward twice
    that but for the product that would be the gradient of the inputs: 2B(3W − w₁).
    """
    sizes = architecture.sizes
    weights = [a * b for a, b in zip(sizes, sizes[1:], strict=False)]
    return 2 * cases * (3 * sum(weights) - weights[0])


def roofline(
    work: float, moved: float, product: tuple[Peak, float], copy: tuple[Peak, float]
) -> float:
    """Return the seconds of so many operations and bytes at the rates of both peaks.

    A peak comes with the seconds that it took. The slower of the two bounds what can be had.
    """
    (multiplied, in_seconds), (copied, took) = product, copy
    return max(work * in_seconds / multiplied.work, moved * took / copied.work)


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Compute products of float32 matrices in "tf32" or "fp32" inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
