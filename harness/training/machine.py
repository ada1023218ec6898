"""Where and how trials run: device, threads, precision, and what shares the machine with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bench.harness.core.context import context
from bench.harness.core.spec import Precision

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True)
class Machine:
    """Where and how trials run; set once, before anything is computed."""

    device: torch.device
    threads: int
    precision: Precision
    beside: int = 0
    """How many other fleets run on it at the same time, each in a process of its own."""
    ranks: int = 1
    """Over how many processes one fleet is spread."""

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and data."""
        return DTYPES[self.precision]

    def prepare(self) -> None:
        """Set threads and the precision of matrix products for this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")

    def context(self, rows: int) -> dict[str, object]:
        """Return what may change a measured time."""
        return context(self.device, self.threads, self.precision, self.ranks, rows, self.beside)

    def shared_by(self, processes: int) -> Machine:
        """Return the share of one of several processes: its threads, and how many are beside it."""
        return replace(self, threads=max(1, self.threads // processes), beside=processes - 1)
