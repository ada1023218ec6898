"""One process of a pool: `python -m harness.pool_process DESCRIPTOR` trains what it is dealt.

It hears orders on its end of a pipe, whose number is DESCRIPTOR, and answers there; it ends when
the pipe does, whatever became of its parent.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from harness.binding import DeviceData
from harness.errors import Infrastructure
from harness.fleet import Progress
from harness.interrupt import Interrupted, signals
from harness.launch import DTYPES, Run
from harness.planning import Candidate, Trial
from harness.pool import Closed, Job, Stop, Task, digest_of
from harness.request import prepare
from harness.spec import Protocol, TrialSpec
from harness.store.results import Store

PATIENCE = 5.0
"""Seconds that a parent's death leaves to end in order."""


class _Parent:
    """The other end: what it is told, and which fleets come from it."""

    def __init__(self, connection: Connection, interrupted: Interrupted) -> None:
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._connection, self._interrupted = connection, interrupted
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, told: Progress | str | list[int] | Closed) -> None:
        """Tell it, from any thread; what a dead parent is told is lost."""
        with self._lock, suppress(OSError):
            self._connection.send(told)

    def _listen(self) -> None:
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, Stop):
                    self._stop(order)
                else:
                    self.tasks.put(order)
        except (EOFError, OSError):
            self._stop(Stop("the end of its parent"))
            time.sleep(PATIENCE)
            os._exit(1)

    def _stop(self, order: Stop) -> None:
        self._interrupted.name = self._interrupted.name or order.signal
        self.tasks.put(None)
        if order.at_once:
            # To the thread that trains, which may be asleep.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _work(job: Job, parent: _Parent, interrupted: Interrupted) -> bool:
    """Train what comes until nothing more does; say whether the store has everything."""
    prepared = prepare(job.request)
    machine = replace(prepared.machine, beside=job.beside)
    methods = [method for of_one in prepared.points for method in of_one]
    with Store.open(job.request.store, create=False) as store:
        run = Run(
            store=store,
            comparison_id=job.comparison_id,
            protocol=prepared.protocol,
            problem=prepared.problem,
            data=prepared.data,
            tensors=DeviceData.put(prepared.data, machine.device, DTYPES[machine.precision]),
            machine=machine,
            interrupted=interrupted,
            say=parent.tell,
        )
        with run.recorder() as recorder:
            while (task := parent.tasks.get()) is not None and not interrupted:
                group = _trials(task, methods, prepared.protocol)
                if digest_of(run, group) != task.digest:
                    raise Infrastructure(
                        "A process prepared other trials than were planned: a file of the problem "
                        "or of a method was changed meanwhile, or its data are different every "
                        "time, which `bench check` shows. Give the command again; with --threads 1 "
                        "it needs no processes."
                    )
                parent.tell(run.train(group, recorder, parent.tell))
            return recorder.close()


def _trials(task: Task, methods: Sequence[Any], protocol: Protocol) -> list[Trial]:
    chosen = [
        (Candidate(methods[number], label), seed, purpose)
        for number, label, seed, purpose in task.trials
    ]
    return [
        Trial(candidate, TrialSpec(protocol, candidate.spec, seed), purpose)
        for candidate, seed, purpose in chosen
    ]


def _packed(error: Exception) -> tuple[bytes | None, str]:
    error.add_note("In a process of its own:\n" + "".join(traceback.format_tb(error.__traceback__)))
    told = f"{type(error).__name__}: {error}"
    try:
        return pickle.dumps(error), told
    except Exception:
        return None, told


def _main(connection: Connection) -> None:
    with signals(at_once=signal.SIGTERM) as interrupted:
        job: Job = connection.recv()
        sys.argv[:] = job.argv
        parent = _Parent(connection, interrupted)
        entered, failed = True, None
        try:
            entered = _work(job, parent, interrupted)
        except Exception as error:
            failed = _packed(error)
        parent.tell(Closed(entered, interrupted.name, failed))


if __name__ == "__main__":
    try:
        _main(Connection(int(sys.argv[1])))
    except (KeyboardInterrupt, EOFError, ConnectionResetError):
        # Ended at once, or its parent died before it had said anything.
        sys.exit(130)
