"""The global random streams of a process: torch's, NumPy's legacy stream and Python's `random`.

A method of somebody else's may draw from any of them. Streams that begin with a seed are put in
their place while it runs, so that it neither sees nor moves what else the process draws.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

WORDS = 624
"""Numbers in the state of a Mersenne Twister. NumPy does not check that a place is among them."""
BITS = 2**64
"""torch takes seeds below this number."""


@dataclass
class RandomStreams:
    """Where each global stream stands, with CUDA's only where a device was named."""

    cpu: Tensor
    numpy: np.random.BitGenerator
    """The generator itself: to read its state takes 65 µs. With it NumPy drops the second of a pair
    of normals that it may hold, always, so that a run stays the same run."""
    python: tuple[Any, ...]
    cuda: Tensor | None = None
    device: torch.device | None = None

    @staticmethod
    def seeded(seed: int, device: torch.device | None = None) -> RandomStreams:
        """Return streams that begin with `seed`, for what runs on `device`."""
        cuda = None
        if device is not None and device.type == "cuda":
            cuda = torch.Generator(device).manual_seed(seed % BITS).get_state()
        return RandomStreams(
            torch.Generator().manual_seed(seed % BITS).get_state(),
            np.random.MT19937(seed),
            random.Random(seed).getstate(),
            cuda,
            device,
        )

    @staticmethod
    def current(device: torch.device | None = None) -> RandomStreams:
        """Return the streams of this process as they are."""
        on_gpu = device if device is not None and device.type == "cuda" else None
        return RandomStreams(
            torch.get_rng_state(),
            np.random.get_bit_generator(),  # type: ignore[attr-defined]
            random.getstate(),
            None if on_gpu is None else torch.cuda.get_rng_state(on_gpu),
            device,
        )

    def install(self) -> None:
        """Let the process draw from these streams."""
        torch.set_rng_state(self.cpu)
        np.random.set_bit_generator(self.numpy)  # type: ignore[attr-defined]
        random.setstate(self.python)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)  # type: ignore[arg-type]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the process draw from these streams within the block, and then from its own again.

        Afterwards they stand where the block has left them.
        """
        outside = RandomStreams.current(self.device)
        self.install()
        try:
            yield
        finally:
            left = RandomStreams.current(self.device)
            outside.install()
            self.cpu, self.numpy, self.python, self.cuda = (
                *(left.cpu, left.numpy, left.python),
                left.cuda,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return where they stand, as tensors and plain values."""
        numpy = self.numpy.state["state"]
        return {
            "torch": self.cpu.clone(),
            "numpy": (numpy["key"].tolist(), int(numpy["pos"])),
            "python": self.python,
            "cuda": None if self.cuda is None else self.cuda.clone(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.cpu = saved["torch"].cpu()
        key, position = saved["numpy"]
        if len(key) != WORDS or not 0 <= position <= WORDS:
            raise ValueError(f"a state of NumPy's stream has {WORDS} numbers and a place in them")
        self.numpy = np.random.MT19937()
        self.numpy.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(key, dtype=np.uint32), "pos": position},
        }
        version, internal, spare = saved["python"]
        self.python = (version, tuple(internal), spare)
        self.cuda = None if saved["cuda"] is None else saved["cuda"].cpu()
