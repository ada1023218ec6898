"""Problems to be interrupted at a known place: --problem tests.harness.watched:small.

Every measurement has a checksum of θ. With BENCH_TEST_NAPS=FROM:SECONDS in the environment each
update from that number on takes so many seconds longer, with BENCH_TEST_NAPPING=RANK on that rank
alone; and a checkpoint is written at every seventh update. With BENCH_TEST_DYING=INDEX a process
kills itself while it records that measurement: after the rows are inserted, and before that is
committed.
"""

from __future__ import annotations

import math
import os
import signal
import time
import zlib
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor

from bench.harness.core.records import Measurement
from bench.harness.distributed import consensus
from bench.harness.store import changes
from bench.harness.store.rows import value_columns
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Fleet
from bench.models.built_in import PROBLEMS
from bench.models.problem import Problem
from tests.harness.small import make

KEPT_EVERY = 7

_asked = count(1)
_advance = Fleet.advance


def small(preset: str) -> Problem:
    """The autoencoder of tests.harness.small."""
    return _watched(make(preset))


def add(preset: str, **given: object) -> Problem:
    """The recurrent problem, whose cases are drawn anew."""
    problem = PROBLEMS["add"](preset, **given)
    problem.name = "watched-add"
    return _watched(problem)


def _watched(problem: Problem) -> Problem:
    problem.observe = _checksums  # type: ignore[method-assign]
    return problem


def _checksums(params: Mapping[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    rows = zip(*params.values(), strict=True)
    sums = [zlib.crc32(b"".join(view.numpy().tobytes() for view in row)) for row in rows]
    return {"theta": torch.tensor(sums, dtype=torch.float64)}


def _due(self: Checkpoints, elapsed: float) -> bool:
    return next(_asked) % KEPT_EVERY == 0


def _slowly(self: Fleet, due: float = math.inf) -> bool:
    start, _, seconds = os.environ["BENCH_TEST_NAPS"].partition(":")
    rank = os.environ.get("RANK")
    if self.account.updates >= int(start) and os.environ.get("BENCH_TEST_NAPPING", rank) == rank:
        time.sleep(float(seconds))
    return _advance(self, due)


def _dying(measurement: Measurement | None) -> dict[str, object]:
    if measurement is not None and measurement.index == int(os.environ["BENCH_TEST_DYING"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return value_columns(measurement)


if "BENCH_TEST_DYING" in os.environ:
    changes.value_columns = _dying
if "BENCH_TEST_NAPS" in os.environ:
    Checkpoints.due = _due  # type: ignore[method-assign]
    Fleet.advance = _slowly  # type: ignore[method-assign]
    # Ranks ask each other at every update.
    consensus.CONSENSUS_SECONDS = 0.0
