"""A process of a pool, which trains the fleets that its parent assigns to it.

`python -m bench.harness.execution.pool_process DESCRIPTOR` reads orders from a pipe with the file
descriptor DESCRIPTOR, and writes its messages to it. It ends when the parent closes the pipe or
dies.
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

from bench.harness.core.streams import secure_streams
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.pool import PoolSetup, ProcessResult, StopOrder
from bench.harness.execution.run import make_run
from bench.harness.planning.preparation import prepare
from bench.harness.store.results import Store
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import InterruptFlag, catch_signals

GRACE_SECONDS = 5.0
"""Seconds between the death of the parent and the end of this process."""


class _Parent:
    """The connection to the parent process."""

    def __init__(self, connection: Connection, interrupted: InterruptFlag) -> None:
        self.tasks: SimpleQueue[int | None] = SimpleQueue()
        self._connection, self._interrupted = connection, interrupted
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: Progress | str | int | ProcessResult) -> None:
        """Send a message from any thread; it is lost if the parent has died."""
        with self._lock, suppress(OSError):
            self._connection.send(message)

    def _listen(self) -> None:
        try:
            while True:
                order = self._connection.recv()
                if isinstance(order, StopOrder):
                    self._stop(order)
                else:
                    self.tasks.put(order)
        except (EOFError, OSError):
            self._stop(StopOrder("the end of its parent"))
            time.sleep(GRACE_SECONDS)
            os._exit(1)

    def _stop(self, order: StopOrder) -> None:
        self._interrupted.name = self._interrupted.name or order.signal
        self.tasks.put(None)
        if order.immediately:
            # A signal also wakes the training thread if it sleeps.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _work(setup: PoolSetup, parent: _Parent, interrupted: InterruptFlag) -> bool:
    """Train fleets until the parent has no more; return whether all results are in the store."""
    prepared = prepare(setup.request)
    with Store.open(setup.request.store, create=False) as store:
        run = make_run(prepared, store, setup.comparison_id, interrupted, parent.send)
        with run.recorder() as recorder:
            while (number := parent.tasks.get()) is not None and not interrupted:
                if leased := run.lease(number):
                    LeasedFleet(run, leased, recorder, parent.send).train()
                parent.send(number)
            return recorder.close()


def _pickled(error: Exception) -> tuple[bytes | None, str]:
    error.add_note(
        "In a process of the pool:\n" + "".join(traceback.format_tb(error.__traceback__))
    )
    message = f"{type(error).__name__}: {error}"
    try:
        return pickle.dumps(error), message
    except Exception:
        return None, message


def _main(connection: Connection) -> None:
    with catch_signals(at_once=signal.SIGTERM) as interrupted:
        setup: PoolSetup = connection.recv()
        sys.argv[:] = setup.argv
        parent = _Parent(connection, interrupted)
        stored, failed = True, None
        try:
            stored = _work(setup, parent, interrupted)
        except Exception as error:
            failed = _pickled(error)
        parent.send(ProcessResult(stored, interrupted.name, failed))


if __name__ == "__main__":
    secure_streams()
    try:
        _main(Connection(int(sys.argv[1])))
    except (KeyboardInterrupt, EOFError, ConnectionResetError):
        # The parent ordered an immediate stop, or died before it sent anything.
        sys.exit(130)
