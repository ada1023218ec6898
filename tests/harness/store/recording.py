"""One process of many that record at once: `python -m tests.harness.store.recording URL NUMBER`.

It says that it is ready, waits for a line, opens the store, which may be empty, and records.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store import recorder as module
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store

TRIALS = 2
MEASUREMENTS = 30
PROTOCOL = Protocol(
    *("curves", {}, "quick", "curves", "0" * 64, "sparse", "cross-entropy"),
    *("train_squared_error", "lower", Budget("updates", 400), "fp32", MEASUREMENTS),
)
# The same for all: attempts at one trial are counted by whoever begins one.
SPEC = TrialSpec(PROTOCOL, MethodSpec("nag", "torch", {"lr": 0.01}), 0)


def measured(number: int, trial: int, index: int) -> Measurement:
    """Return what a process measures of one of its trials, like no other measurement."""
    value = number + trial / 8 + index / 1024
    ledger = Ledger(10 * index, 100 * index, value, number, trial, 0.5 * index, 2**40)
    shown = {"number": float(number), "rho": math.nan if index == 7 else -value}
    return Measurement(index, ledger, value, math.inf if index == 5 else 1.0, 2.0, 3.0, shown)


def main(url: str, number: int) -> None:
    """Record as a rank does, but flush every few milliseconds, with a heartbeat each time."""
    module.FLUSH_SECONDS, module.HEARTBEAT_SECONDS = 0.02, 0.0
    print("ready", flush=True)
    sys.stdin.readline()
    owner = this_process()
    with Store.open(url) as store:
        comparison = store.new_comparison(PROTOCOL, "comparison", f"bench {number}", owner=owner)
        spool = Path(f"spool-{number}")
        with module.Recorder(store, spool, comparison_id=comparison, owner=owner) as recorder:
            ids = [_begin(store, comparison, owner) for _ in range(TRIALS)]
            for index in range(MEASUREMENTS):
                for trial, id in enumerate(ids):
                    recorder.measure(id, measured(number, trial, index))
                if index % 8 == 0:
                    recorder.flush()
            for trial, id in enumerate(ids):
                last = measured(number, trial, MEASUREMENTS - 1)
                recorder.end(id, "budget", None, last.ledger, last)
        store.finish_comparison(comparison, "done", {"number": number})
    print(*ids)


def _begin(store: Store, comparison: str, owner: str) -> int:
    return store.begin(
        comparison,
        SPEC,
        label="nag",
        purpose="reported",
        source_digest="s",
        context={"threads": 1},
        info={},
        fleet_rows=1,
        seconds_are="shared",
        owner=owner,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
