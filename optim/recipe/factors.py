"""The factors of the steps to come, in a table that a step on a device reads by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bench.optim.objective import FORESEEN
from bench.optim.recipe.recipe import Marks, Recipe
from bench.optim.recipe.schedules import Place


class Columns(NamedTuple):
    """What changes from step to step, each of shape (K, 1) in float64."""

    rate: Float[Tensor, "K 1"]
    """s_t, the factor of the learning rate."""
    decay: Float[Tensor, "K 1"]
    """d_t, that of a method's own weight decay."""
    decoupled: Float[Tensor, "K 1"]
    """lr·s_t·λ d_t of a recipe's own."""
    l2: Float[Tensor, "K 1"]
    """λ d_t of one that is added to the gradient."""
    weight: Float[Tensor, "K 1"]
    """w_t of the average."""


class Factors:
    """The columns of a fleet's recipes, update after update.

    `by_share` is for a run whose number of updates is not known: each step asks what is spent.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        updates: int | None,
        by_share: bool,
        device: torch.device,
    ) -> None:
        self.recipes, self.by_share = list(recipes), by_share
        self._updates = updates
        self._marks = [Marks() for _ in recipes]
        length = 1 if by_share else FORESEEN
        size = (length, len(Columns._fields), len(self.recipes), 1)
        self._table = torch.zeros(size, dtype=torch.float64, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        """Which of its rows is next: a step on a device counts there, and asks nobody."""
        self._begun = 0
        self._left = 0
        """How many of them may still be used before more have to be made."""

    @property
    def t(self) -> int:
        """The number of updates made; on a GPU, reading it waits for them."""
        return self._begun + int(self._place)

    @property
    def is_used_up(self) -> bool:
        """Whether `foresee` has to be called before the next step."""
        return not self._left

    def next(self) -> Columns:
        """Return the columns of the next step."""
        self._left -= 1
        row = self._table.index_select(0, self._place)[0]
        self._place.add_(1)
        return Columns(*row.unbind())

    def foresee(self, t: int, updates: int, share: float = 0.0) -> None:
        """Make ready the steps t … t + updates − 1; `share` of the budget is spent before them."""
        made = [[self._row(*of_row, t + i, share) for of_row in self._rows] for i in range(updates)]
        table = torch.tensor(made, dtype=torch.float64).transpose(1, 2).unsqueeze(3)
        if self._table.is_cuda:
            table = table.pin_memory()
        self._table[:updates].copy_(table, non_blocking=True)
        self._place.zero_()
        self._begun, self._left = t, updates

    def foresee_next(self, share: float) -> None:
        """Make ready as many steps as the table has."""
        self.foresee(self.t, len(self._table), share)

    def keep(self, rows: Sequence[int]) -> Factors:
        """Return those of some of the rows, at the same place."""
        recipes = [self.recipes[row] for row in rows]
        kept = Factors(recipes, self._updates, self.by_share, self._table.device)
        kept._marks = [self._marks[row] for row in rows]
        kept._begun = self.t
        return kept

    def state_dict(self) -> dict[str, Any]:
        """Return t, and what the rows remember."""
        return {"t": self.t, "marks": [asdict(marks) for marks in self._marks]}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._begun, self._left = int(saved["t"]), 0
        self._place.zero_()
        self._marks = [Marks(**marks) for marks in saved["marks"]]

    @property
    def _rows(self) -> list[tuple[Recipe, Marks]]:
        return list(zip(self.recipes, self._marks, strict=True))

    def _row(self, recipe: Recipe, marks: Marks, t: int, share: float) -> tuple[float, ...]:
        """Return a row's numbers in the order of `Columns`."""
        place = Place(t, t / self._updates if self._updates else share, self._updates)
        rate, decay, weight = recipe.factors(place, marks)
        own = recipe.weight_decay * decay
        decoupled, l2 = (0.0, own) if recipe.is_l2 else (recipe.lr * rate * own, 0.0)
        return rate, decay, decoupled, l2, weight
