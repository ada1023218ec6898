"""A pool of processes that train and record fleets; this process assigns the fleets to them.

A process receives plain values and prepares the request from them, because objects of a user's file
cannot be sent between processes. It ends when this process ends.
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
from bench.harness.core.invocation import argv
from bench.harness.core.records import FleetRecord, Ledger
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, fleet_label
from bench.harness.execution.trainer import LocalTrainer
from bench.harness.planning.fleets import Trial
from bench.harness.planning.placement import estimated_seconds, process_count
from bench.harness.planning.request import Request
from bench.harness.store.owner import process_name
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import signal_name
from bench.harness.training.machine import Machine

POLL_SECONDS = 0.2
"""Seconds between two checks for a signal."""


@dataclass(frozen=True)
class PoolSetup:
    """The first message to a process: everything that it needs to start."""

    request: Request
    comparison_id: str
    argv: list[str]
    """The command line that the trials' records contain."""


@dataclass(frozen=True)
class StopOrder:
    """An order to stop training: after the present update, or immediately."""

    signal: str
    immediately: bool = False


@dataclass(frozen=True)
class ProcessResult:
    """The last message of a process."""

    stored: bool
    """Whether all results are in the store."""
    signal: str
    """The signal that stopped the process, or ""."""
    error: tuple[bytes | None, str] | None
    """The error that ended the process: pickled, if it can be, and as text."""


class PoolTrainer:
    """Trains fleets of one request in several processes at the same time."""

    min_fleets = 1

    def __init__(self, request: Request) -> None:
        self._request = request

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the share of one process; the whole machine if several processes save no time.

        This depends on the whole plan, not on the fleets that are left: recorded trials are reused
        only if the number of threads is equal.
        """
        seconds = [estimated_seconds(group, run.problem, run.data) for group in groups]
        needs = [run.memory.bytes_needed([t.candidate.method for t in g], len(g)) for g in groups]
        shares = min(
            process_count(seconds, run.machine.threads), run.memory.processes_that_fit(needs)
        )
        return run.machine.shared_by(shares)

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all fleets, the longest first; return whether all results are in the store.

        After a signal or an error in one of the processes, no further fleet is started. Raises that
        error when the other processes have finished their fleets; Infrastructure if a process died.
        """
        first = run.task(fleets[0])
        if not first.beside:
            return LocalTrainer().train(run, fleets, bars)
        count = min(first.beside + 1, len(fleets))
        threads = f"{first.threads} thread" + ("" if first.threads == 1 else "s")
        run.say(f"Fleets are trained in separate processes: {count} at a time, {threads} each.")
        request = replace(self._request, device=run.machine.device.type, threads=first.threads)
        setup = PoolSetup(request, run.comparison_id, argv())
        dispatcher = _Dispatcher(run, sorted(fleets, key=lambda fleet: -fleet.cost), bars)
        # This process trains nothing; its recorder sends the heartbeats of the comparison.
        with run.recorder():
            try:
                for _ in range(count):
                    dispatcher.begin(_Process(setup))
                dispatcher.run()
            finally:
                dispatcher.end()
        if dispatcher.error is not None:
            raise dispatcher.error
        return dispatcher.stored


class _Process:
    """A process of the pool, and the fleet that it trains."""

    def __init__(self, setup: PoolSetup) -> None:
        self.connection, theirs = Pipe()
        # A Ctrl-C in the terminal reaches all processes; only this one handles it.
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._popen = subprocess.Popen(
                # -P: a user's file with the name of a module must not be imported instead of it.
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
                    "OMP_NUM_THREADS": str(setup.request.threads),
                },
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
            theirs.close()
        self.owner = process_name(self._popen.pid)
        self.fleet: FleetRecord | None = None
        self.result: ProcessResult | None = None
        self.bar = ExitStack()
        self.show: Callable[[Progress], None] = lambda progress: None
        self.send(setup)

    def send(self, order: PoolSetup | int | StopOrder | None) -> None:
        """Send an order, the number of a fleet to train, or None if there is no further fleet.

        If the process has died, the order is lost; the next receive finds that out.
        """
        with suppress(OSError):
            self.connection.send(order)

    def wait(self) -> int:
        """Wait until the process ends; return its exit code, or −n if signal n killed it."""
        self.bar.close()
        code = self._popen.wait()
        self.connection.close()
        return code


