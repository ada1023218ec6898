"""Trials to be copied into MLflow, and waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.results import Store

PROTOCOL = Protocol(
    problem="curves",
    parameters={},
    preset="quick",
    data="curves (generated)",
    data_digest="d" * 64,
    initialization="sparse",
    objective="cross-entropy",
    metric="squared_error",
    direction="lower",
    budget=Budget("gradients", 1000.0),
    precision="fp32",
    evaluations=4,
)
NAG = MethodSpec("nag", "torch", {"lr": 0.01, "mu_max": 0.99})
HF = MethodSpec("hf", "torch", {"batch": 1000})
CONTEXT = {"device": "cpu", "threads": 1, "versions": {"torch": "2.13.0"}}
METRICS = ("squared_error", "test_squared_error")


def measured(index: int, value: float = 1.0) -> Measurement:
    spent = 0.5 * index
    ledger = Ledger(updates=10 * index, gradients=200.0 * index, seconds=spent, fleet_seconds=spent)
    return Measurement(index, ledger, value, value, value, value, {"lam": 0.5})


def begin(
    store: Store,
    comparison: str,
    method: MethodSpec,
    seed: int,
    protocol: Protocol = PROTOCOL,
    **changed: Any,
) -> int:
    values = {
        "label": method.name,
        "purpose": "reported",
        "source_digest": "5" * 64,
        "context": CONTEXT,
        "info": {"user": "somebody"},
        "fleet_rows": 1,
        "seconds_are": "alone",
        "owner": "test",
        **changed,
    }
    return store.begin(comparison, TrialSpec(protocol, method, seed), **values)


def train(store: Store, trial: int, upto: int, start: int = 0, end: bool = True) -> None:
    rows = [measured(index, 1 / (1 + index)) for index in range(start, upto)]
    store.record([(trial, row) for row in rows])
    if end:
        store.end(trial, "budget", None, rows[-1].ledger, rows[-1])


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
