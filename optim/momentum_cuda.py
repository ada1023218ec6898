"""The momentum update as one CUDA kernel over all rows, compiled by Numba-CUDA.

The update is bound by memory: the kernel reads g, v and θ once and writes v, θ and, where
a row looks ahead, y once. ε, μ and the look-ahead are read from the device, so that a CUDA
graph that holds the kernel sees them change.

It is given addresses. Tensors would have to be asked for theirs through the array interface,
which is reported to take 3 to 90 µs a launch; what a launch by addresses takes has not been
measured yet. A graph launches without Python.

Under NUMBA_ENABLE_CUDASIM=1 Numba-CUDA's simulator runs the same kernel on the CPU, slowly.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 256
EACH = 4
"""Values a thread: their loads are all under way before the first is used."""
MOST_ROWS = 65_535
"""CUDA's limit on the second dimension of a grid; further rows are taken in turn."""
SIMULATED_BLOCK = 8
"""The simulator starts a Python thread for each of the GPU's."""

cuda: Any
"""numba.cuda, once it is needed: importing it takes longer than `bench --help` may. The
simulator puts its own in its place, for which it looks among a kernel's globals."""


class Obstacle(NamedTuple):
    """Why the kernel cannot run, and what to do about it."""

    reason: str
    remedy: str


def obstacle(device: str) -> Obstacle | None:
    """Say what keeps the kernel from running on this machine's "cpu" or "cuda", if anything."""
    install = "`pip install 'bench-harness[cuda]'`"
    if find_spec("numba_cuda") is None:
        return Obstacle("numba-cuda is not installed", install)
    try:
        _import()
    except ImportError as error:
        return Obstacle(f"numba-cuda cannot be imported ({error})", install)
    if cuda.config.ENABLE_CUDASIM:
        if device == "cpu":
            return None
        return Obstacle(
            "NUMBA_ENABLE_CUDASIM is set, and the simulator has no GPU",
            "Unset it, or give --device cpu",
        )
    if not cuda.is_available():
        if cuda.cuda_error() is None:
            return Obstacle("numba-cuda finds no NVVM to compile with", install)
        machine = "Use a machine with an NVIDIA GPU and its driver"
        return Obstacle("numba-cuda finds no CUDA device here", machine)
    if device == "cpu":
        return Obstacle("the parameters are on the CPU", "Give --device cuda")
    return None


def fused_update(
    theta: Float[Tensor, "K P"],
    v: Float[Tensor, "K P"],
    lookahead: Float[Tensor, "K P"],
    gradient: Float[Tensor, "K P"],
    lr: Float[Tensor, "K 1"],
    mu: Float[Tensor, "K 1"],
    ahead: Float[Tensor, "K 1"],
) -> None:
    """v ← μv − εg, θ ← θ + v, y ← θ + ahead·v, in place; y may be θ, where nothing is ahead.

    On a GPU it is one launch on torch's current stream, which allocates nothing and waits for
    nothing: after `compile_for` it may be captured.
    """
    tensors = (theta, v, lookahead, gradient, lr, mu, ahead)
    assert all(tensor.is_contiguous() for tensor in tensors), "the kernel is given addresses"
    run = _launch if theta.is_cuda else _simulate
    run(theta.dtype, lookahead is not theta, tensors)


def compile_for(like: Tensor) -> None:
    """Compile the kernel for this type now, off the training clock, and load it.

    It is loaded at its first launch, which must not be captured.
    """
    theta, v, lookahead, *others = (like.new_zeros(1, 1) for _ in range(7))
    fused_update(theta, v, lookahead, *others)
    fused_update(theta, v, theta, *others)


def _launch(dtype: torch.dtype, looks: bool, tensors: tuple[Tensor, ...]) -> None:
    """Run the kernel on the GPU."""
    rows, width = tensors[0].shape
    stream = torch.cuda.current_stream(tensors[0].device).cuda_stream
    launch = _configured(dtype, looks, _grid(rows, width, BLOCK), stream)
    launch(*(tensor.data_ptr() for tensor in tensors), rows, width)


@cache
def _configured(dtype: torch.dtype, looks: bool, grid: tuple[int, int], stream: int) -> Any:
    """Return what launches the kernel on a stream of torch's, given by its handle."""
    with warnings.catch_warnings():
        # A small network's grid does not fill a GPU, which Numba finds worth a warning.
        warnings.simplefilter("ignore")
        # Without link-time optimisation what runs is the PTX that the tests look at.
        kernel = _kernel(dtype, looks, BLOCK, lto=False)
        return kernel[grid, BLOCK, cuda.external_stream(stream)]


def _simulate(dtype: torch.dtype, looks: bool, tensors: tuple[Tensor, ...]) -> None:
    """Run the kernel in the simulator, which knows neither streams nor addresses."""
    rows, width = tensors[0].shape
    kernel = _kernel(dtype, looks, SIMULATED_BLOCK)
    launch = kernel[_grid(rows, width, SIMULATED_BLOCK), SIMULATED_BLOCK]
    theta, v, y, *others = (tensor.numpy().reshape(-1) for tensor in tensors)
    with warnings.catch_warnings():
        # A GPU says nothing when a row diverges.
        warnings.simplefilter("ignore", RuntimeWarning)
        # Every argument is copied in and out again: θ must not be there twice.
        launch(theta, v, y if looks else None, *others, rows, width)


def _grid(rows: int, width: int, block: int) -> tuple[int, int]:
    return -(-width // (block * EACH)), min(rows, MOST_ROWS)


@cache
def _kernel(dtype: torch.dtype, looks: bool, block: int, **options: bool) -> Any:
    function, signature = source(dtype, looks, block)
    return cuda.jit(signature, **options)(function)


def source(dtype: torch.dtype, looks: bool, block: int) -> tuple[Callable[..., None], Any]:
    """Return the kernel for θ of a type, as Python and with the types of its arguments.

    `looks`: whether y is another tensor than θ; if it is not, y is neither read nor written.
    All constants are known to the compiler, which folds a thread's strides into its loads.
    """
    _import()
    scalar = {torch.float32: cuda.types.float32, torch.float64: cuda.types.float64}[dtype]

    def update(
        theta: Any, v: Any, y: Any, g: Any, lr: Any, mu: Any, ahead: Any, rows: Any, width: Any
    ) -> None:
        gradients = cuda.local.array(EACH, scalar)
        velocities = cuda.local.array(EACH, scalar)
        points = cuda.local.array(EACH, scalar)
        first = cuda.blockIdx.x * block * EACH + cuda.threadIdx.x
        k = cuda.blockIdx.y
        while k < rows:
            epsilon, m, a = lr[k], mu[k], ahead[k]
            row = k * width
            # For all the compiler knows a store changes what is loaded after it.
            for j in range(EACH):
                i = first + j * block
                if i < width:
                    gradients[j] = g[row + i]
                    velocities[j] = v[row + i]
                    points[j] = theta[row + i]
            for j in range(EACH):
                i = first + j * block
                if i < width:
                    velocity = m * velocities[j] - epsilon * gradients[j]
                    point = points[j] + velocity
                    v[row + i] = velocity
                    theta[row + i] = point
                    if looks:
                        y[row + i] = point + a * velocity
            k += cuda.gridDim.y

    pointer, count = cuda.types.CPointer(scalar), cuda.types.int64
    return update, cuda.types.void(*(pointer,) * 7, count, count)


def _import() -> None:
    global cuda
    from numba import cuda
