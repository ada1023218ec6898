"""Ranks that are processes of torch.distributed, as torchrun starts them."""

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
from bench.harness.distributed.watchdog import Store, Watch, deadline

T = TypeVar("T")

PIECE = 2**26
"""Bytes are sent in pieces of so many, so that a rank which gets gigabytes shows signs of life."""
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""What sums tensors on a device; values of the host go over gloo always."""


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is, and where they meet."""

    rank: int
    local_rank: int
    """Among those of this machine: which of its GPUs is this one's."""
    size: int
    meeting: str = "env://"
    """A URL for `torch.distributed`: env:// (MASTER_ADDR, MASTER_PORT), tcp:// or file://."""

    @classmethod
    def given(cls) -> Place:
        """Return what torchrun has put into the environment; Usage where it has not."""
        names = "RANK", "LOCAL_RANK", "WORLD_SIZE"
        try:
            rank, local_rank, size = (int(os.environ[name]) for name in names)
        except (KeyError, ValueError) as error:
            raise Usage(
                f"This process is to be one of several, and the environment does not say which: "
                f"{', '.join(names)} are whole numbers that torchrun sets. Start it with torchrun."
            ) from error
        return cls(rank, local_rank, size)


class Group:
    """The ranks of a `torch.distributed` group, as `ranks.Ranks`; use it in a `with`.

    On "cpu" tensors are summed by gloo, on "cuda" by NCCL, on GPU number `local_rank`.
    Infrastructure is raised where the ranks do not find each other, or one has died. If training
    shows no sign of life for `deadline()` seconds, `on_hang` gets a sentence in another thread, and
    is to end the process.
    """

    def __init__(
        self,
        kind: Literal["cpu", "cuda"],
        on_hang: Callable[[str], None],
        place: Place | None = None,
    ) -> None:
        place, limit = place or Place.given(), deadline()
        self.rank, self.size = place.rank, place.size
        self.device = torch.device("cpu")
        if kind == "cuda":
            self.device = torch.device("cuda", place.local_rank)
            torch.cuda.set_device(self.device)
        try:
            store, *_ = next(
                dist.rendezvous(
                    place.meeting, place.rank, place.size, timeout=timedelta(seconds=limit)
                )
            )
            dist.init_process_group(
                BACKENDS[kind],
                store=dist.PrefixStore("group", store),
                rank=place.rank,
                world_size=place.size,
                # The watch is to speak first: it knows who is behind.
                timeout=timedelta(seconds=2 * limit + 60),
                device_id=self.device if kind == "cuda" else None,
            )
            watched = cast(Store, dist.PrefixStore("watch", store))
            self._watch = Watch(self.rank, self.size, watched, limit, on_hang)
        except RuntimeError as error:
            raise Infrastructure(
                f"Rank {place.rank} did not find the other {place.size - 1} within {limit:g} s, "
                "so nothing was begun: see whether all of them were started and reach each other."
            ) from error

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # The store may be in rank 0, so nobody leaves before all are done.
            self.any()
        self._watch.close()
        # NCCL would wait here for what a rank that has died will never send.
        if error is None or self.device.type == "cpu":
            dist.destroy_process_group()

    def part(self, cases: int) -> slice:
        """Return this rank's cases of a batch."""
        return part_of(cases, self.rank, self.size)

    def add_up(self, *tensors: Tensor) -> None:
        """Write to each tensor its sum over ranks; they are on their way together."""
        with self._exchange():
            works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
            for work in works:
                work.wait()

    def any(self, *flags: bool) -> list[bool]:
        """Say of each flag whether any rank has raised it."""
        # One more, since there may be none.
        raised = torch.tensor([*flags, False], dtype=torch.uint8)
        with self._exchange():
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(each) for each in raised[:-1]]

    def first(self, value: T) -> T:
        """Return rank 0's value, which pickle can hold."""
        if self.rank == 0:
            file = io.BytesIO()
            pickle.dump(value, file)
            content = torch.frombuffer(file.getbuffer(), dtype=torch.uint8)
            self._send(torch.tensor([len(content)]))
            self._send(content)
            return value
        size = torch.empty(1, dtype=torch.int64)
        self._send(size)
        content = torch.empty(int(size), dtype=torch.uint8)
        self._send(content)
        return cast(T, pickle.loads(content.numpy().data))

    def agree(self, what: str, values: Sequence[float]) -> None:
        """Raise Infrastructure unless all ranks have the same bits."""
        found = list[list[float]]([[]] * self.size)
        with self._exchange():
            dist.all_gather_object(found, list(values))
        require_agreement(what, found)

    def beat(self, updates: int) -> None:
        """Take note that this rank is alive and has made so many updates."""
        self._watch.alive(updates)

    def _send(self, content: Tensor) -> None:
        """Write rank 0's content to everybody's."""
        for piece in content.split(PIECE):
            with self._exchange():
                dist.broadcast(piece, 0)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Do in here what waits for other ranks."""
        self._watch.entered()
        try:
            yield
        except RuntimeError as error:
            raise Infrastructure(
                f"Rank {self.rank} lost touch with the others. {self._watch.verdict('has died')} "
                "What is recorded until here stays."
            ) from error
        self._watch.alive()
