"""What a problem is: network + data + matching loss + initialisation + metric, at a preset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from bench.models.autodiff import AutodiffPasses
from bench.models.layout import Layout
from bench.models.losses import MatchingLoss
from bench.models.passes import PASSES, Passes

Preset = Literal["quick", "standard", "paper"]
PRESETS: tuple[str, ...] = ("quick", "standard", "paper")

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""(stream, cases) → inputs and targets of this number of new cases; called in another thread."""


@dataclass(frozen=True)
class Data:
    """Training and test cases in memory, with the digest that identifies them."""

    name: str
    """The name of the data in every report; replaced data says so: `curves (generated)`."""
    digest: str
    """SHA-256 of the cases in use, in hexadecimal."""
    train_inputs: Real[np.ndarray, "N ..."]
    """Numbers, or tokens; see `are_tokens`."""
    test_inputs: Real[np.ndarray, "M ..."]
    train_targets: Float[np.ndarray, "N ..."]
    test_targets: Float[np.ndarray, "M ..."]
    image_shape: tuple[int, int] | None = None
    draw: Draw | None = None
    """The function that draws new training cases, for data without a fixed training set. The arrays
    above are then used for evaluation."""

    @classmethod
    def of_images(
        cls,
        name: str,
        digest: str,
        train: Float[np.ndarray, "N _"],
        test: Float[np.ndarray, "M _"],
        shape: tuple[int, int],
    ) -> Data:
        """Return images that are inputs and targets alike.

        They are the very same arrays, which are put on a device, and gathered, once.
        """
        return cls(name, digest, train, test, train, test, image_shape=shape)


@dataclass(frozen=True)
class DataSource:
    """The folders with data files, and the folder for generated data."""

    folders: tuple[Path, ...]
    """Folders that are searched in order for `<problem>/<file>` and `<file>`."""
    cache: Path | None = None
    """The folder for generated data; None: do not store it."""


@dataclass(frozen=True)
class Metric:
    """The reported error or score: a value for each case, averaged over the whole set."""

    name: str
    direction: Literal["lower", "higher"]
    per_case: Callable[[Tensor, Tensor], Tensor]
    """(logits (K, B, T), targets (K or 1, B, T)) -> (K, B); (K, B, S, T) where there are steps."""
    is_share: bool = False
    """Whether it is a share of cases, so that intervals end at 0 and 1."""


