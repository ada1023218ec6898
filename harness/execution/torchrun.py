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
from bench.harness.execution.messages import TOLD, Failed, Kept, Moved, Said, Told, Wrong, heard
from bench.harness.execution.progress import Bars
from bench.harness.execution.run import Run, label_of
from bench.harness.planning.fleets import Trial
from bench.harness.planning.plan import Plan, write_plan
from bench.harness.planning.request import Mode
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import signal_name
from bench.harness.training.machine import Machine

WORKER = "-m bench.harness.execution.worker"
"""What torchrun is given to run."""
INTERRUPTED = 130
"""The exit code of a rank that was asked to stop."""
LOOK_SECONDS = 0.2
"""Between two looks at whether a signal has come."""


class Torchrun:
    """Trains fleets on ranks of this machine: each its own, or all together one after another."""

    def __init__(self, plan: Plan, nproc: int, mode: Mode) -> None:
        self._plan, self._nproc, self._mode = plan, nproc, mode
        self.at_once = nproc if mode == "trials" else 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the share of one rank."""
        machine = run.machine.shared_by(self._nproc)
        here = self._plan.request.plan is None
        if here and run.machine.device.type == "cpu":
            self._see_room(run, groups)
        if self._mode == "data":
            return replace(machine, beside=0, ranks=self._nproc)
        return machine

    def _see_room(self, run: Run, groups: Sequence[Sequence[Trial]]) -> None:
        """Raise Infrastructure where the memory of this machine does not do for all ranks."""
        needs = [run.memory.need([t.candidate.method for t in g], len(g)) for g in groups]
        if self._mode == "data":
            needs = [max(needs)] * self._nproc
        ranks = min(self._nproc, len(needs))
        if (fit := run.memory.side_by_side(needs)) < ranks:
            raise Infrastructure(
                f"The memory of this machine does for {fit} ranks, and {ranks} were asked for: "
                f"write --nproc-per-node {fit}, or a smaller batch or preset."
            )

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Train all; say whether the store has everything.

        Raises what ended a rank; Infrastructure, which says how to go on, for one that died.
        """
        first = run.task(fleets[0])
        threads = f"{first.threads} thread" + ("" if first.threads == 1 else "s")
        how = "each its own fleets" if self._mode == "trials" else "all together on each fleet"
        run.say(f"torchrun starts {self._nproc} ranks, {threads} each; they train {how}.")
        path = write_for(run, self._plan, self._mode, None)
        run.store.share(run.comparison_id, self._mode == "trials")
        listening = _Listening(run, fleets, bars)
        # torchrun makes a folder of its own for logs, whether it writes any or not.
        scratch = TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        process = self._start(run, path, first.threads, scratch.name)
        lines: SimpleQueue[str | None] = SimpleQueue()
        reading = threading.Thread(target=_read, args=(process, lines.put), daemon=True)
        reading.start()
        log = path.with_suffix(".log")
        try:
            with run.recorder(), log.open("w") as rest, listening.bars:
                asked = False
                while (line := _next(lines)) is not None:
                    if line and (told := heard(line)):
                        listening.hear(told)
                    else:
                        rest.write(line)
                    if run.interrupted and not asked:
                        asked = True
                        process.terminate()
        finally:
            # Ranks that still run see that their parent has gone, and end in order.
            process.kill()
            process.wait()
            process.stdin.close()  # type: ignore[union-attr]
            scratch.cleanup()
            with suppress(Infrastructure):
                # Workers elsewhere may not go on with what this command was stopped in.
                run.store.share(run.comparison_id, False)
                run.store.end_dead()
        if not run.interrupted:
            listening.conclude(process.returncode, log)
        for file in (path, log):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # There may be others in it.
            path.parent.rmdir()
        return listening.entered

    def _start(self, run: Run, plan: Path, threads: int, scratch: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "bench.harness.execution.elastic"),
                *("--standalone", "--nnodes=1", f"--nproc-per-node={self._nproc}"),
                *("--max-restarts=0", f"--log-dir={scratch}", *WORKER.split(), str(plan)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C reaches this process alone, which then asks the ranks to stop.
            start_new_session=True,
            env={
                **os.environ,
                TOLD: "1",
                # A URL may hold a password, and command lines are public.
                "BENCH_STORE": run.store.url,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                # A file of the user's that is called like a module must not be imported for it.
                "PYTHONSAFEPATH": "1",
            },
        )


