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
from pathlib import Path
from typing import TextIO

from harness.errors import BenchError
from harness.store.mlflow_mirror import ENVIRONMENT, MlflowMirror, Synced
from harness.store.results import Store

PERIOD = 15.0
"""Seconds between two passes."""
_NICENESS = 10


class Mirror:
    """The process that copies into MLflow; `stop` ends it with one last pass."""

    def __init__(self, store_url: str, tracking_uri: str | None = None) -> None:
        self._settings = json.dumps({"store": store_url, "tracking_uri": tracking_uri})
        self._process = self._start()

    def stop(self, timeout: float = 120) -> Synced | str:
        """Have everything written, and return what the last pass wrote or a sentence why not.

        `timeout`: seconds to wait for the process, and as many again for a fresh one in its place.
        """
        answer = self._finish(timeout)
        if answer is None:
            self._process = self._start()
            answer = self._finish(timeout)
        if answer is None:
            return (
                "MLflow was not brought up to date: the process for it died, or took longer than "
                f"{timeout:g} seconds. bench's own tables are complete; `bench db sync` brings in "
                "the rest."
            )
        if "problem" in answer:
            return str(answer["problem"])
        return Synced(int(answer["runs"]), int(answer["points"]))

    def _start(self) -> subprocess.Popen[str]:
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            # -P: a file of the user's that is called like a module must not be imported for it.
            [sys.executable, "-P", "-m", "harness.store.mlflow_live"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C reaches the parent alone, which then asks for the last pass.
            start_new_session=True,
            env={
                **ENVIRONMENT,
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
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


def _run(orders: TextIO, answers: TextIO) -> None:
    """Pass after pass until told to finish; then answer with what the last one wrote."""
    settings = json.loads(orders.readline())
    finish = threading.Event()

    def listen() -> None:
        if orders.readline().strip() != "finish":
            # The parent is gone, and nobody is there to hear how a pass ends.
            os._exit(0)
        finish.set()

    threading.Thread(target=listen, daemon=True).start()
    mirror: MlflowMirror | None = None
    while True:
        last = finish.is_set()
        try:
            if mirror is None:
                mirror = MlflowMirror(Store.open(settings["store"]), settings["tracking_uri"])
            written = mirror.sync()
            answer: dict[str, int | str] = {"runs": written.runs, "points": written.points}
        except BenchError as error:
            # A run that was deleted meanwhile, a server that was away: look at everything anew.
            mirror, answer = None, {"problem": str(error)}
        if last:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
            return
        finish.wait(PERIOD)


if __name__ == "__main__":
    os.nice(_NICENESS)
    _run(sys.stdin, sys.stdout)
