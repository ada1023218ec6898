"""A process that keeps MLflow up to date while trials train.

Importing MLflow takes seconds, and writing to it takes processor time; neither may count in a
trial's time. The process runs at low priority, reads its orders from standard input, and ends when
its parent closes that or dies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TextIO

from bench.harness.core.errors import BenchError
from bench.harness.core.paths import python_path
from bench.harness.store.mlflow.mirror import (
    ENVIRONMENT,
    MlflowMirror,
    SyncResult,
    is_remote,
    mlflow_error,
)
from bench.harness.store.results import Store

PERIOD = 15.0
"""Seconds between two passes."""
PATIENCE = 10.0
"""Seconds that the last pass waits for an answer of a tracking server."""
_NICENESS = 10


class MirrorProcess:
    """A process that copies results to MLflow; `stop` ends it after one last pass."""

    def __init__(self, store_url: str, tracking_uri: str | None = None) -> None:
        self._settings = json.dumps({"store": store_url, "tracking_uri": tracking_uri})
        self._uri, self._is_store = tracking_uri or store_url, tracking_uri is None
        self._process = self._start()

    def stop(self, timeout: float | None = None) -> SyncResult | str:
        """Make a last pass; return what it wrote, or a sentence that says why it failed.

        `timeout` is the time limit in seconds; the default is shorter for a server than for a
        database. If the process has died, a new one makes the last pass.
        """
        if timeout is None:
            timeout = 30 if is_remote(self._uri) else 120
        deadline = time.monotonic() + timeout
        answer = self._finish(timeout)
        if answer is None and (left := deadline - time.monotonic()) > 0:
            self._process = self._start()
            answer = self._finish(left)
        if answer is None:
            reason = f"the process for it died, or took longer than {timeout:g} seconds"
            return str(mlflow_error(self._uri, reason, is_store=self._is_store))
        if "problem" in answer:
            return str(answer["problem"])
        return SyncResult(int(answer["runs"]), int(answer["points"]))

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            # -P: a user's file with the name of a module must not be imported instead of it.
            [sys.executable, "-P", "-m", "bench.harness.store.mlflow.live"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # So that Ctrl-C reaches only the parent, which then orders the last pass.
            start_new_session=True,
            env={
                **ENVIRONMENT,
                **os.environ,
                "PYTHONPATH": python_path(),
                "OMP_NUM_THREADS": "1",
            },
        )
        # Not on the command line, which is public: the URL may contain a password.
        self._tell(process, self._settings)
        return process

    def _finish(self, timeout: float) -> dict[str, int | str] | None:
        """Order the last pass and return its answer; None if the process gave none."""
        self._tell(self._process, "finish")
        try:
            output, _ = self._process.communicate(timeout=timeout)
            answer: dict[str, int | str] = json.loads(output)
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            self._end()
            return None
        return answer

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            # The process has died; `_finish` notices that it gives no answer.
            return


def start_mirror(store_url: str, *, tracking_uri: str | None = None) -> MirrorProcess:
    """Start to copy a store to MLflow, by default to its own database."""
    return MirrorProcess(store_url, tracking_uri)


class AnswerClock:
    """The time of a server's last answer; before the first request it cannot be late."""

    def __init__(self) -> None:
        self._last: float | None = None

    def now(self) -> None:
        """Record an answer, or the start of waiting for one."""
        self._last = time.monotonic()

    def wait_for_silence(self, seconds: float) -> None:
        """Return when the server has not answered for so many seconds."""
        while self._last is None or (left := self._last + seconds - time.monotonic()) > 0:
            time.sleep(0.2 if self._last is None else left)


def _run(orders: TextIO, answers: TextIO) -> None:
    """Make passes until the order to finish; then answer what the last pass wrote."""
    settings = json.loads(orders.readline())
    uri = settings["tracking_uri"]
    finish = threading.Event()
    heard = AnswerClock()

    def say(answer: dict[str, int | str]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def listen() -> None:
        if orders.readline().strip() != "finish":
            # The parent has died, so nobody reads an answer.
            os._exit(0)
        heard.now()
        finish.set()
        if uri is not None and is_remote(uri):
            heard.wait_for_silence(PATIENCE)
            say({"problem": str(mlflow_error(uri, f"it gave no answer for {PATIENCE:g} seconds"))})
            # A call that hangs would keep the process alive.
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    mirror: MlflowMirror | None = None
    while True:
        last = finish.is_set()
        try:
            if mirror is None:
                mirror = MlflowMirror(Store.open(settings["store"]), uri, heard.now)
            written = mirror.sync()
            answer: dict[str, int | str] = {"runs": written.runs, "points": written.points}
        except BenchError as error:
            # A run was deleted or the server was away, so the next pass checks everything again.
            mirror, answer = None, {"problem": str(error)}
        if last:
            say(answer)
            return
        finish.wait(PERIOD)


if __name__ == "__main__":
    os.nice(_NICENESS)
    # Only answers go to standard output; MLflow's prints go to standard error.
    _told, sys.stdout = sys.stdout, sys.stderr
    _run(sys.stdin, _told)
