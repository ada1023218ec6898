"""The momentum update as one CUDA kernel over all rows, compiled by Numba-CUDA.

The update is bound by memory: the kernel reads g, v and y once and writes v and y once, 20 bytes
a parameter in float32. ε, μ and the look-ahead are read from the device, so that a CUDA graph that
holds the kernel sees them change.

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

from bench.optim.hyperparameters import Unavailable
from bench.optim.plugins import short

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
    """The reason why the kernel cannot run, and the remedy."""

    reason: str
    remedy: str


def obstacle(device: str) -> Obstacle | None:
    """Return why the kernel cannot run on this machine's "cpu" or "cuda"; None if it can."""
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
    y: Float[Tensor, "K P"],
    v: Float[Tensor, "K P"],
    gradient: Float[Tensor, "K P"],
    lr: Float[Tensor, "K 1"],
    mu: Float[Tensor, "K 1"],
    ahead: Float[Tensor, "K 1"],
    look: Float[Tensor, "K 1"],
) -> None:
    """v ← μv − εg, y ← y + (ahead·v − look·εg), in place.

    On a GPU it is one launch on torch's current stream, without allocation or synchronisation, so
    it may be captured after `compile_for`.
    """
    tensors = (y, v, gradient, lr, mu, ahead, look)
    assert all(tensor.is_contiguous() for tensor in tensors), "the kernel is given addresses"
    (_launch if y.is_cuda else _simulate)(y.dtype, tensors)


def compile_for(like: Tensor) -> None:
    """Compile the kernel for this type now, off the training clock, and load it.

    The kernel is loaded at its first launch, which must not be captured. Raises Unavailable if the
    driver does not support numba-cuda's CUDA.
    """
    try:
        fused_update(*(like.new_zeros(1, 1) for _ in range(7)))
    except Exception as error:
        raise Unavailable(
            "@numba-cuda cannot run: its kernel could not be compiled and loaded "
            f"({short(error)}). The NVIDIA driver may be older than numba-cuda's CUDA: update it, "
            "or write @torch."
        ) from error


def _launch(dtype: torch.dtype, tensors: tuple[Tensor, ...]) -> None:
    """Run the kernel on the GPU."""
    rows, width = tensors[0].shape
    stream = torch.cuda.current_stream(tensors[0].device).cuda_stream
    launch = _configured(dtype, _grid(rows, width, BLOCK), stream)
    launch(*(tensor.data_ptr() for tensor in tensors), rows, width)


@cache
def _configured(dtype: torch.dtype, grid: tuple[int, int], stream: int) -> Any:
    """Return what launches the kernel on a stream of torch's, given by its handle."""
    with warnings.catch_warnings():
        # A small network's grid does not fill a GPU, which Numba finds worth a warning.
        warnings.simplefilter("ignore")
        # Without link-time optimisation what runs is the PTX that the tests look at.
        kernel = _kernel(dtype, BLOCK, lto=False)
        return kernel[grid, BLOCK, cuda.external_stream(stream)]


def _simulate(dtype: torch.dtype, tensors: tuple[Tensor, ...]) -> None:
    """Run the kernel in the simulator, which knows neither streams nor addresses."""
    rows, width = tensors[0].shape
    kernel = _kernel(dtype, SIMULATED_BLOCK)
    launch = kernel[_grid(rows, width, SIMULATED_BLOCK), SIMULATED_BLOCK]
    with warnings.catch_warnings():
        # A GPU says nothing when a row diverges.
        warnings.simplefilter("ignore", RuntimeWarning)
        launch(*(tensor.numpy().reshape(-1) for tensor in tensors), rows, width)


def _grid(rows: int, width: int, block: int) -> tuple[int, int]:
    return -(-width // (block * EACH)), min(rows, MOST_ROWS)


@cache
def _kernel(dtype: torch.dtype, block: int, **options: bool) -> Any:
    function, signature = source(dtype, block)
    return cuda.jit(signature, **options)(function)


def source(dtype: torch.dtype, block: int) -> tuple[Callable[..., None], Any]:
    """Return the kernel for a type, as Python and with the types of its arguments.

    All constants are known to the compiler, which folds a thread's strides into its loads.
    """
    _import()
    scalar = {torch.float32: cuda.types.float32, torch.float64: cuda.types.float64}[dtype]

    def update(
        y: Any, v: Any, g: Any, lr: Any, mu: Any, ahead: Any, look: Any, rows: Any, width: Any
    ) -> None:
        gradients = cuda.local.array(EACH, scalar)
        velocities = cuda.local.array(EACH, scalar)
        points = cuda.local.array(EACH, scalar)
        first = cuda.blockIdx.x * block * EACH + cuda.threadIdx.x
        k = cuda.blockIdx.y
        while k < rows:
            epsilon, m, a = lr[k], mu[k], ahead[k]
            slip = look[k] * epsilon
            row = k * width
            # For all the compiler knows a store changes what is loaded after it.
            for j in range(EACH):
                i = first + j * block
                if i < width:
                    gradients[j] = g[row + i]
                    velocities[j] = v[row + i]
                    points[j] = y[row + i]
            for j in range(EACH):
                i = first + j * block
                if i < width:
                    velocity = m * velocities[j] - epsilon * gradients[j]
                    v[row + i] = velocity
                    y[row + i] = points[j] + (a * velocity - slip * gradients[j])
            k += cuda.gridDim.y

    pointer, count = cuda.types.CPointer(scalar), cuda.types.int64
    return update, cuda.types.void(*(pointer,) * 7, count, count)


def _import() -> None:
    global cuda
    from numba import cuda
