"""The recipe of one row, as numbers: what its hyperparameters say, and whether that can be run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.optim.hyperparameters import UsageError
from bench.optim.recipe.schedules import ANYTIME, DecaySchedule, Place, RateSchedule, count


@dataclass
class Marks:
    """What a row has to remember where nobody knows how many updates its run has."""

    warmed: float = 0.0
    """The share of the budget spent in the warm-up."""
    averaged: int = 0
    """The number of iterates in the mean."""


@dataclass(frozen=True)
class Recipe:
    """What happens around the steps of one row; None where there is none of it."""

    rate: RateSchedule | None
    lr: float
    """ε by which a decoupled weight decay is multiplied; 1 for a method without a rate."""
    weight_decay: float
    """λ of the recipe itself, not of the method."""
    is_l2: bool
    decay: DecaySchedule | None
    clip_norm: float | None
    clip_value: float | None
    ema: float | None
    polyak: float | None
    accumulation: int

    @classmethod
    def of(cls, given: Mapping[str, Any], lr: object, owner: str) -> Recipe:
        """Return the recipe of some values; UsageError, for `owner`, where they do not fit.

        `lr` is the method's own, if it has one.
        """
        rate = decay = None
        if "lr_schedule" in given:
            rate = RateSchedule(
                given["lr_schedule"], given["lr_warmup"], given["lr_cooldown"], given["lr_floor"]
            )
        if "weight_decay_schedule" in given:
            decay = DecaySchedule(given["weight_decay_schedule"], given["weight_decay_end"])
        for name in ("lr_warmup", "lr_cooldown", "polyak"):
            length = given.get(name, 0)
            if length > 1 and length != int(length):
                raise UsageError(
                    f"{owner}: {name}={length:g} is neither a share of the updates, which is below "
                    "1, nor a whole number of them."
                )
        for one, other in (("ema", "polyak"), ("clip_norm", "clip_value")):
            if one in given and other in given:
                raise UsageError(f"{owner}: {one} and {other} exclude each other. Give one.")
        if given.get("ema") == 1:
            raise UsageError(f"{owner}: ema=1 would never leave the start. Write one below 1.")
        return cls(
            rate=rate,
            lr=float(lr) if isinstance(lr, int | float) else 1.0,
            weight_decay=given.get("weight_decay", 0.0),
            is_l2=given.get("weight_decay_form") == "l2",
            decay=decay,
            clip_norm=given.get("clip_norm"),
            clip_value=given.get("clip_value"),
            ema=given.get("ema"),
            polyak=given.get("polyak"),
            accumulation=given.get("accumulation", 1),
        )

    @property
    def averages(self) -> bool:
        """Whether an average of the iterates is evaluated."""
        return self.ema is not None or self.polyak is not None

    @property
    def needs_end(self) -> bool:
        """Whether a factor depends on where the run ends."""
        shapes = self.rate is not None and self.rate.anytime_updates(None) != math.inf
        decays = self.decay is not None and self.decay.shape != "constant"
        return shapes or decays or 0 < (self.polyak or 0) < 1

    def anytime_updates(self, updates: int | None) -> float:
        """Return how many first updates do not depend on where the run ends."""
        if self.decay is not None and self.decay.shape != "constant":
            return 0
        found = math.inf if self.rate is None else self.rate.anytime_updates(updates)
        if 0 < (self.polyak or 0) < 1:
            found = min(found, 0 if updates is None else count(self.polyak or 0, updates))
        return found

    def check(self, updates: int | None, owner: str) -> None:
        """Raise UsageError where a run of so many updates has no room for it.

        `updates` is None where their number is not known.
        """
        rate = self.rate or RateSchedule()
        if updates is None:
            if 0 < rate.warmup < 1:
                raise self._uncounted(f"lr_warmup={rate.warmup:g}", "a number of updates", owner)
            if rate.shape == "wsd" and rate.cooldown >= 1:
                text = f"lr_cooldown={rate.cooldown:g}"
                raise self._uncounted(text, "a share of the budget, such as 0.2", owner)
            return
        warmup = rate.warmup_updates(updates)
        cooldown = count(rate.cooldown, updates) if rate.shape == "wsd" else 0
        if warmup > updates or (warmup == updates and rate.shape not in ANYTIME):
            raise UsageError(
                f"{owner}: lr_warmup={rate.warmup:g} is {warmup:,.0f} updates, and the budget pays "
                f"for {updates:,}. Let the warm-up be shorter than the budget."
            )
        if warmup + cooldown > updates:
            raise UsageError(
                f"{owner}: a warm-up of {warmup:,.0f} updates and a cooldown of {cooldown:,.0f} "
                f"do not fit into the {updates:,} that the budget pays for. Shorten one."
            )
        if self.polyak and count(self.polyak, updates) >= updates:
            raise UsageError(
                f"{owner}: polyak={self.polyak:g} begins to average behind the end of the budget, "
                f"which pays for {updates:,} updates. Let it begin earlier."
            )

    def factors(self, place: Place, marks: Marks) -> tuple[float, float, float]:
        """Return the factors of lr and of weight decay, and the weight of θ in the average.

        `marks` go on with the run: each place is asked for once, in order.
        """
        decay = 1.0 if self.decay is None else self.decay.at(place)
        rate = (
            1.0 if self.rate is None else self.rate.at(place, self._warmed(self.rate, place, marks))
        )
        return rate, decay, self._weight(place, marks)

    def _warmed(self, rate: RateSchedule, place: Place, marks: Marks) -> float:
        """Return the share of the budget spent in the warm-up."""
        warmup = rate.warmup_updates(place.updates)
        if place.updates:
            return warmup / place.updates
        if place.t <= warmup:
            marks.warmed = place.share
        return marks.warmed

    def _weight(self, place: Place, marks: Marks) -> float:
        """Return w of the average a ← a + w (θ − a); torch's averages begin at the first θ too."""
        if self.ema is not None:
            return 1.0 if place.t == 0 else 1 - self.ema
        if self.polyak is None:
            return 1.0
        begins = count(self.polyak, place.updates)
        if math.isnan(begins):
            marks.averaged += place.share >= self.polyak
            return 1 / max(1, marks.averaged)
        return 1 / max(1, place.t - begins + 1)

    def _uncounted(self, text: str, wanted: str, owner: str) -> UsageError:
        return UsageError(
            f"{owner}: nobody knows how many updates this budget pays for, so {text} cannot be "
            f"counted. Write {wanted}, or give a budget in updates."
        )