class _Dispatcher:
    """Assigns fleets to processes, and receives their messages."""

    def __init__(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> None:
        self.stored = True
        self.error: BaseException | None = None
        self._run, self._fleets, self._bars = run, fleets, bars
        self._waiting = deque(fleets)
        self._processes: list[_Process] = []
        self._last_notice = ""

    def begin(self, process: _Process) -> None:
        """Give a new process its first fleet."""
        self._processes.append(process)
        self._assign(process)

    def run(self) -> None:
        """Receive messages until all processes have ended."""
        stopped = False
        while running := self._running():
            ready = wait([process.connection for process in running], POLL_SECONDS)
            for process in running:
                if process.connection in ready:
                    self._receive(process)
            if self._run.interrupted and not stopped:
                stopped = True
                for process in self._running():
                    process.send(StopOrder(self._run.interrupted.name))

    def end(self) -> None:
        """Stop all running processes immediately, and wait until they have recorded that."""
        for process in self._running():
            process.send(StopOrder(self._run.interrupted.name or "SIGTERM", immediately=True))
        for process in self._running():
            process.wait()

    def _running(self) -> list[_Process]:
        return [process for process in self._processes if not process.connection.closed]

    def _assign(self, process: _Process) -> None:
        process.bar.close()
        process.fleet = None
        if not self._waiting or self.error is not None or self._run.interrupted:
            process.send(None)
            return
        fleet = process.fleet = self._waiting.popleft()
        turn = len(self._fleets) - len(self._waiting)
        bar = self._bars.fleet(self._label(process), turn, len(self._fleets))
        process.show = process.bar.enter_context(bar)
        process.send(fleet.number)

    def _receive(self, process: _Process) -> None:
        try:
            message = process.connection.recv()
        except (EOFError, OSError):
            self._finish(process)
            return
        match message:
            case Progress():
                process.show(message)
            case str():
                self._say(message)
            case int():
                self._assign(process)
            case ProcessResult():
                process.result = message

    def _say(self, sentence: str) -> None:
        """Print a sentence once, although several processes may send it."""
        if sentence != self._last_notice:
            self._last_notice = sentence
            self._run.say(sentence)

    def _finish(self, process: _Process) -> None:
        code, result = process.wait(), process.result
        if result is None:
            self._handle_death(process, code)
            return
        self.stored &= result.stored
        interrupted = self._run.interrupted
        interrupted.name = interrupted.name or result.signal
        if result.error is not None:
            error = _unpickled(*result.error)
            self._fail(error, f"{self._label(process)} failed ({result.error[1]}).")

    def _handle_death(self, process: _Process, code: int) -> None:
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal_name(-code)}"
        # If the store is away, the next command finds that the process has died.
        ids: list[int] = []
        with suppress(Infrastructure):
            ids = self._end_trials(process, f"its process died (it {how})")
        which = f" (trials {', '.join(map(str, ids))})" if ids else ""
        message = f"The process of {self._label(process)}{which} {how}."
        if code == -signal.SIGKILL:
            message += " A person did that, or the system because memory ran out."
        id = self._run.comparison_id
        self._fail(
            Infrastructure(
                f"{message} The measurements are recorded; `bench resume {id}` goes on from there."
            ),
            message,
        )

    def _end_trials(self, process: _Process, reason: str) -> list[int]:
        store = self._run.store
        fleets = [f for f in store.fleets(self._run.comparison_id) if f.owner == process.owner]
        started = [trial_id for fleet in fleets for trial_id in fleet.trials]
        ids = [i for i in started if store.trial(i).status == "running"]
        for trial_id, measurements in store.measurements(ids).items():
            last = measurements[-1] if measurements else None
            store.end(trial_id, "interrupted", reason, last.ledger if last else Ledger(), last)
        for fleet in fleets:
            store.end_fleet(fleet.id, process.owner, "planned")
        return ids

    def _fail(self, error: BaseException, message: str) -> None:
        if self.error is not None or self._run.interrupted:
            return
        self.error = error
        if any(other.fleet is not None for other in self._running()):
            self._say(
                f"{message} Fleets that are being trained are finished; no other fleet is started."
            )

    def _label(self, process: _Process) -> str:
        return "a fleet" if process.fleet is None else fleet_label(self._run.task(process.fleet))


def _unpickled(error: bytes | None, message: str) -> BaseException:
    """Return the error of a process; a RuntimeError with its text if it cannot be unpickled."""
    try:
        original: BaseException = pickle.loads(error or b"")
    except Exception:
        return RuntimeError(message)
    return original
