"""Two ranks that train one fleet: what an update takes them, and one of them alone, in turns.

`python -m benchmarks.distributed.data_mode RANK FOLDER FULL|SMOKE` is one of the ranks; rank 0
leaves the result in the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench import optim
from bench.harness.core.paths import data_source
from bench.harness.core.spec import Budget
from bench.harness.distributed.process_group import Membership, ProcessGroup
from bench.harness.distributed.ranks import SINGLE_PROCESS, Ranks
from bench.harness.training.cases import Cases, DeviceData
from bench.harness.training.fleet import Fleet
from bench.models.deep_autoencoders import DeepAutoencoder, curves, mnist
from bench.models.problem import Problem
from bench.models.recurrent import SequenceProblem
from benchmarks.start import ROOT
from benchmarks.updates.fleets import UNLIMITED

CPU = torch.device("cpu")
RANKS = 2
LIMIT = 12.0
"""Seconds after which no further round begins."""
A_TURN = 0.04
"""Seconds that a candidate works at least when it is its turn, if an update is shorter."""
EIGHTH, HALF, WHOLE, TWICE = "an eighth", "half", "whole", "twice"
SIZES = {EIGHTH: 1 / 8, HALF: 1 / 2, WHOLE: 1.0, TWICE: 2.0}
"""Of the batch, or of the training set where that is the batch; timed on one rank."""
SHARED, REDUCTION = "two ranks", "reduction"
LATENCY, BANDWIDTH = 16, 3_000_000
"""Numbers of the two reductions between which others are reckoned."""


@dataclass(frozen=True)
class Case:
    """What is timed: a method on a problem, at a number of cases a unit of work."""

    problem: Problem
    method: str
    cases: int
    images: int | None = None
    """Random images in place of the problem's data, so many."""

    @property
    def whole_set(self) -> bool:
        """Whether the cases are the whole training set, and the unit is an iteration."""
        return self.method.startswith("hf")

    def fleet(self, share: float, ranks: Ranks, budget: Budget = UNLIMITED) -> Fleet:
        """Return a fleet of one row that works on this share of the cases."""
        cases = max(RANKS, round(self.cases * share))
        data = self._data()
        method = self.method
        if self.whole_set:
            x = data.train.inputs.repeat(1, 2, 1)[:, :cases]
            data = DeviceData(Cases(x, x), data.test)
        else:
            method += f"[lr=0.001,batch={cases}]"
        return Fleet(self.problem, data, optim.resolve(method, "cpu"), [0], budget, 2, ranks=ranks)

    def _data(self) -> DeviceData:
        if self.images is None:
            return DeviceData.from_data(self.problem.data(data_source(None)), CPU, torch.float32)
        assert isinstance(self.problem, DeepAutoencoder)
        size = self.problem.architecture.sizes[0]
        x = torch.rand(1, self.images, size, generator=torch.Generator().manual_seed(0))
        return DeviceData(Cases(x, x), Cases(x[:, :1], x[:, :1]))


def cases(smoke: bool) -> list[Case]:
    """Return what is timed, from few parameters to many."""
    if smoke:
        return [
            Case(SequenceProblem("add", "quick", T=20), "nag", 16),
            Case(curves("quick"), "hf[lam=0.1,cg_max=2,cg_tolerance=0]", 64),
        ]
    return [
        Case(SequenceProblem("add", "paper", T=80), "nag", 100),
        Case(curves("quick"), "nag", 200, images=2_000),
        Case(curves("paper"), "nag", 200, images=2_000),
        Case(mnist("paper"), "nag", 200, images=2_000),
        # Without a tolerance an iteration has all its CG steps, on however many cases.
        Case(curves("quick"), "hf[lam=0.1,cg_max=20,cg_tolerance=0]", 1_000),
    ]


class Counted(ProcessGroup):
    """Counts what is summed over ranks."""

    calls = 0
    bytes = 0

    def all_reduce(self, *tensors: Tensor) -> None:
        """Write to each tensor its sum over ranks."""
        self.calls += 1
        self.bytes += sum(tensor.nbytes for tensor in tensors)
        super().all_reduce(*tensors)


class Operations(TorchDispatchMode):
    """Counts operations that compute something: on a GPU each is a kernel that is launched."""

    made = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.made += not func.is_view
        return func(*args, **(kwargs or {}))


