"""Sequences of one-hot symbols; the target depends on symbols of long ago."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int

from bench.models.data.sequences import Task, VaryingTask, exact, marked_ends


@dataclass(frozen=True)
class Symbols(Task):
    """A task that shows one symbol at each step."""

    @property
    @abstractmethod
    def frequencies(self) -> Float64[np.ndarray, " D"]:
        """The share of steps at which each symbol is shown; centring subtracts it."""

    @property
    def features(self) -> int:
        """One channel a symbol."""
        return len(self.frequencies)

    def shown(self, symbols: Int[np.ndarray, "B S"]) -> Float32[np.ndarray, "B S D"]:
        """Return symbols as input channels, centred or not."""
        table = np.eye(self.features)
        if self.centred:
            table -= exact(self.frequencies)
        channels: np.ndarray = table.astype(np.float32)[symbols]
        return channels


@dataclass(frozen=True)
class Memory(Symbols):
    """n symbols are shown and, T steps later, asked for again in the same order.

    Shown are n symbols of an alphabet, T − 1 blanks, a trigger, and n more blanks: T + 2n
    steps, and n + T from a symbol to its recall. Asked for is a blank at each step but the last
    n, where it is the symbols.

    Reference: Hochreiter & Schmidhuber (1997); Martens & Sutskever (2011), with 5 symbols of 2
    and 10 of 5.
    """

    every_step: ClassVar[bool] = True
    count: int
    """Number of symbols to remember, n."""
    alphabet: int

    @property
    def steps(self) -> int:
        """Number of steps, T + 2n."""
        return self.length + 2 * self.count

    @property
    def frequencies(self) -> Float64[np.ndarray, " D"]:
        """The shares of each symbol, of the blank and of the trigger."""
        n, a = self.count, self.alphabet
        times = [*[n / a] * a, self.length - 1 + n, 1]
        return np.array(times) / self.steps

    @property
    def mean_target(self) -> Float64[np.ndarray, " O"]:
        """The share of steps whose target is each symbol, or the blank."""
        n, a = self.count, self.alphabet
        return np.array([*[n / a] * a, self.length + n]) / self.steps

    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S D"], Float32[np.ndarray, "B S O"]]:
        """Return inputs, and targets one-hot over alphabet and blank."""
        n, blank = self.count, self.alphabet
        symbols = rng.integers(0, self.alphabet, (cases, n))
        seen = np.full((cases, self.steps), blank)
        asked = seen.copy()
        seen[:, :n] = asked[:, -n:] = symbols
        seen[:, n + self.length - 1] = blank + 1
        return self.shown(seen), np.eye(blank + 1, dtype=np.float32)[asked]


@dataclass(frozen=True)
class TemporalOrder(Symbols, VaryingTask):
    """Among distractors a, b, c, d are two or three of X and Y: in which order?

    A sequence of T' steps starts with E and ends with B; at one step of each window, which is
    given in hundredths of T, is an X or a Y, and all other steps show one of a, b, c, d. The
    2 ^ windows classes are asked for at the end.

    Reference: Hochreiter & Schmidhuber (1997), experiments 6a and 6b, which are T = 100.
    """

    shortest: ClassVar[int] = 10
    windows: tuple[tuple[int, int], ...]

    @property
    def frequencies(self) -> Float64[np.ndarray, " 8"]:
        """The shares of a, b, c, d, X, Y, E and B."""
        relevant = len(self.windows)
        others = self.mean_length - 2 - relevant
        return np.array([*[others / 4] * 4, *[relevant / 2] * 2, 1, 1]) / self.mean_length

    @property
    def mean_target(self) -> Float64[np.ndarray, " O"]:
        """All classes are equally frequent."""
        return np.full(2 ** len(self.windows), 0.5 ** len(self.windows))

    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S 9"], Float32[np.ndarray, "B O"]]:
        """Return inputs with the end marker, and one-hot classes."""
        lengths, each = self.lengths(rng, cases), np.arange(cases)
        seen = rng.integers(0, 4, (cases, self.steps))
        order = np.zeros(cases, np.int64)
        for low, high in self.windows:
            at = rng.integers(
                self.length * low // 100, self.length * high // 100, cases, endpoint=True
            )
            which = rng.integers(0, 2, cases)
            seen[each, at] = 4 + which
            order = 2 * order + which
        seen[:, 0] = 6
        seen[each, lengths - 1] = 7
        targets = np.eye(self.outputs, dtype=np.float32)[order]
        return marked_ends(self.shown(seen), lengths), targets


@dataclass(frozen=True)
class Permutation(Symbols):
    """The first of T symbols is one of two; the others, which it must outlast, are permuted.

    After it come the other symbols of the alphabet in random order, all of them before one comes
    again. At the end it is asked which of the two was the first.

    Reference: Hochreiter & Schmidhuber (1997), experiment 2; Martens & Sutskever (2011), with an
    alphabet of 100.
    """

    shortest: ClassVar[int] = 10
    alphabet: int

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return self.length

    @property
    def frequencies(self) -> Float64[np.ndarray, " D"]:
        """The shares of the first two symbols and of the others."""
        others = self.alphabet - 2
        return np.array([0.5, 0.5, *[(self.length - 1) / others] * others]) / self.length

    @property
    def mean_target(self) -> Float64[np.ndarray, " 2"]:
        """The two are equally frequent."""
        return np.array([0.5, 0.5])

    def draw(
        self, rng: np.random.Generator, cases: int
    ) -> tuple[Float32[np.ndarray, "B S D1"], Float32[np.ndarray, "B 2"]]:
        """Return inputs with the end marker, and the first symbol one-hot."""
        first = rng.integers(0, 2, (cases, 1))
        others = np.arange(2, self.alphabet)
        rounds = -(-(self.length - 1) // len(others))
        permuted = rng.permuted(np.tile(others, (cases * rounds, 1)), axis=1)
        rest = permuted.reshape(cases, -1)[:, : self.length - 1]
        lengths = np.full(cases, self.length)
        inputs = marked_ends(self.shown(np.concatenate([first, rest], 1)), lengths)
        return inputs, np.eye(2, dtype=np.float32)[first[:, 0]]
