"""One process of a pool, which trains what it is dealt.

`python -m bench.harness.execution.pool_process DESCRIPTOR` hears orders on its end of a pipe,
whose number is DESCRIPTOR, and answers there; it ends when the pipe does, whatever became of its
parent.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue

from bench.harness.execution.pool import Closed, Job, Stop
from bench.harness.execution.run import run_of
from bench.harness.planning.preparation import prepare
from bench.harness.store.results import Store
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import Interrupted, signals

PATIENCE = 5.0
"""Seconds that a parent's death leaves to end in order."""


class _Parent:
    """The other end: what it is told, and which fleets come from it."""

    def __init__(self, connection: Connection, interrupted: Interrupted) -> None:
        self.tasks: SimpleQueue[int | None] = SimpleQueue()
        self._connection, self._interrupted = connection, interrupted
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, told: Progress | str | int | Closed) -> None:
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
    with Store.open(job.request.store, create=False) as store:
        run = run_of(prepared, store, job.comparison_id, interrupted, parent.tell)
        with run.recorder() as recorder:
            while (number := parent.tasks.get()) is not None and not interrupted:
                if leased := run.lease(number):
                    run.train(leased, recorder, parent.tell)
                parent.tell(number)
            return recorder.close()


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
