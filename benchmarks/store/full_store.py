"""A store with as much in it as a team enters in years."""

from __future__ import annotations

from typing import Any

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import MethodSpec, TrialSpec
from bench.harness.store.results import Store
from benchmarks.distributed.stores import PROTOCOL, begin

METHODS = ("nag", "hf")
# What a trial of the quick preset is measured.
_MEASUREMENTS = 25


def fill(url: str, trials: int, comparisons: int) -> None:
    """Enter comparisons that are done, of two methods each and with equally many trials."""
    with Store.open(url) as store:
        for number in range(comparisons):
            first, last = (trials * each // comparisons for each in (number, number + 1))
            _compare(store, range(first, last))


def _compare(store: Store, seeds: range) -> None:
    id = store.new_comparison(PROTOCOL, "comparison", "bench compare --optimizers nag,hf")
    methods: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    for seed in seeds:
        name = METHODS[seed % len(METHODS)]
        trial = begin(store, id, TrialSpec(PROTOCOL, MethodSpec(name, "torch", {"lr": 0.01}), seed))
        taken = [
            Measurement(i, Ledger(10 * i, 1000 * i, 10.5 * i), 1 / (1 + i), 1.0, 2.0, 3.0)
            for i in range(_MEASUREMENTS)
        ]
        store.record([(trial, each) for each in taken])
        store.end(trial, "budget", None, taken[-1].ledger, taken[-1])
        methods[name].append({"seed": seed})
    a, b = METHODS
    store.save_verdicts(id, [{"a": a, "b": b, "verdict": "cannot tell"}])
    rows = [{"method": name, "trials": trials} for name, trials in methods.items()]
    store.finish_comparison(id, "done", {"methods": rows})
