"""Times of updates measured in a process of their own, as every night's are.

Where a process has its memory, and in which order, makes its updates faster or slower for as long
as it lives. Repetitions in one process would never see that.
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


def times_apart(request: Request, plan: TimePlan) -> dict[str, float]:
    """Measure a request's methods once in a new process; return what `night_times` does."""
    given = {"request": asdict(request), "plan": asdict(plan)}
    done = subprocess.run(
        # -P: a file of the user's that is called like a module must not be imported for it.
        [sys.executable, "-P", "-m", "bench.harness.nightly.timing_process"],
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        },
        # Ctrl-C is for the parent, which ends this one.
        start_new_session=True,
    )
    if done.returncode:
        raise Infrastructure(
            f"The process that measures times ended with exit code {done.returncode}; what it said "
            "is above."
        )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure what standard input asks for."""
    given = json.load(sys.stdin)
    # What a module of the user's prints, also as it ends, is no part of the answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    measured = night_times(prepare(Request(**given["request"])), TimePlan(**given["plan"]))
    print(json.dumps(measured), file=answer, flush=True)


if __name__ == "__main__":
    main()