def measure(smoke: bool) -> dict[str, Any]:
    """Return what two ranks on a thread each, started here, have measured.

    A dict for each case, and the reductions of a few numbers and of many. Seconds are lists, an
    item a round; those of one list were measured in turns with those of the others.
    """
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        arguments = [folder, "SMOKE" if smoke else "FULL"]
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.distributed.data_mode", str(rank), *arguments],
                cwd=ROOT,
                env=environment,
            )
            for rank in range(RANKS)
        ]
        codes = [rank.wait() for rank in ranks]
        if any(codes):
            raise RuntimeError(f"Ranks ended with {codes}; what they said is above.")
        found: dict[str, Any] = json.loads((Path(folder) / "found.json").read_text())
        return found


def in_turns(
    candidates: Mapping[str, tuple[Callable[[], object], bool]],
    ranks: Ranks,
    rounds: int,
) -> dict[str, list[float]]:
    """Return the seconds of a call of each, a round an item; all ranks call this alike.

    With a call it is said whether all ranks take part; else the others wait. In a first round,
    uncounted, it is found out how often each is called at its turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    repeat = dict.fromkeys(candidates, 1)
    order, end = list(candidates), time.perf_counter() + LIMIT
    for turn in range(rounds + 1):
        for name in order:
            call, together = candidates[name]
            ranks.any()
            spent = 0.0
            if together or ranks.rank == 0:
                start = time.perf_counter()
                for _ in range(repeat[name]):
                    call()
                spent = (time.perf_counter() - start) / repeat[name]
            if turn == 0:
                repeat[name] = ranks.broadcast(max(1, int(A_TURN / max(spent, 1e-6))))
            else:
                seconds[name].append(spent)
        order.reverse()
        if ranks.any(time.perf_counter() > end)[0]:
            break
    return seconds


def reduction(numbers: int, ranks: Ranks) -> Callable[[], None]:
    """Return the sum of a gradient over ranks, with the loss that goes with it."""
    # Zeros: what is added up again and again is to stay finite.
    value, gradient = torch.zeros(1, dtype=torch.float64), torch.zeros(1, numbers)
    return lambda: ranks.all_reduce(value, gradient)


@torch.no_grad()
def timed(case: Case, group: Counted, rounds: int) -> dict[str, Any]:
    """Return the seconds of a unit of work of a case, by what was timed, and its counts."""
    alone = {name: case.fleet(share, SINGLE_PROCESS) for name, share in SIZES.items()}
    shared = case.fleet(1.0, group)
    for fleet in (*alone.values(), shared):
        # One sets libraries up and may be unlike those that follow.
        fleet.advance()
    account = shared.account
    before = (group.calls, group.bytes, account.gradients)
    with Operations() as operations:
        shared.advance()
    calls, bytes, gradients = (
        now - then
        for now, then in zip((group.calls, group.bytes, account.gradients), before, strict=True)
    )
    candidates: dict[str, tuple[Callable[[], object], bool]] = {
        **{name: (fleet.advance, False) for name, fleet in alone.items()},
        SHARED: (shared.advance, True),
        REDUCTION: (reduction(shared.theta.shape[1], group), True),
    }
    seconds = in_turns(candidates, group, rounds)
    return {
        "name": f"{case.problem.name}/{case.problem.preset}",
        "method": case.method,
        "unit": "iteration" if case.whole_set else "update",
        "parameters": case.problem.layout.count,
        "cases": case.cases,
        "calls": calls,
        "bytes": bytes,
        "gradients": gradients,
        "operations": operations.made,
        "seconds": seconds,
    }


def _main(rank: int, folder: Path, smoke: bool) -> None:
    def give_up(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)
        os._exit(4)

    torch.set_num_threads(1)
    place = Membership(rank, rank, RANKS, f"file://{folder}/meeting")
    rounds = 2 if smoke else 40
    group = Counted("cpu", give_up, place)
    with group:
        ends: dict[str, tuple[Callable[[], object], bool]] = {
            str(numbers): (reduction(numbers, group), True)
            for numbers in (LATENCY, BANDWIDTH // 100 if smoke else BANDWIDTH)
        }
        found = {
            "reductions": in_turns(ends, group, rounds),
            "cases": [timed(case, group, rounds) for case in cases(smoke)],
        }
        if rank == 0:
            (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "SMOKE")