class _Listening:
    """What has been heard of the ranks so far."""

    def __init__(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> None:
        self.entered, self.bars = True, ExitStack()
        self._run, self._bars = run, bars
        self._fleets = {fleet.number: fleet for fleet in fleets}
        self._shown: dict[int, Callable[[Progress], None]] = {}
        self._said = ""
        self._wrong: Wrong | None = None
        self._failed: Failed | None = None

    def hear(self, told: Told) -> None:
        """Show it or keep it."""
        match told:
            case Moved():
                self._show(told)
            case Said(sentence):
                if sentence != self._said:
                    self._said = sentence
                    self._run.say(sentence)
            case Wrong():
                # What the first could not do is the cause; what the others say follows from it.
                self._wrong = self._wrong or told
            case Failed():
                self._failed = told
            case Kept():
                self.entered = False

    def _show(self, told: Moved) -> None:
        if told.fleet not in self._shown and told.fleet in self._fleets:
            label = label_of(self._run.task(self._fleets[told.fleet]))
            turn, total = len(self._shown) + 1, len(self._fleets)
            bar = self._bars.fleet(label, turn, total)
            self._shown[told.fleet] = self.bars.enter_context(bar)
        if told.fleet in self._shown:
            self._shown[told.fleet](told.progress)

    def conclude(self, code: int, log: Path) -> None:
        """Raise what ended the ranks, if anything did."""
        if code == 0:
            return
        if self._failed is not None and self._failed.exit_code == INTERRUPTED:
            self._run.interrupted.name = f"a signal to rank {self._failed.rank}"
            return
        id = self._run.comparison_id
        way = f"What was measured is recorded; `bench resume {id}` goes on with what is missing."
        if self._failed is not None and self._failed.exit_code < 0:
            raise Infrastructure(
                f"Rank {self._failed.rank} (process {self._failed.pid}) was killed by "
                f"{signal_name(-self._failed.exit_code)}, so all ranks were stopped. {way}"
            )
        if self._wrong is not None:
            error = Usage if self._wrong.exit_code == Usage.exit_code else Infrastructure
            raise error(f"{self._wrong.sentence.rstrip('.')}. {way}")
        raise Infrastructure(f"torchrun ended with exit code {code}; {log} has what it said. {way}")


def write_for(run: Run, plan: Plan, mode: Mode, path: Path | None) -> Path:
    """Write the file that ranks are given, beside the store where no other place is named."""
    path = path or run.store.artifacts.parent / "plans" / f"{run.comparison_id}.json"
    # Where the URL has a password, also one among its parameters, the file says nothing of it.
    url = run.store.url if run.store.url == run.store.shown_url else None
    fleets = run.store.fleets(run.comparison_id)
    tasks = [fleet.task for fleet in fleets]
    write_plan(path, run.comparison_id, mode, plan, url, tasks)
    return path


class Elsewhere:
    """Trains nothing: the fleets of a comparison that was planned for ranks on other machines."""

    at_once = 1

    def share(self, run: Run, groups: Sequence[Sequence[Trial]]) -> Machine:
        """Return the machine of a rank: how many they are, torchrun will say."""
        # No trial that was trained by a known number of ranks is as good as one of these.
        return replace(run.machine, ranks=0)

    def train(self, run: Run, fleets: Sequence[FleetRecord], bars: Bars) -> bool:
        """Refuse: Usage says how they are trained."""
        raise Usage(
            f"Fleets that wait for ranks which train them together (--mode data): {len(fleets)}. "
            "Start torchrun again with its plan, or say over how many ranks of this machine they "
            f"are to be spread: bench resume {run.comparison_id} --nproc-per-node 2."
        )


def entered(run: Run, path: Path, fleets: int, mode: Mode) -> str:
    """Return how to go on with a comparison that was entered for others to run."""
    id, store = run.comparison_id, run.store.shown_url
    many = "1 fleet" if fleets == 1 else f"{fleets} fleets"
    alone = "\nor, any number of times, bench worker --exit-when-empty" if mode == "trials" else ""
    return (
        f"Comparison {id} is entered in {store} with {many} to train. On each machine:\n"
        f"  torchrun --nnodes=… --nproc-per-node=… {WORKER} {path}{alone}.\n"
        f"After that, bench resume {id} judges it."
    )


def _read(process: subprocess.Popen[str], put: Callable[[str | None], None]) -> None:
    assert process.stderr is not None
    # Closed here: whoever does that elsewhere while this waits for a line disturbs it.
    with process.stderr as lines:
        for line in lines:
            put(line)
    put(None)


def _next(lines: SimpleQueue[str | None]) -> str | None:
    """Return the next line; an empty one where none has come for a while."""
    try:
        return lines.get(timeout=LOOK_SECONDS)
    except Empty:
        return ""
