"""Named random streams: SHA-256 maps a root seed and names to the seed of a stream.

The numbers of a stream depend only on its name. A method that draws more numbers therefore does
not change those of another stream. Seed 0 is a seed like any other.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

FIRST_TUNING_SEED = 1_000_000
"""Tuning uses this seed and larger ones; reported seeds are smaller."""


def seed_of(root: int, *names: str | int) -> int:
    """Return the 128-bit seed of the stream with this root seed and these names."""
    text = "/".join(["bench", str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def seed_plan(root: int) -> dict[str, Any]:
    """Return the names of the streams that a trial draws from, as plain values for JSON.

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
            "draws of a method that is not bench's or torch's": f"bench/{root}/method",
        },
    }


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Return a new NumPy generator of the stream (PCG64: the same on every machine)."""
    return np.random.Generator(np.random.PCG64(seed_of(root, *names)))
