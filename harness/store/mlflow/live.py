"""Keeps MLflow up to date while trials train, in a process of its own.

Importing MLflow takes seconds and writing to it takes processor time; neither may show on a
trial's clock. The process runs at low priority, hears what to do on its standard input, and ends
when that closes, whatever became of its parent.
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
from bench.harness.core.paths import search_path
from bench.harness.store.mlflow.mirror import (
    ENVIRONMENT,
    MlflowMirror,
    Synced,
    away,
    is_remote,
)
from bench.harness.store.results import Store

PERIOD = 15.0
"""Seconds between two passes."""
PATIENCE = 10.0
"""Seconds that a tracking server may leave the last pass without an answer."""
_NICENESS = 10


class Mirror:
    """The process that copies into MLflow; `stop` ends it with one last pass."""

    def __init__(self, store_url: str, tracking_uri: str | None = None) -> None:
        self._settings = json.dumps({"store": store_url, "tracking_uri": tracking_uri})
        self._uri, self._is_store = tracking_uri or store_url, tracking_uri is None
        self._process = self._start()

    def stop(self, timeout: float | None = None) -> Synced | str:
        """Have everything written, and return what the last pass wrote or a sentence why not.

        `timeout`: seconds to wait in all; by default fewer for a server than for a database. Where
        the process has died, a fresh one takes its place.
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
            return str(away(self._uri, reason, is_store=self._is_store))
        if "problem" in answer:
            return str(answer["problem"])
        return Synced(int(answer["runs"]), int(answer["points"]))

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            # -P: a file of the user's that is called like a module must not be imported for it.
            [sys.executable, "-P", "-m", "bench.harness.store.mlflow.live"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C reaches the parent alone, which then asks for the last pass.
            start_new_session=True,
            env={
                **ENVIRONMENT,
                **os.environ,
                "PYTHONPATH": search_path(),
                "OMP_NUM_THREADS": "1",
            },
        )
        # Settings go this way because a URL may hold a password, and command lines are public.
        self._tell(process, self._settings)
        return process

    def _finish(self, timeout: float) -> dict[str, int | str] | None:
        """Ask for the last pass and return its answer; None where the process gave none."""
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
            # It has died; that it gives no answer shows it.
            return


def start_mirror(store_url: str, *, tracking_uri: str | None = None) -> Mirror:
    """Begin to copy a store into MLflow, by default into its own database."""
    return Mirror(store_url, tracking_uri)


class Heard:
    """When a server has last answered; before it was asked anything, it cannot be late."""

    def __init__(self) -> None:
        self._last: float | None = None

    def now(self) -> None:
        """Note an answer, or that one is waited for from now on."""
        self._last = time.monotonic()

    def wait_for_silence(self, seconds: float) -> None:
        """Return when nothing has been heard for so long."""
        while self._last is None or (left := self._last + seconds - time.monotonic()) > 0:
            time.sleep(0.2 if self._last is None else left)


def _run(orders: TextIO, answers: TextIO) -> None:
    """Pass after pass until told to finish; then answer with what the last one wrote."""
    settings = json.loads(orders.readline())
    uri = settings["tracking_uri"]
    finish = threading.Event()
    heard = Heard()

    def say(answer: dict[str, int | str]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    def listen() -> None:
        if orders.readline().strip() != "finish":
            # The parent is gone, and nobody is there to hear how a pass ends.
            os._exit(0)
        heard.now()
        finish.set()
        if uri is not None and is_remote(uri):
            heard.wait_for_silence(PATIENCE)
            say({"problem": str(away(uri, f"it gave no answer for {PATIENCE:g} seconds"))})
            # A call that hangs would keep the process.
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
            # A run that was deleted meanwhile, a server that was away: look at everything anew.
            mirror, answer = None, {"problem": str(error)}
        if last:
            say(answer)
            return
        finish.wait(PERIOD)


if __name__ == "__main__":
    os.nice(_NICENESS)
    # What MLflow prints is no answer.
    _told, sys.stdout = sys.stdout, sys.stderr
    _run(sys.stdin, _told)
