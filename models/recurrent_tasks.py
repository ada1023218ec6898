"""The tasks on sequences by name: data, loss, score, and what each preset fixes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.models.data.marked import Adding, Marked, Multiplying, Xor
from bench.models.data.sequences import Task
from bench.models.data.symbols import Memory, Permutation, TemporalOrder
from bench.models.losses import (
    HalfSquaredError,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
    SteppedSoftmaxCrossEntropy,
)
from bench.models.metrics import misclassified, wrong_symbols, zero_one
from bench.models.problem import Metric

TOLERANCE = 0.04
"""A case is wrong if its output differs from the target by more."""
BATCH = 100
"""Sequences in the batch of one update."""
WINDOWS = {
    2: ((10, 20), (50, 60)),
    3: ((10, 20), (33, 43), (66, 76)),
}
"""Number of relevant symbols → the windows in which they stand, in hundredths of T."""


@dataclass(frozen=True)
class Preset:
    """The values that a preset of a sequence problem fixes."""

    length: int
    cases: int
    """Number of training sequences, and of test sequences, on which a trial is evaluated."""
    updates: int
    evaluations: int
    published: str = ""
    """How this preset relates to the published protocol, in words; empty where it does not."""

    @property
    def budget(self) -> int:
        """Gradient-equivalents of all updates, each on BATCH sequences."""
        return BATCH * self.updates

    def notes(self, length: int) -> str:
        """Describe a trial at this preset, also at another T."""
        plain = f"T = {length}, {self.updates:,} updates of {BATCH}"
        if not self.published:
            return plain
        if length == self.length:
            return f"{self.published}: {plain}"
        return f"{plain}; at T = {self.length} {self.published}"


@dataclass(frozen=True)
class Kind:
    """A task with its loss and score; the same at every preset."""

    title: str
    task: Callable[[int, bool, int], Task]
    """(T, whether inputs are centred, alphabet) → task."""
    shortest: int
    loss: MatchingLoss
    metric: Metric
    input_scale: float
    presets: Mapping[str, Preset]
    targets: tuple[float, ...] = (0.25, 0.1, 0.01)
    margin: float = 0.01
    alphabet: int = 0
    """Size of the published alphabet; 0: the task has none."""
    smallest_alphabet: int = 2


def _presets(
    quick: int, updates: int, standard: int, paper: int, published: str, paper_cases: int = 10_000
) -> dict[str, Preset]:
    """Return the presets for three T: `updates` updates at quick, 50,000 at the others."""
    return {
        "quick": Preset(quick, 2_000, updates, 24),
        "standard": Preset(standard, paper_cases, 50_000, 40),
        "paper": Preset(paper, paper_cases, 50_000, 100, published),
    }


PUBLISHED = "as published"
OF_THE_FAMILY = "the published protocol on a task that it leaves out"


def _marked(
    title: str, of: type[Marked], loss: MatchingLoss, tolerance: float, presets: dict[str, Preset]
) -> Kind:
    return Kind(
        title=title,
        task=lambda length, centred, _: of(length, centred),
        shortest=of.shortest,
        loss=loss,
        metric=zero_one(loss, tolerance),
        # Xor is not in the published table; from 0.001 it is not learned at T = 20.
        input_scale=0.001 if tolerance == TOLERANCE else 0.1,
        presets=presets,
        targets=(0.5, 0.1, 0.01) if tolerance == TOLERANCE else (0.25, 0.1, 0.01),
    )


def _memory(count: int, alphabet: int, presets: dict[str, Preset]) -> Kind:
    return Kind(
        title=f"memory of {count} symbols",
        task=lambda length, centred, alphabet: Memory(length, centred, count, alphabet),
        shortest=Memory.shortest,
        loss=SteppedSoftmaxCrossEntropy(),
        metric=wrong_symbols(count),
        input_scale=0.1,
        presets=presets,
        targets=(0.2 * count, 0.1 * count, 0.01 * count),
        margin=0.01 * count,
        alphabet=alphabet,
    )


def _order(relevant: int, presets: dict[str, Preset]) -> Kind:
    return Kind(
        title=f"temporal order of {relevant} symbols",
        task=lambda length, centred, _: TemporalOrder(length, centred, WINDOWS[relevant]),
        shortest=TemporalOrder.shortest,
        loss=SoftmaxCrossEntropy(),
        metric=misclassified(),
        input_scale=0.1,
        presets=presets,
    )


KINDS: dict[str, Kind] = {
    "add": _marked(
        "adding problem",
        Adding,
        HalfSquaredError(),
        TOLERANCE,
        _presets(20, 8_000, 30, 80, PUBLISHED),
    ),
    "mul": _marked(
        "multiplication problem",
        Multiplying,
        HalfSquaredError(),
        TOLERANCE,
        _presets(20, 8_000, 30, 80, PUBLISHED),
    ),
    "xor": _marked(
        "xor problem",
        Xor,
        LogisticCrossEntropy(),
        0.5,
        _presets(20, 8_000, 30, 100, OF_THE_FAMILY),
    ),
    "mem5": _memory(5, 2, _presets(20, 8_000, 50, 200, PUBLISHED)),
    "mem20": _memory(10, 5, _presets(10, 8_000, 30, 80, PUBLISHED)),
    "order2": _order(2, _presets(20, 8_000, 50, 100, OF_THE_FAMILY)),
    "order3": _order(3, _presets(20, 8_000, 50, 100, OF_THE_FAMILY)),
    "permutation": Kind(
        title="random permutation",
        task=Permutation,
        shortest=Permutation.shortest,
        loss=SoftmaxCrossEntropy(),
        metric=misclassified(),
        input_scale=0.1,
        # Its inputs have a hundred channels: 10,000 sequences would take half a gigabyte.
        presets=_presets(20, 8_000, 50, 100, OF_THE_FAMILY, paper_cases=2_000),
        alphabet=100,
        smallest_alphabet=4,
    ),
}
