"""One random change somewhere in plain values, as whoever edits a file by hand could make it."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor


def changed(dice: random.Random, plain: Any) -> Any:
    """Return plain values with one of them replaced, left out, or added, somewhere in them."""
    if isinstance(plain, dict) and plain and dice.random() < 0.95:
        key = dice.choice(list(plain))
        if dice.random() < 0.1:
            return {k: v for k, v in plain.items() if k != key}
        if dice.random() < 0.05:
            return {**plain, "more": 1}
        return {**plain, key: changed(dice, plain[key])}
    if isinstance(plain, list | tuple) and plain and dice.random() < 0.9:
        i = dice.randrange(len(plain))
        return [*plain[:i], changed(dice, plain[i]), *plain[i + 1 :]]
    if isinstance(plain, Tensor) and dice.random() < 0.8:
        return _changed_tensor(dice, plain)
    if type(plain) in (int, float) and dice.random() < 0.5:
        return dice.choice((-plain, plain + 1, plain * 10, float(plain), 0, 2**31, 2**53))
    return dice.choice(
        (None, 3.7, -1, "x", [], {}, True, 10**30, float("nan"), 1e308, "\ud800", "\0", "θ" * 99)
    )


def _changed_tensor(dice: random.Random, plain: Tensor) -> Tensor:
    return dice.choice(
        (
            plain[:0] if plain.dim() else plain.reshape(1),
            plain.reshape(-1),
            plain[None],
            plain.double(),
            plain.to(torch.int32),
            plain.to(torch.complex64),
            plain.to_sparse(),
            torch.full_like(plain, 2**20),
            torch.zeros_like(plain),
            torch.ones(2, 2),
        )
    )
