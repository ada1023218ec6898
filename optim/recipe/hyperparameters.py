"""The hyperparameters of a recipe, which every method may be given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from bench.optim.hyperparameters import Hyperparameter
from bench.optim.recipe.schedules import DecayShape, RateShape

WEIGHT_DECAY = "weight_decay"
FORMS = ("decoupled", "l2")

RATE = (
    Hyperparameter(
        "lr_schedule", str, "constant",
        "the learning rate over the run, as a factor that begins at 1: linear, cosine; wsd: it "
        "stays and falls linearly at the end; inverse_sqrt and inverse: √(W/t), W/t",
        choices=get_args(RateShape),
    ),
    Hyperparameter(
        "lr_warmup", float, 0.0,
        "W, the linear warm-up: a share of the updates (below 1), or their number", low=0.0,
        scale="log",
    ),
    Hyperparameter(
        "lr_cooldown", float, 0.2,
        "the end of wsd, in which the rate falls: a share (below 1), or a number", low=0.0,
        open_low=True, scale="log",
    ),
    Hyperparameter(
        "lr_floor", float, 0.0, "the last factor, and the least of inverse ones", low=0.0, high=1.0
    ),
)  # fmt: skip
OWN_DECAY = (
    Hyperparameter(
        WEIGHT_DECAY, float, 0.0, "λ; where a method has its own of this name, it is that one",
        low=0.0, scale="log",
    ),
    Hyperparameter(
        "weight_decay_form", str, "decoupled",
        "decoupled: θ ← θ − lr·λθ beside the step; l2: λθ is added to the gradient",
        choices=FORMS,
    ),
)  # fmt: skip
DECAY_SCHEDULE = (
    Hyperparameter(
        "weight_decay_schedule", str, "constant",
        "the weight decay over the run, as a factor from 1 to weight_decay_end",
        choices=get_args(DecayShape),
    ),
    Hyperparameter("weight_decay_end", float, 0.0, "its last factor", low=0.0),
)  # fmt: skip
CLIP_NORM = Hyperparameter(
    "clip_norm", float, 1.0, "a gradient that is longer than this is scaled down to it",
    low=0.0, open_low=True, scale="log",
)  # fmt: skip
CLIP_VALUE = Hyperparameter(
    "clip_value", float, 1.0, "every number of a gradient is held within ± this",
    low=0.0, open_low=True, scale="log",
)  # fmt: skip
EMA = Hyperparameter(
    "ema", float, 0.999, "the evaluated point is a ← ema·a + (1 − ema)·θ", low=0.0, high=1.0,
    scale="log from one",
)  # fmt: skip
POLYAK = Hyperparameter(
    "polyak", float, 0.0,
    "the evaluated point is the mean of θ from here on: a share (below 1) or number of updates",
    low=0.0,
)  # fmt: skip
ACCUMULATION = Hyperparameter(
    "accumulation", int, 1, "a gradient is the mean over this many batches", low=1
)

FAMILIES = (RATE, OWN_DECAY, DECAY_SCHEDULE, *((h,) for h in (CLIP_NORM, CLIP_VALUE, EMA, POLYAK)))
FAMILIES = (*FAMILIES, (ACCUMULATION,))
"""Hyperparameters that belong together: where one is given, all are recorded."""

OF_EVERY_METHOD = tuple(h.name for family in FAMILIES if family is not OWN_DECAY for h in family)
"""What no torch optimizer has under these names, so that it is that of a whole route."""

OF_A_RECIPE = (*OF_EVERY_METHOD, "weight_decay_form")


def has_recipe(hyperparameters: Iterable[str]) -> bool:
    """Say whether some of the hyperparameters of a method are those of a recipe."""
    return not set(OF_A_RECIPE).isdisjoint(hyperparameters)


def given_families(keys: Iterable[str], own: Iterable[str]) -> tuple[Hyperparameter, ...]:
    """Return the hyperparameters of a recipe that is given by some keys.

    `own` are those of the method. Where it has one of a name, the recipe has none; and the form
    of a method's own weight decay is its own.
    """
    keys, own = set(keys), set(own)
    found = []
    for family in FAMILIES:
        if family is OWN_DECAY and WEIGHT_DECAY in own:
            continue
        open_ = [h for h in family if h.name not in own]
        if any(h.name in keys for h in open_):
            found += open_
    return tuple(found)
