"""Ranks as processes of `torch.distributed`, which torchrun starts."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.distributed.ranks import part_of, require_agreement
from bench.harness.distributed.watchdog import KeyValueStore, Watchdog, deadline

T = TypeVar("T")

BROADCAST_BYTES = 2**26
"""Largest message in bytes. A rank that receives gigabytes reports between two messages that it is
alive."""
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""The backend that sums tensors, by kind of device. Values of the host always use gloo."""


@dataclass(frozen=True)
class Membership:
    """The rank of this process, the number of ranks, and the address where they connect."""

    rank: int
    local_rank: int
    """The rank among the processes of this machine, and the number of its GPU."""
    size: int
    init_method: str = "env://"
    """A URL for `torch.distributed`: env:// (MASTER_ADDR, MASTER_PORT), tcp:// or file://."""

    @classmethod
    def from_environment(cls) -> Membership:
        """Read the variables that torchrun sets; raises Usage if they are missing."""
        names = "RANK", "LOCAL_RANK", "WORLD_SIZE"
        try:
            rank, local_rank, size = (int(os.environ[name]) for name in names)
        except (KeyError, ValueError) as error:
            raise Usage(
                "The environment does not say which rank this process is: torchrun sets "
                f"{', '.join(names)} to whole numbers. Start this program with torchrun."
            ) from error
        return cls(rank, local_rank, size)


class ProcessGroup:
    """The ranks of a `torch.distributed` group, as `ranks.Ranks`; use it in a `with` statement.

    On "cpu" gloo sums tensors. On "cuda" NCCL sums them, on the GPU with number `local_rank`.
    Raises Infrastructure if the ranks cannot connect, or if one of them has died. If training shows
    no sign of life for `deadline()` seconds, another thread calls `on_hang` with a sentence;
    `on_hang` must end the process.
    """

    def __init__(
        self,
        kind: Literal["cpu", "cuda"],
        on_hang: Callable[[str], None],
        member: Membership | None = None,
    ) -> None:
        member, limit = member or Membership.from_environment(), deadline()
        self.rank, self.size = member.rank, member.size
        self.device = torch.device("cpu")
        if kind == "cuda":
            self.device = torch.device("cuda", member.local_rank)
            torch.cuda.set_device(self.device)
        try:
            store, *_ = next(
                dist.rendezvous(
                    member.init_method, member.rank, member.size, timeout=timedelta(seconds=limit)
                )
            )
            dist.init_process_group(
                BACKENDS[kind],
                store=dist.PrefixStore("group", store),
                rank=member.rank,
                world_size=member.size,
                # Longer than the watchdog's limit, because only the watchdog can name the rank.
                timeout=timedelta(seconds=2 * limit + 60),
                device_id=self.device if kind == "cuda" else None,
            )
            heartbeats = cast(KeyValueStore, dist.PrefixStore("watch", store))
            self._watchdog = Watchdog(self.rank, self.size, heartbeats, limit, on_hang)
        except RuntimeError as error:
            raise Infrastructure(
                f"Rank {member.rank} did not reach the other ranks within {limit:g} s, so nothing "
                f"was started. Check that all {member.size} ranks were started and that their "
                "machines reach each other."
            ) from error

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # The store may live in rank 0, so every rank stays until all have finished.
            self.any()
        self._watchdog.close()
        # NCCL would wait here forever for a rank that has died.
        if error is None or self.device.type == "cpu":
            dist.destroy_process_group()

    def part(self, cases: int) -> slice:
        """Return the slice of a batch that this rank computes."""
        return part_of(cases, self.rank, self.size)

    def all_reduce(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over all ranks; the reductions run at the same time."""
        with self._exchange():
            works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
            for work in works:
                work.wait()

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is true on any rank."""
        # One flag more than asked for, because an empty tensor cannot be reduced.
        values = torch.tensor([*flags, False], dtype=torch.uint8)
        with self._exchange():
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return [bool(each) for each in values[:-1]]

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0 on every rank; it must be a value that pickle can write."""
        if self.rank == 0:
            file = io.BytesIO()
            pickle.dump(value, file)
            content = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
            self._broadcast_tensor(torch.tensor([len(content)]))
            self._broadcast_tensor(content)
            return value
        size = torch.empty(1, dtype=torch.int64)
        self._broadcast_tensor(size)
        content = torch.empty(int(size), dtype=torch.uint8)
        self._broadcast_tensor(content)
        return cast(T, pickle.loads(content.numpy().data))

    def check_agreement(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure on all ranks unless the values of all ranks have equal bits."""
        gathered = list[list[float]]([[]] * self.size)
        with self._exchange():
            dist.all_gather_object(gathered, list(values))
        require_agreement(what, gathered)

    def report_alive(self, updates: int) -> None:
        """Record that this rank is alive and how many updates it has made."""
        self._watchdog.record_activity(updates)

    def _broadcast_tensor(self, content: Tensor) -> None:
        """Copy the content of rank 0's tensor to the tensors of all ranks."""
        for piece in content.split(BROADCAST_BYTES):
            with self._exchange():
                dist.broadcast(piece, 0)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Enclose an operation that waits for other ranks."""
        self._watchdog.record_exchange()
        try:
            yield
        except RuntimeError as error:
            raise Infrastructure(
                f"Rank {self.rank} lost the connection to the other ranks. "
                f"{self._watchdog.diagnose('has died')} All results up to now are kept."
            ) from error
        self._watchdog.record_activity()
