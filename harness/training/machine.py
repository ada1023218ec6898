"""The machine of a trial: device, threads, precision, and the other fleets that run on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from bench.harness.core.context import context
from bench.harness.core.spec import Precision

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True)
class Machine:
    """Device, threads and precision of trials; set once, before anything is computed."""

    device: torch.device
    threads: int
    precision: Precision
    other_fleets: int = 0
    """Number of other fleets that run on the machine at the same time, each in its own process."""
    ranks: int = 1
    """Number of processes that train one fleet together."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of parameters and data."""
        return DTYPES[self.precision]

    def prepare(self) -> None:
        """Set threads and the precision of matrix products for this process."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")

    def context(self, rows: int) -> dict[str, object]:
        """Return everything that may change a measured time; `rows` is K."""
        return context(
            self.device, self.threads, self.precision, self.ranks, rows, self.other_fleets
        )

    def shared_by(self, processes: int) -> Machine:
        """Return the share of one of several processes that divide the threads evenly."""
        return replace(self, threads=max(1, self.threads // processes), other_fleets=processes - 1)
