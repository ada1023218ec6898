"""Ranks under torchrun: started, listened to and stopped by the command that needs them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import FleetRecord
from bench.harness.execution.messages import (
    LISTENER_VARIABLE,
    FleetProgress,
    Message,
    Notice,
    RankError,
    RankFailure,
    StoreIncomplete,
    parse_message,
)
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, fleet_label
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import Plan, write_plan
from bench.harness.planning.request import Mode
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import signal_name
from bench.harness.training.machine import Machine

WORKER_MODULE = "-m bench.harness.execution.worker"
"""The program that torchrun starts."""
INTERRUPTED_CODE = 130
"""The exit code of a rank that a signal stopped."""
POLL_SECONDS = 0.2
"""Seconds between two checks for a signal."""


class TorchrunTrainer:
    """Trains fleets on ranks of this machine: each rank its own, or all ranks one at a time."""

    def __init__(self, plan: Plan, nproc: int, mode: Mode) -> None:
        self._plan, self._nproc, self._mode = plan, nproc, mode
        self.min_fleets = nproc if mode == "trials" else 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the share of one rank."""
        machine = run.machine.shared_by(self._nproc)
        is_local = self._plan.request.plan is None
        if is_local and run.machine.device.type == "cpu":
            self._require_memory(run, groups)
        if self._mode == "data":
            return replace(machine, other_fleets=0, ranks=self._nproc)
        return machine

    def _require_memory(self, run: Run, groups: Sequence[Sequence[Trial]]) -> None:
        """Raise Infrastructure unless the memory of this machine is enough for all ranks."""
        needs = [run.memory.bytes_needed([t.candidate.method for t in g], len(g)) for g in groups]
        if self._mode == "data":
            needs = [max(needs)] * self._nproc
        ranks = min(self._nproc, len(needs))
        if (fit := run.memory.processes_that_fit(needs)) < ranks:
            raise Infrastructure(
                f"The memory of this machine is enough for {fit} ranks, but {ranks} were "
                f"requested: write --nproc-per-node {fit}, or a smaller batch or preset."
            )

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all fleets; return whether all results are in the store.

        Raises the error that ended a rank, or Infrastructure if a rank died.
        """
        first = run.task(fleets[0])
        threads = f"{first.threads} thread" + ("" if first.threads == 1 else "s")
        how = "each its own fleets" if self._mode == "trials" else "all together on each fleet"
        run.say(f"torchrun starts {self._nproc} ranks, {threads} each; they train {how}.")
        path = write_plan_file(run, self._plan, self._mode, None)
        run.store.share(run.comparison_id, self._mode == "trials")
        monitor = _RankMonitor(run, fleets, bars)
        # torchrun creates a folder for logs even if it writes none.
        scratch = TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        process = self._start(run, path, first.threads, scratch.name)
        log = path.with_suffix(".log")
        try:
            monitor.listen(process, log)
        finally:
            # Ranks that still run notice the death of their parent, and end in order.
            process.kill()
            process.wait()
            process.stdin.close()  # type: ignore[union-attr]
            scratch.cleanup()
            with suppress(Infrastructure):
                # Other workers must not continue fleets of a command that was stopped.
                run.store.share(run.comparison_id, False)
                run.store.end_dead()
        if not run.interrupted:
            monitor.raise_failure(process.returncode, log)
        for file in (path, log):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # The folder may have files of other comparisons.
            path.parent.rmdir()
        return monitor.stored

    def _start(self, run: Run, plan: Path, threads: int, scratch: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "bench.harness.execution.elastic"),
                *("--standalone", "--nnodes=1", f"--nproc-per-node={self._nproc}"),
                *("--max-restarts=0", f"--log-dir={scratch}", *WORKER_MODULE.split(), str(plan)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # So that Ctrl-C reaches only this process, which then stops the ranks.
            start_new_session=True,
            env={
                **os.environ,
                LISTENER_VARIABLE: "1",
                # Not on the command line, which is public: the URL may contain a password.
                "BENCH_STORE": run.store.url,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                # A user's file with the name of a module must not be imported instead of it.
                "PYTHONSAFEPATH": "1",
            },
        )


class _RankMonitor:
    """Receives the messages of the ranks: shows progress and notices, and keeps errors."""

    def __init__(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> None:
        self.stored = True
        """Whether all results are in the store."""
        self._run, self._bars, self._open_bars = run, bars, ExitStack()
        self._fleets = {fleet.number: fleet for fleet in fleets}
        self._shown: dict[int, Callable[[Progress], None]] = {}
        self._last_notice = ""
        self._error: RankError | None = None
        self._failure: RankFailure | None = None

    def listen(self, process: subprocess.Popen[str], log: Path) -> None:
        """Receive messages until the process ends; write its other output to `log`."""
        lines: SimpleQueue[str | None] = SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process, lines.put), daemon=True)
        reader.start()
        with self._run.recorder(), log.open("w") as rest, self._open_bars:
            terminated = False
            while (line := _next_line(lines)) is not None:
                if line and (message := parse_message(line)):
                    self._receive(message)
                else:
                    rest.write(line)
                if self._run.interrupted and not terminated:
                    terminated = True
                    process.terminate()

    def _receive(self, message: Message) -> None:
        match message:
            case FleetProgress():
                self._show(message)
            case Notice(sentence):
                if sentence != self._last_notice:
                    self._last_notice = sentence
                    self._run.say(sentence)
            case RankError():
                # The first error is the cause; the others follow from it.
                self._error = self._error or message
            case RankFailure():
                self._failure = message
            case StoreIncomplete():
                self.stored = False

    def _show(self, message: FleetProgress) -> None:
        if message.fleet not in self._shown and message.fleet in self._fleets:
            label = fleet_label(self._run.task(self._fleets[message.fleet]))
            turn, total = len(self._shown) + 1, len(self._fleets)
            bar = self._bars.fleet(label, turn, total)
            self._shown[message.fleet] = self._open_bars.enter_context(bar)
        if message.fleet in self._shown:
            self._shown[message.fleet](message.progress)

    def raise_failure(self, code: int, log: Path) -> None:
        """Raise the error that ended the ranks, if any; `code` is torchrun's exit code."""
        if code == 0:
            return
        if self._failure is not None and self._failure.exit_code == INTERRUPTED_CODE:
            self._run.interrupted.name = f"a signal to rank {self._failure.rank}"
            return
        id = self._run.comparison_id
        advice = f"The measurements are recorded; `bench resume {id}` goes on with what is missing."
        if self._failure is not None and self._failure.exit_code < 0:
            raise Infrastructure(
                f"Rank {self._failure.rank} (process {self._failure.pid}) was killed by "
                f"{signal_name(-self._failure.exit_code)}, so all ranks were stopped. {advice}"
            )
        if self._error is not None:
            error = Usage if self._error.exit_code == Usage.exit_code else Infrastructure
            raise error(f"{self._error.sentence.rstrip('.')}. {advice}")
        raise Infrastructure(
            f"torchrun ended with exit code {code}; its output is in {log}. {advice}"
        )