@dataclass
class Problem(ABC):
    """The contract of a problem; a subclass sets the attributes and implements three methods."""

    name: str
    preset: str
    layout: Layout
    loss: MatchingLoss
    metric: Metric
    initialization: str
    """The initialisation rule in words and numbers; part of the protocol."""
    budget: int
    """Gradient-equivalents of one trial."""
    evaluations: int
    """The number of evaluations of a trial, spaced evenly over the logarithm of the budget."""
    targets: tuple[float, ...]
    """Values of the training metric for time to target; fixed in advance."""
    margin: float
    """Results that differ less are equivalent: a difference of logarithms if `log_scale`."""
    log_scale: bool = True
    """Whether to compare logarithms, because errors span decades."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What tells this problem from others of its name, such as the values that its brackets set."""
    notes: str = ""
    """How this preset differs from the published protocol, in words."""
    varies: tuple[str, ...] = ()
    """Names of attributes that differ between presets, besides sizes, data and budget."""
    made_by: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    """The function that created the problem, if any; its source is part of the problem's source."""
    entry: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    """The function that the user named, where another is `made_by`; its source counts too."""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What `made_by` was called with: the values in brackets, and its defaults for the others.
    Whoever calls it sets this; a problem says nothing about itself here."""

    @property
    def identity(self) -> dict[str, Any]:
        """The arguments and the parameters, which are part of the protocol.

        An argument that the problem repeats among its parameters is there as the problem read it
        (5, not "05"). One that the problem repeats with another value is there as it was given.
        """
        repeated = {
            name: self.parameters[name]
            for name, given in self.arguments.items()
            if name in self.parameters and same_value(self.parameters[name], given)
        }
        return {**self.parameters, **self.arguments, **repeated}

    def __init_subclass__(cls, **given: Any) -> None:
        """Count every run of the network that a subclass defines, whoever asks for it."""
        super().__init_subclass__(**given)
        for name in ("logits", "logits_and_states"):
            if name in vars(cls):
                setattr(cls, name, _counted(vars(cls)[name]))

    @abstractmethod
    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the pre-activations of the outputs from views with a leading K: (K, B, T).

        Inputs are (K, B, …), or (1, B, …) where all rows share their cases. Outputs have the
        targets' shape: (K, B, S, T) where one is asked for at each of S steps, and a loss then
        sums over those too, to one number a case.
        """

    def logits_and_states(
        self, params: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, hidden pre-activations x over time, (K, B, S), and their weights.

        The weights, (K or 1, B, S) and not differentiated, are tanh'(x) = 1 − h², and 0 beyond
        a sequence's end: structural damping is J_xᵀ diag(weights) J_x. ValueError for a network
        without hidden state over time.
        """
        raise ValueError(
            f"{self.name} has no hidden state over time, which structural damping acts on; "
            "write structural=0"
        )

    def observe(self, params: Mapping[str, Tensor], inputs: Tensor) -> Mapping[str, Tensor]:
        """Return the network's diagnostics besides the metric: name → one value per row, (K,).

        It is recorded with every measurement, on some of the test cases.
        """
        return {}

    @abstractmethod
    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Return one row of initial parameters, in float64."""

    @abstractmethod
    def data(self, source: DataSource) -> Data:
        """Find or generate the data; raise DataError with what is missing and how to get it."""

    def passes(self) -> Passes:
        """Return the batch computations: by autodiff here, hand-written in fast subclasses."""
        return AutodiffPasses(self)

    def outputs(self, logits: Tensor) -> Tensor:
        """Return the network's outputs from its pre-activations, for pictures and metrics."""
        return self.loss.outputs(logits)


def same_value(read: object, given: object) -> bool:
    """Say whether a value is what a text or another value means: 5, 5.0 and "05" are one number."""
    if isinstance(read, bool):
        return str(read).lower() == str(given).lower()
    if not isinstance(read, int | float):
        return str(read) == str(given)
    try:
        return float(str(given)) == float(read)
    except (ValueError, OverflowError):
        return False


def _counted(network: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(network)
    def run(*args: Any, **kwargs: Any) -> Any:
        PASSES.run += 1
        return network(*args, **kwargs)

    return run


class DataError(Exception):
    """Data are missing or damaged; the message names the file, the problem and the remedy."""


def digest_of(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of shapes, types and little-endian bytes of `arrays`."""
    import hashlib

    sha = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{little.dtype.str}{little.shape}".encode())
        if little.size:  # A memoryview without values cannot be cast.
            sha.update(little.data.cast("B"))
    return sha.hexdigest()


def to_tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Return a tensor with its own memory, so that nothing can write to a cached array."""
    return torch.tensor(array, dtype=dtype)


def are_tokens(inputs: np.ndarray) -> bool:
    """Return whether inputs are tokens: whole numbers of 32 or 64 bits, with a sign.

    They stay whole numbers, because `nn.Embedding` takes no others. All other inputs become
    floating-point numbers, such as the bytes of an image.
    """
    return inputs.dtype.kind == "i" and inputs.dtype.itemsize >= 4


def input_tensor(inputs: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Return inputs in a precision, or as int64 where they are tokens, in memory of their own."""
    return to_tensor(inputs, torch.int64 if are_tokens(inputs) else dtype)


def in_precision(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Return inputs in a precision; tokens stay whole numbers."""
    return inputs.to(dtype) if inputs.is_floating_point() else inputs
