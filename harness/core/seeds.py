"""Named random streams: (root seed, names) → a seed, through SHA-256.

A stream's numbers depend on its name alone, so a method that draws more numbers
shifts nobody else's, and seed 0 is a seed like any other.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

TUNING_SEEDS_FROM = 1_000_000
"""Tuning uses the seeds from here on; reported seeds stay below."""


def seed_of(root: int, *names: str | int) -> int:
    """Return 128 bits named by the root seed and the path of names."""
    text = "/".join(["bench", str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def seed_plan(root: int) -> dict[str, Any]:
    """Return which streams a trial's numbers come from, in plain values.

    >>> seed_plan(0)["streams"]["initialization"]
    'bench/0/initialization'
    """
    return {
        "root": root,
        "rule": "PCG64 seeded by the first 16 bytes of the SHA-256 of a stream's name",
        "streams": {
            "initialization": f"bench/{root}/initialization",
            "gradient batches": f"bench/{root}/order/gradient/EPOCH",
            "curvature batches": f"bench/{root}/order/curvature/0",
            "cases drawn anew": f"bench/{root}/cases/gradient|curvature/BLOCK",
        },
    }


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Return a fresh NumPy generator of that stream (PCG64: the same on every machine)."""
    return np.random.Generator(np.random.PCG64(seed_of(root, *names)))