def write_plan_file(run: Run, plan: Plan, mode: Mode, path: Path | None) -> Path:
    """Write the plan for the ranks to `path`, or next to the store; return its path."""
    path = path or run.store.artifacts.parent / "plans" / f"{run.comparison_id}.json"
    # A URL with a password is left out of the file.
    url = run.store.url if run.store.url == run.store.redacted_url else None
    fleets = run.store.fleets(run.comparison_id)
    tasks = [fleet.task for fleet in fleets]
    write_plan(path, run.comparison_id, mode, plan, url, tasks)
    return path


class ExternalTrainer:
    """Stands for ranks on other machines: it records their fleets, and cannot train them here."""

    min_fleets = 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the machine of a rank; the number of ranks is not known yet."""
        # 0 ranks match no recorded trial, so none is reused.
        return replace(run.machine, ranks=0)

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Raise Usage, which says how to train the fleets."""
        raise Usage(
            f"Fleets that wait for ranks which train them together (--mode data): {len(fleets)}. "
            "Start torchrun again with the plan, or train each fleet on several ranks of this "
            f"machine: bench resume {run.comparison_id} --nproc-per-node 2."
        )


def instructions(run: Run, path: Path, fleets: int, mode: Mode) -> str:
    """Return the instructions for a comparison whose fleets are trained on other machines."""
    id, store = run.comparison_id, run.store.redacted_url
    many = "1 fleet" if fleets == 1 else f"{fleets} fleets"
    alone = "\nor, any number of times, bench worker --exit-when-empty" if mode == "trials" else ""
    return (
        f"Comparison {id} is recorded in {store} with {many} to train. On each machine, run:\n"
        f"  torchrun --nnodes=… --nproc-per-node=… {WORKER_MODULE} {path}{alone}.\n"
        f"After that, bench resume {id} shows the result."
    )


def _read_lines(process: subprocess.Popen[str], put: Callable[[str | None], None]) -> None:
    assert process.stderr is not None
    # Closed in this thread, because closing it elsewhere would disturb a waiting read.
    with process.stderr as lines:
        for line in lines:
            put(line)
    put(None)


def _next_line(lines: SimpleQueue[str | None]) -> str | None:
    """Return the next line, "" if none arrives within POLL_SECONDS, or None at the end."""
    try:
        return lines.get(timeout=POLL_SECONDS)
    except Empty:
        return ""
