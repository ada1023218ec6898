"""What tests have several ranks do: `python -m tests.harness.ranked FOLDER NAME ARGUMENTS`.

A rank does the function of that name, and leaves in the folder what it returns, or what it says as
it ends.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.harness.check.small_problems import Network
from bench.harness.core.errors import BenchError
from bench.harness.core.records import Measurement
from bench.harness.core.spec import Budget
from bench.harness.distributed.process_group import BROADCAST_BYTES, ProcessGroup
from bench.harness.distributed.ranks import Ranks
from bench.harness.planning import problems
from bench.harness.training.bound_objective import BoundObjective
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Fleet, Progress
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import DataSource, Problem
from bench.optim import registry
from bench.optim.objective import Method

CPU = torch.device("cpu")


class Measurements:
    """Notes what is measured, but for seconds and memory."""

    def __init__(self) -> None:
        self.noted: list[tuple[list[int], list[float]]] = []

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        m = measurement
        counted = [row, m.ledger.updates, m.ledger.examples, m.ledger.products, m.ledger.cg_steps]
        values = [m.train_metric, m.test_metric, m.train_loss, m.test_loss]
        assert None not in values
        self.noted.append((counted, [*values, m.ledger.gradients, *m.diagnostics.values()]))

    def on_progress(self, progress: Progress) -> None:
        pass

    def should_stop(self) -> bool:
        return False


def trained(
    ranks: Ranks, name: str, texts: Sequence[str], updates: int, evaluations: int
) -> dict[str, Any]:
    """A fleet of these methods, row k under seed k, in float64: θ, counts and values measured."""
    problem: Problem = Network() if name == "network" else problems.resolve(name, "quick")
    methods: list[Method] = [registry.resolve(text) for text in texts]
    method = methods[0].join(methods[1:]) if methods[1:] else methods[0]
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, torch.float64)
    seeds, budget = range(len(texts)), Budget("updates", updates)
    fleet = Fleet(problem, data, method, seeds, budget, evaluations, ranks=ranks)
    seen = Measurements()
    outcomes = fleet.run(seen)
    counts, values = zip(*seen.noted, strict=True)
    return {
        "theta": torch.stack([outcome.theta for outcome in outcomes]),
        "counts": list(counts),
        "values": [torch.tensor(each, dtype=torch.float64) for each in values],
    }


def all_trained(ranks: Ranks, *runs: tuple[str, Sequence[str], int, int]) -> list[dict[str, Any]]:
    """Several runs, one after another."""
    return [trained(ranks, *run) for run in runs]


def exchanged(ranks: Ranks) -> dict[str, Any]:
    """What exchanges give."""
    r = ranks.rank
    one = torch.full((2, 3), r + 0.1)
    two = torch.arange(4, dtype=torch.float64) * 10.0**r / 3
    ranks.all_reduce(one, two)
    ranks.check_agreement("nothing", [])
    ranks.check_agreement("numbers", [0.5, float("nan"), float("inf"), -0.0])
    return {
        "place": (ranks.rank, ranks.size),
        "sums": [one, two],
        "any": [*ranks.any(r == 1, False, True), *ranks.any()],
        "first": ranks.broadcast({"rank": r, "names": ["a", None]}),
        "bytes": ranks.broadcast(bytes([7 + r]) * (BROADCAST_BYTES + 3)),
        "part": str(ranks.part(7)),
    }


def parted(ranks: Ranks) -> None:
    """Rank 1 has another second number."""
    ranks.check_agreement("the loss", [0.5, 0.25 + ranks.rank * (ranks.rank == 1) * 2.0**-54])


def on_and_on(ranks: Ranks, updates: int, then: str) -> None:
    """Updates without end; rank 1 does something else after some."""
    total = torch.zeros(1_000, dtype=torch.float64)
    made = 0
    while True:
        ranks.report_alive(made)
        if made == updates:
            Path(then).with_suffix(f".{ranks.rank}").touch()
        if ranks.rank == 1 and made == updates and Path(then).name == "sleeps":
            time.sleep(600)
        if ranks.rank == 1 and made == updates and Path(then).name == "raises":
            raise ValueError("something of its own")
        ranks.all_reduce(total)
        made += 1
        time.sleep(0.001)


def odd_dots(ranks: Ranks) -> list[float]:
    """Inner products where rank 1 adds numbers up in another order."""
    problem = Network()
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, torch.float64)
    account = Account(Budget("updates", 1), Clock(CPU))
    objective = BoundObjective(problem, data, [0], account, ranks)
    a, b = torch.randn(2, 1, 1_001, generator=torch.Generator().manual_seed(0)).double()
    if ranks.rank == 1:
        dot = torch.dot
        torch.dot = lambda a, b: dot(a.flip(0), b.flip(0)) * (1 + 2**-50)
    return [float(each) for each in objective.dots((a, b), (a, a))]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (all_trained, exchanged, parted, on_and_on, odd_dots)
}


def start(
    size: int, folder: Path, name: str, *arguments: object, deadline: float = 60
) -> list[subprocess.Popen[bytes]]:
    """Start so many ranks as torchrun does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = [str(folder), name, json.dumps(arguments)]
    usual = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "BENCH_DEADLINE": str(deadline),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        # Whoever takes one for the other gets no place.
        "LOCAL_RANK": "0",
    }
    processes = []
    for rank in range(size):
        with (folder / f"{rank}.err").open("wb") as said:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.harness.ranked", *told],
                    env={**usual, "RANK": str(rank)},
                    stderr=said,
                )
            )
    return processes


def end(
    processes: Sequence[subprocess.Popen[bytes]], folder: Path, dead: int | None = None
) -> list[Any]:
    """Wait for all but the dead one, and return what each has left; None where that is nothing."""
    try:
        for rank, process in enumerate(processes):
            if rank != dead:
                process.wait(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    files = [folder / f"{rank}.pt" for rank in range(len(processes))]
    return [torch.load(file) if file.exists() else None for file in files]


def on_ranks(size: int, folder: Path, name: str, *arguments: object) -> list[Any]:
    """What a function returns on each of so many ranks."""
    return end(start(size, folder, name, *arguments), folder)


def worst(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest relative difference of θ and of what was measured."""

    def off(one: Tensor, other: Tensor) -> float:
        return float((one - other).abs().max() / other.abs().max())

    pairs = zip(found["values"], expected["values"], strict=True)
    return max(off(found["theta"], expected["theta"]), *(off(a, b) for a, b in pairs))


def _main(folder: Path, name: str, arguments: Sequence[Any]) -> None:
    file = folder / f"{os.environ['RANK']}.pt"

    def leave(value: object) -> None:
        torch.save(value, file.with_suffix(".new"))
        file.with_suffix(".new").rename(file)

    def on_hang(sentence: str) -> None:
        leave(f"hangs: {sentence}")
        os._exit(4)

    try:
        with ProcessGroup("cpu", on_hang) as ranks:
            leave(FUNCTIONS[name](ranks, *arguments))
    except BenchError as error:
        leave(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
