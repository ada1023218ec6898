"""MLflow's server for one command, with which it ends.

`python -m bench.harness.store.mlflow.server OPTIONS`: MLflow's server would go on without whoever
started it. This one reads its standard input, and when that closes, ends itself and what it has
started.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow_parent() -> None:
    # Unbuffered, so that nothing is locked when the interpreter ends.
    while os.read(0, 1024):
        continue
    # Nobody is left who could wait for an orderly end; databases bear this one.
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.argv[:] = ["mlflow", "server", *sys.argv[1:]]
    runpy.run_module("mlflow", run_name="__main__")


if __name__ == "__main__":
    _main()
