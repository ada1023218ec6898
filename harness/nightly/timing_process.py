"""Times of updates, measured in a separate process, as in every night.

The layout of a process's memory makes its updates faster or slower as long as the process runs.
Repetitions within one process would not show this scatter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

from bench.harness.core.errors import Infrastructure
from bench.harness.nightly.suite import TimePlan
from bench.harness.nightly.timing import night_times
from bench.harness.planning.preparation import prepare
from bench.harness.planning.request import Request


def measure_in_process(request: Request, plan: TimePlan) -> dict[str, float]:
    """Measure a request's methods once in a new process; return the result of `night_times`."""
    given = {"request": asdict(request), "plan": asdict(plan)}
    done = subprocess.run(
        # -P: Python must not import a user's file that has the name of a module.
        [sys.executable, "-P", "-m", "bench.harness.nightly.timing_process"],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
        # Ctrl-C goes to the parent, which ends this process.
        start_new_session=True,
    )
    if done.returncode:
        raise Infrastructure(
            f"The process that measures times ended with exit code {done.returncode}; its messages "
            "are above."
        )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure the request on standard input."""
    given = json.load(sys.stdin)
    # A user's module may print, even at exit; that must not mix with the result on stdout.
    answer, sys.stdout = sys.stdout, sys.stderr
    measured = night_times(prepare(Request(**given["request"])), TimePlan(**given["plan"]))
    print(json.dumps(measured), file=answer, flush=True)


if __name__ == "__main__":
    main()
