"""Whether somebody's own code leaves θ, inputs and targets alone while it computes with them.

A network that writes into its inputs changes the cases on which every other trial is trained
and measured; one that writes into its parameters moves θ beside the optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.models.errors import ProblemError

DENSE = 64
"""After so many passes, every one of this many is checked; before, passes 1, 2, 4, 8, …."""

PART = 2**13
"""Words that are summed at once where torch needs a copy for it."""

ADVICE = {
    "θ": "Only the optimizer changes parameters. Compute the changed values as new tensors, for "
    "example with torch.nn.utils.parametrize, and leave out max_norm and weight clipping",
    "inputs": "The inputs are the data set itself. Compute new values, x.clamp(…) in place of "
    "x.clamp_(…), and use inplace=False in the first layer",
    "targets": "The targets are the data set itself. Compute new values in loss and metric",
}


class Watch:
    """Looks at the tensors that a pass must not change.

    torch counts the operations in place on a tensor, which costs nothing to read at every pass.
    What goes past that count, as `x.data.clamp_()` does, is found by a checksum, now and then.
    """

    def __init__(self) -> None:
        self._passes = 0

    def is_due(self) -> bool:
        """Return whether the next pass is one that is checked thoroughly."""
        count = self._passes + 1
        return count % DENSE == 0 or count & (count - 1) == 0

    def over(self, parameters: Sequence[Tensor] = (), **tensors: Tensor) -> _Unchanged:
        """Return a context that raises ProblemError if a tensor was changed within it.

        `parameters` have θ's memory, and counts of their own.
        """
        due = self.is_due()
        self._passes += 1
        return _Unchanged(tensors, due, parameters)


class _Unchanged:
    def __init__(
        self, tensors: dict[str, Tensor], thoroughly: bool, parameters: Sequence[Tensor]
    ) -> None:
        self._seen = [
            (name, each, each._version, _checksum(each) if thoroughly else None)
            for name, each in tensors.items()
        ]
        self._parameters = parameters
        self._versions = [each._version for each in parameters]

    def __enter__(self) -> None:
        """Do nothing: what is compared was noted before."""

    def __exit__(self, *error: object) -> None:
        # After an error too: a write can be its cause, and is the better sentence.
        for name, tensor, version, checksum in self._seen:
            changed = tensor._version != version
            if not changed and checksum is not None:
                changed = _checksum(tensor) != checksum
            if changed:
                raise _changed(name)
        if [each._version for each in self._parameters] != self._versions:
            raise _changed("θ")


def _changed(name: str) -> ProblemError:
    what = "its parameters" if name == "θ" else f"its {name}"
    return ProblemError(f"the problem's own code writes into {what}. {ADVICE[name]}")


def _checksum(tensor: Tensor) -> int:
    """Return the sum of the values' bits, modulo 2⁶⁴ where they are summed as 64-bit words."""
    flat = tensor.detach().reshape(-1)
    width = flat.element_size()
    if (flat.numel() * width) % 8 == 0 and (flat.storage_offset() * width) % 8 == 0:
        return int(flat.view(torch.int64).sum())
    # torch sums narrower words in a copy of 64 bits each: one part at a time, to bound it.
    words = flat.view({4: torch.int32, 2: torch.int16, 1: torch.uint8}.get(width, torch.int64))
    return sum(int(part.sum()) for part in words.split(PART))
