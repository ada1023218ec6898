"""What a store can take: leases, measurements and heartbeats a second, by how many ask at once.

`BENCH_STORE=URL python -m benchmarks.distributed.stores COMPARISON` is one worker: it reads what to
do from its standard input, a line each, does it over and over for some seconds, and says how often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from sqlalchemy import create_engine, make_url, text

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.results import Store
from benchmarks.start import ROOT

POSTGRES = "BENCH_TEST_POSTGRES_URL"
FLEETS = 1_024
"""That wait to be leased."""
ROWS = 10
"""Measurements of a flush."""
LEASE, MEASUREMENT, HEARTBEAT = "lease", "measurement", "heartbeat"
OPERATIONS = (LEASE, MEASUREMENT, HEARTBEAT)


def measure(smoke: bool) -> dict[str, Any]:
    """Return by store and operation what workers reached, by their number.

    Each is a list of operations a second, a round an item, and the longest that one has taken.
    """
    workers, rounds, seconds = ((1, 2), 1, 0.1) if smoke else ((1, 4, 16), 3, 0.7)
    found = {}
    for name, place in PLACES.items():
        with place() as url:
            if url is not None:
                found[name] = _reached(url, workers, rounds, seconds)
    return found


def _reached(url: str, workers: Sequence[int], rounds: int, seconds: float) -> dict[str, Any]:
    """Ask one store, in turns by one worker, by some and by many."""
    comparison = _filled(url)
    found: dict[str, Any] = {
        operation: {str(number): {"rates": [], "longest": 0.0} for number in workers}
        for operation in OPERATIONS
    }
    with ExitStack() as stack:
        every = [stack.enter_context(_worker(url, comparison)) for _ in range(max(workers))]
        for worker in every:
            # Its first line says that it is ready.
            _pipe(worker.stdout).readline()
        for _ in range(rounds):
            for operation in OPERATIONS:
                for number in workers:
                    told = _at_once(every[:number], operation, seconds)
                    reached = found[operation][str(number)]
                    reached["rates"].append(sum(each["rate"] for each in told))
                    longest = max(each["longest"] for each in told)
                    reached["longest"] = max(reached["longest"], longest)
    return found


def _at_once(
    workers: Sequence[subprocess.Popen[str]], operation: str, seconds: float
) -> list[dict[str, float]]:
    for worker in workers:
        _pipe(worker.stdin).write(f"{operation} {seconds}\n")
        _pipe(worker.stdin).flush()
    return [json.loads(_pipe(worker.stdout).readline()) for worker in workers]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def _worker(url: str, comparison: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker; that its input closes ends it."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.distributed.stores", comparison],
        cwd=ROOT,
        # A URL may hold a password, and command lines are public.
        env={**os.environ, "BENCH_STORE": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        _pipe(process.stdin).close()


@contextmanager
def sqlite() -> Iterator[str]:
    """Yield the URL of a store in a folder of its own."""
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'bench.db'}"


@contextmanager
def postgresql() -> Iterator[str | None]:
    """Yield the URL of a new database on the server that the environment names, if it does."""
    server = os.environ.get(POSTGRES)
    if server is None:
        yield None
        return
    name = f"bench_stores_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


PLACES: Mapping[str, Callable[[], AbstractContextManager[str | None]]] = {
    "SQLite": sqlite,
    "PostgreSQL": postgresql,
}
"""What keeps a store → a place for one of the benchmark's own; None where there is none."""
PROTOCOL = Protocol(
    problem="curves",
    parameters={},
    preset="quick",
    data="curves",
    data_digest="",
    initialization="",
    objective="",
    metric="train_squared_error",
    direction="lower",
    budget=Budget("updates", 1.0),
    precision="fp32",
    evaluations=24,
)


def _filled(url: str) -> str:
    """Enter a comparison with fleets that nobody trains, and return its id."""
    with Store.open(url) as store:
        id = store.new_comparison(PROTOCOL, "comparison", "bench compare", shared=True)
        store.add_fleets(id, [(1.0 + number, {"number": number}) for number in range(FLEETS)])
    return id


def begin(store: Store, comparison: str, spec: TrialSpec, owner: str = "benchmark") -> int:
    """Enter a trial as running, and return its id."""
    return store.begin(
        comparison,
        spec,
        label=spec.method.name,
        purpose="reported",
        source_digest="",
        context={},
        info={},
        fleet_rows=1,
        seconds_are="shared",
        owner=owner,
    )


class Worker:
    """Does to a store what a rank does."""

    def __init__(self, store: Store, comparison: str) -> None:
        self._store, self._comparison = store, comparison
        self._name = f"worker:{os.getpid()}"
        self._index = 0
        # A seed of its own is a trial of its own.
        spec = TrialSpec(PROTOCOL, MethodSpec("nag", "torch", {}), os.getpid())
        self._trial = begin(store, comparison, spec, self._name)

    def lease(self) -> None:
        """Lease the longest fleet that waits, and give it back."""
        fleet = self._store.lease(self._name, self._comparison)
        if fleet is not None:
            self._store.end_fleet(fleet.id, self._name, "planned")

    def measurement(self) -> None:
        """Enter some measurements at once."""
        first = self._index
        self._index += ROWS
        self._store.record(
            [
                (
                    self._trial,
                    Measurement(index, Ledger(updates=index), 1.0, 1.0, 1.0, 1.0, {"lam": 1.0}),
                )
                for index in range(first, self._index)
            ]
        )

    def heartbeat(self) -> None:
        """Say that the trial that it trains is alive."""
        self._store.heartbeat(self._name, [self._trial])


def over_and_over(call: Callable[[], None], seconds: float) -> dict[str, float]:
    """Return how often a second something can be done, and the seconds of the longest."""
    count, longest = 0, 0.0
    start = before = time.perf_counter()
    while before - start < seconds:
        call()
        now = time.perf_counter()
        count, longest, before = count + 1, max(longest, now - before), now
    return {"rate": count / (before - start), "longest": longest}


def _main(url: str, comparison: str) -> None:
    with Store.open(url, create=False) as store:
        worker = Worker(store, comparison)
        print("ready", flush=True)
        for line in sys.stdin:
            operation, seconds = line.split()
            told = over_and_over(getattr(worker, operation), float(seconds))
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _main(os.environ["BENCH_STORE"], sys.argv[1])
