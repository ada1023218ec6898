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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

from harness.errors import Infrastructure
from harness.fleet import Progress
from harness.launch import Run, label_of
from harness.planning import Purpose, Trial
from harness.progress import Bars
from harness.records import Ledger
from harness.request import Request
from harness.spec import key_of

LOOK_SECONDS = 0.2
"""Between two looks at whether a signal has come."""


@dataclass(frozen=True)
class Job:
    """What a process is told first."""

    request: Request
    comparison_id: str
    beside: int
    argv: list[str]
    """The command line that trials are recorded under."""


@dataclass(frozen=True)
class Task:
    """A fleet to train."""

    trials: list[tuple[int, str, int, Purpose]]
    """Each by its method's number among all of the request, its label, seed and purpose."""
    digest: str


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


def digest_of(run: Run, group: Iterable[Trial]) -> str:
    """Return the SHA-256 of what a fleet's trials are found by on record: keys and sources."""
    return key_of([[trial.spec.key, run.source(trial)] for trial in group])


class Pool:
    """Trains fleets of one request, as many at a time as its machine is shared by."""

    def __init__(self, request: Request, points: Iterable[Iterable[Any]]) -> None:
        self._request = request
        every = (method for of_one in points for method in of_one)
        self._numbers = {id(method): number for number, method in enumerate(every)}

    def train(
        self, run: Run, groups: Sequence[Sequence[Trial]], bars: Bars
    ) -> tuple[list[list[int]], bool]:
        """Train all in turn; return their trials, and whether the store has everything.

        After a signal, or an error in one of the processes, nothing more is begun. Raises that
        error once the others have trained what they had; Infrastructure for a process that died.
        """
        if not groups:
            return [], True
        machine = run.machine
        count = min(machine.beside + 1, len(groups))
        threads = f"{machine.threads} thread" + ("" if machine.threads == 1 else "s")
        run.say(f"Fleets run in processes of their own: {count} at a time, {threads} each.")
        request = replace(self._request, device=machine.device.type, threads=machine.threads)
        job = Job(request, run.comparison_id, machine.beside, sys.argv)
        dealing = _Dealing(run, groups, [self._task(run, group) for group in groups], bars)
        try:
            for _ in range(count):
                dealing.begin(_Process(job))
            dealing.go_on()
        finally:
            dealing.end()
        if dealing.error is not None:
            raise dealing.error
        return dealing.begun, dealing.entered

    def _task(self, run: Run, group: Sequence[Trial]) -> Task:
        return Task(
            [
                (self._numbers[id(t.candidate.method)], t.candidate.label, t.spec.seed, t.purpose)
                for t in group
            ],
            digest_of(run, group),
        )


class _Process:
    """A process, and which fleet it trains."""

    def __init__(self, job: Job) -> None:
        self.connection, theirs = Pipe()
        # The terminal's Ctrl-C comes to all; this process alone answers it, and tells the others.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._popen = subprocess.Popen(
                # -P: a file of the user's that is called like a module must not be imported for it.
                [sys.executable, "-P", "-m", "harness.pool_process", str(theirs.fileno())],
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
        self.number: int | None = None
        self.given: list[Trial] = []
        """All trials that it was given so far."""
        self.closed: Closed | None = None
        self.bar = ExitStack()
        self.show: Callable[[Progress], None] = lambda progress: None
        self.tell(job)

    def tell(self, order: Job | Task | Stop | None) -> None:
        """Give an order; one to a dead process is lost, and that it died shows when it is heard."""
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

    def __init__(
        self,
        run: Run,
        groups: Sequence[Sequence[Trial]],
        tasks: Sequence[Task],
        bars: Bars,
    ) -> None:
        self.begun: list[list[int]] = [[] for _ in groups]
        self.entered = True
        self.error: BaseException | None = None
        self._run, self._groups, self._tasks, self._bars = run, groups, tasks, bars
        self._waiting = deque(range(len(groups)))
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
        process.number = None
        if not self._waiting or self.error is not None or self._run.interrupted:
            process.tell(None)
            return
        number = process.number = self._waiting.popleft()
        group = self._groups[number]
        process.given += group
        bar = self._bars.fleet(label_of(group), number + 1, len(self._groups))
        process.show = process.bar.enter_context(bar)
        process.tell(self._tasks[number])

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
            case list():
                assert process.number is not None
                self.begun[process.number] = told
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
            names = {int(each): each.name for each in signal.Signals}
            how = f"was killed by {names.get(-code, f'signal {-code}')}"
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
                f"{told} What was measured is recorded; the same command, without --fresh, goes "
                "on with what is missing."
            ),
            told,
        )

    def _end_trials(self, process: _Process, reason: str) -> list[int]:
        store, keys = self._run.store, {trial.spec.key for trial in process.given}
        trials = store.trials(self._run.comparison_id)
        ids = [t.id for t in trials if t.key in keys and t.status == "running"]
        for trial_id, taken in store.measurements(ids).items():
            last = taken[-1] if taken else None
            store.end(trial_id, "interrupted", reason, last.ledger if last else Ledger(), last)
        return ids

    def _fail(self, error: BaseException, told: str) -> None:
        if self.error is not None or self._run.interrupted:
            return
        self.error = error
        if any(other.number is not None for other in self._living()):
            self._say(f"{told} The fleets beside it are trained to their end; no other is begun.")

    def _called(self, process: _Process) -> str:
        return "a fleet" if process.number is None else label_of(self._groups[process.number])


def _unpickled(error: bytes | None, told: str) -> BaseException:
    """Return what a process raised, or what can be told of it where it cannot be had here."""
    try:
        found: BaseException = pickle.loads(error or b"")
    except Exception:
        return RuntimeError(told)
    return found
