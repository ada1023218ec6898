"""An MLflow server that ends when its parent process ends.

`python -m bench.harness.store.mlflow.server OPTIONS`: the usual server would continue without its
parent. This one reads its standard input. When the parent closes that or dies, it ends itself and
all processes that it has started.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow_parent() -> None:
    # Unbuffered, because a buffered read would hold a lock when the interpreter exits.
    while os.read(0, 1024):
        continue
    # Nobody waits for an orderly end any more, and databases tolerate this one.
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.argv[:] = ["mlflow", "server", *sys.argv[1:]]
    runpy.run_module("mlflow", run_name="__main__")


if __name__ == "__main__":
    _main()
