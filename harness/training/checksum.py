"""A checksum of a tensor where it is: of every bit and its position, without a copy."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

WORDS = 2**20
"""Words that are multiplied at once, to bound memory."""
KEPT = 2**14
"""Weights of so many words at most are kept, 8 MiB in all."""
_WORD = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}


def checksum(values: Tensor) -> int:
    """Return Σ aᵢ bⱼ xᵢⱼ mod 2⁶⁴ over the words x of a tensor's bits, i a case and j a place in it.

    `values` is (1, cases, …). The weights a and b are fixed random odd numbers, so that cases that
    are exchanged change the sum too. It finds accidents and careless writes; it is no cryptography.

    >>> one = torch.arange(6.0).view(1, 3, 2)
    >>> checksum(one) == checksum(one.clone()), checksum(one) == checksum(one.flip(1))
    (True, False)
    """
    if not values.numel():
        return 0
    cases = values.detach().reshape(values.shape[0] * values.shape[1], -1)
    width = 8 if cases.shape[1] * cases.element_size() % 8 == 0 else cases.element_size()
    words = cases.contiguous().view(_WORD[width])
    count, places = words.shape
    place = _odd(places, 0).to(words.device)
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    step = max(1, WORDS // max(1, places))
    for number, start in enumerate(range(0, count, step), 1):
        part = words[start : start + step]
        case = _odd(len(part), number).to(words.device)
        total += ((part * place).sum(1) * case).sum()
    return int(total)


def _odd(count: int, seed: int) -> Tensor:
    return _kept(count, seed) if count <= KEPT else _drawn(count, seed)


def _drawn(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2**62, (count,), generator=generator) * 2 + 1


# A method with many small tensors in its state is asked for them at every evaluation.
_kept = lru_cache(maxsize=64)(_drawn)
