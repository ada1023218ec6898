"""Fleets over several processes: each trains and records its own, this one deals them out.

A process begins with nothing and is told plain values, from which it prepares everything anew:
what a user's file defines cannot be sent. It ends when this one does.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import wait

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import FleetRecord, Ledger
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, label_of
from bench.harness.execution.trainer import Here
from bench.harness.planning.fleets import Trial
from bench.harness.planning.placement import processes, seconds_of
from bench.harness.planning.request import Request
from bench.harness.store.owner import process_name
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import signal_name
from bench.harness.training.machine import Machine

LOOK_SECONDS = 0.2
"""Between two looks at whether a signal has come."""


@dataclass(frozen=True)
class Job:
    """What a process is told first."""

    request: Request
    comparison_id: str
    argv: list[str]
    """The command line that trials are recorded under."""


@dataclass(frozen=True)
class Stop:
    """Ends what is running: between two updates, or at once."""

    signal: str
    at_once: bool = False


@dataclass(frozen=True)
class Closed:
    """The last that is heard of a process."""

    entered: bool
    """Whether the store has everything."""
    signal: str
    """What stopped it, if anything."""
    error: tuple[bytes | None, str] | None
    """Pickled where that can be done, and in words."""


class Pool:
    """Trains fleets of one request, as many at a time as its machine is shared by."""

    at_once = 1

    def __init__(self, request: Request) -> None:
        self._request = request

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the share of one process; the whole machine where several do not pay.

        The plan decides whether they do, not what is left of it: what is on record is found where
        the threads are the same.
        """
        seconds = [seconds_of(group, run.problem, run.data) for group in groups]
        needs = [run.memory.need([t.candidate.method for t in g], len(g)) for g in groups]
        shares = min(processes(seconds, run.machine.threads), run.memory.side_by_side(needs))
        return run.machine.shared_by(shares)

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all, the longest first; say whether the store has everything.

        After a signal, or an error in one of the processes, nothing more is begun. Raises that
        error once the others have trained what they had; Infrastructure for a process that died.
        """
        first = run.task(fleets[0])
        if not first.beside:
            return Here().train(run, fleets, bars)
        count = min(first.beside + 1, len(fleets))
        threads = f"{first.threads} thread" + ("" if first.threads == 1 else "s")
        run.say(f"Fleets run in processes of their own: {count} at a time, {threads} each.")
        request = replace(self._request, device=run.machine.device.type, threads=first.threads)
        job = Job(request, run.comparison_id, sys.argv)
        dealing = _Dealing(run, sorted(fleets, key=lambda fleet: -fleet.cost), bars)
        # This process trains nothing, and says that the comparison is being run.
        with run.recorder():
            try:
                for _ in range(count):
                    dealing.begin(_Process(job))
                dealing.go_on()
            finally:
                dealing.end()
        if dealing.error is not None:
            raise dealing.error
        return dealing.entered


class _Process:
    """A process, and which fleet it trains."""

    def __init__(self, job: Job) -> None:
        self.connection, theirs = Pipe()
        # The terminal's Ctrl-C comes to all; this process alone answers it, and tells the others.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._popen = subprocess.Popen(
                # -P: a file of the user's that is called like a module must not be imported for it.
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "bench.harness.execution.pool_process",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "OMP_NUM_THREADS": str(job.request.threads),
                },
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.owner = process_name(self._popen.pid)
        self.fleet: FleetRecord | None = None
        self.closed: Closed | None = None
        self.bar = ExitStack()
        self.show: Callable[[Progress], None] = lambda progress: None
        self.tell(job)

    def tell(self, order: Job | int | Stop | None) -> None:
        """Give an order, or the number of a fleet to train.

        One to a dead process is lost, and that it died shows when it is heard.
        """
        with suppress(OSError):
            self.connection.send(order)

    def wait(self) -> int:
        """Return its exit code once it has ended; what number of signal, negative, killed it."""
        self.bar.close()
        code = self._popen.wait()
        self.connection.close()
        return code


class _Dealing:
    """Who trains what, and what has come of it."""

    def __init__(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> None:
        self.entered = True
        self.error: BaseException | None = None
        self._run, self._fleets, self._bars = run, fleets, bars
        self._waiting = deque(fleets)
        self._processes: list[_Process] = []
        self._said = ""

    def begin(self, process: _Process) -> None:
        """Give a new process its first fleet."""
        self._processes.append(process)
        self._deal(process)

    def go_on(self) -> None:
        """Hear the processes until all have ended."""
        asked = False
        while living := self._living():
            heard = wait([process.connection for process in living], LOOK_SECONDS)
            for process in living:
                if process.connection in heard:
                    self._hear(process)
            if self._run.interrupted and not asked:
                asked = True
                for process in self._living():
                    process.tell(Stop(self._run.interrupted.name))

    def end(self) -> None:
        """End at once those that still run, and wait until they have recorded that."""
        for process in self._living():
            process.tell(Stop(self._run.interrupted.name or "SIGTERM", at_once=True))
        for process in self._living():
            process.wait()

    def _living(self) -> list[_Process]:
        return [process for process in self._processes if not process.connection.closed]

    def _deal(self, process: _Process) -> None:
        process.bar.close()
        process.fleet = None
        if not self._waiting or self.error is not None or self._run.interrupted:
            process.tell(None)
            return
        fleet = process.fleet = self._waiting.popleft()
        turn = len(self._fleets) - len(self._waiting)
        bar = self._bars.fleet(self._called(process), turn, len(self._fleets))
        process.show = process.bar.enter_context(bar)
        process.tell(fleet.number)

    def _hear(self, process: _Process) -> None:
        try:
            told = process.connection.recv()
        except (EOFError, OSError):
            self._ended(process)
            return
        match told:
            case Progress():
                process.show(told)
            case str():
                self._say(told)
            case int():
                self._deal(process)
            case Closed():
                process.closed = told

    def _say(self, sentence: str) -> None:
        """Say what several processes have to say once."""
        if sentence != self._said:
            self._said = sentence
            self._run.say(sentence)

    def _ended(self, process: _Process) -> None:
        code, closed = process.wait(), process.closed
        if closed is None:
            self._died(process, code)
            return
        self.entered &= closed.entered
        interrupted = self._run.interrupted
        interrupted.name = interrupted.name or closed.signal
        if closed.error is not None:
            error = _unpickled(*closed.error)
            self._fail(error, f"{self._called(process)} failed ({closed.error[1]}).")

    def _died(self, process: _Process, code: int) -> None:
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal_name(-code)}"
        # Where the store is away, the next command finds that their process is gone.
        ids: list[int] = []
        with suppress(Infrastructure):
            ids = self._end_trials(process, f"its process died (it {how})")
        which = f" (trials {', '.join(map(str, ids))})" if ids else ""
        told = f"The process of {self._called(process)}{which} {how}."
        if code == -signal.SIGKILL:
            told += " Somebody did that, or the system, for want of memory."
        self._fail(
            Infrastructure(
                f"{told} What was measured is recorded; `bench resume {self._run.comparison_id}` "
                "goes on from there."
            ),
            told,
        )

    def _end_trials(self, process: _Process, reason: str) -> list[int]:
        store = self._run.store
        mine = [f for f in store.fleets(self._run.comparison_id) if f.owner == process.owner]
        begun = [trial_id for fleet in mine for trial_id in fleet.trials]
        ids = [i for i in begun if store.trial(i).status == "running"]
        for trial_id, taken in store.measurements(ids).items():
            last = taken[-1] if taken else None
            store.end(trial_id, "interrupted", reason, last.ledger if last else Ledger(), last)
        for fleet in mine:
            store.end_fleet(fleet.id, process.owner, "planned")
        return ids

    def _fail(self, error: BaseException, told: str) -> None:
        if self.error is not None or self._run.interrupted:
            return
        self.error = error
        if any(other.fleet is not None for other in self._living()):
            self._say(f"{told} The fleets beside it are trained to their end; no other is begun.")

    def _called(self, process: _Process) -> str:
        return "a fleet" if process.fleet is None else label_of(self._run.task(process.fleet))


def _unpickled(error: bytes | None, told: str) -> BaseException:
    """Return what a process raised, or what can be told of it where it cannot be had here."""
    try:
        found: BaseException = pickle.loads(error or b"")
    except Exception:
        return RuntimeError(told)
    return found
