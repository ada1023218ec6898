"""A store with everything in it that is moved."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from bench.harness.analysis.summary import summarize
from bench.harness.core.records import Certificate, Ledger, Measurement, NightMetric
from bench.harness.core.spec import MethodSpec, Protocol, TrialSpec
from bench.harness.store import tables as t
from bench.harness.store.results import Store
from bench.harness.store.transfer.columns import TRANSFER_TABLES

STRANGE = '\'; DROP TABLE bench_trial; -- "<b>"\n\t\\ 😀 ﷺ'
USUAL: dict[str, Any] = {
    "label": "nag",
    "purpose": "reported",
    "source_digest": "s" * 64,
    "context": {"threads": 1},
    "info": {"host": STRANGE},
    "fleet_rows": 2,
    "seconds_are": "alone",
    "owner": "cluster:1",
    "anytime_updates": 7,
}


def measurement(index: int, train: float = 0.1, **diagnostics: float) -> Measurement:
    ledger = Ledger(10 * index, 1000 * index, index / 3, 3, 2, 0.1 * index, 2**40)
    return Measurement(index, ledger, train, 5e-324, 1e308, -1 / 3, diagnostics)


def spec_of(protocol: Protocol, seed: int = 0, lr: float = 0.01) -> TrialSpec:
    return TrialSpec(
        protocol, MethodSpec("nag", "torch", {"lr": lr, "betas": (0.9, (1,)), "clip": None}), seed
    )


CLAIM = {
    "claim": 1, "title": STRANGE, "preset": "quick", "version": 2, "rule_digest": "4" * 64,
    "decision": "holds", "comparisons": {}, "statements": [], "at_the_edge": [],
}  # fmt: skip
NOISE = {
    "suite": "5" * 64, "family": 1, "metrics": [], "comparisons": [], "seconds": 0.5,
    "false_alarm_rate": {"at": 0.05, "quality": None, "time": None},
}  # fmt: skip


def summary_of(store: Store, id: str) -> dict[str, Any]:
    """Return the report of a comparison, as its end would."""
    trials = store.trials(id)
    return summarize(
        comparison_id=id,
        protocol=store.comparison(id).protocol,
        trials=trials,
        measurements=store.measurements([trial.id for trial in trials]),
        targets=(0.5,),
        margin=0.01,
        log_scale=False,
        published=lambda *named: None,
        reproduce="bench",
    )


def verdict(a: str, b: str, p: float) -> dict[str, Any]:
    """Return the verdict on two methods as a report has it."""
    figures = dict.fromkeys(("difference", "low", "high", "interval_kind", "ratio"))
    return {
        **figures, "a": a, "b": b, "p": p, "verdict": "cannot tell", "n": 2, "unit": "ratio",
        "smallest_detectable": None, "seeds_to_decide": None, "reason": "",
    }  # fmt: skip


def fill(store: Store, protocol: Protocol) -> list[str]:
    """Enter comparisons, done, interrupted and planned, and all that belongs to them."""
    other = dataclasses.replace(protocol, problem="mnist" + STRANGE)
    certificate = Certificate("1" * 64, "2" * 64, "3" * 64, {"order": STRANGE}, STRANGE)

    done = store.new_comparison(protocol, "comparison", "bench " + STRANGE, plan={"methods": []})
    fleets = store.add_fleets(done, [(1 / 3, {"trials": [STRANGE]}), (2.0, {"trials": []})])
    store.lease("cluster:1", done, 0)
    ends = ("budget", "diverged", "failed", "interrupted")
    trials = [
        store.begin(
            done,
            spec_of(protocol, seed),
            **{**USUAL, "label": f"nag {STRANGE}"},
            fleet=(fleets[0].id, seed),
            # The first is one of an earlier version.
            certificate=certificate if seed else None,
        )
        for seed in range(len(ends))
    ]
    store.record([(i, measurement(0, 0.5, lam=45.0)) for i in trials])
    store.record([(trials[1], measurement(1, math.nan, rho=-math.inf))])
    for id, status in zip(trials, ends, strict=True):
        store.end(id, status, STRANGE + "x" * 10_000, Ledger(updates=7), measurement(1, math.inf))
    store.end_fleet(fleets[0].id, "cluster:1", "ended")
    key = spec_of(protocol).key
    report = summary_of(store, done)
    store.finish_comparison(
        done, "done", {**report, "trials": [{"key": key, "attempt": 1}], "x": None}
    )
    store.save_verdicts(done, [verdict("é" + STRANGE, "hf", 1e-17), verdict("Z", "b", 0.5)])

    tuned = store.new_comparison(other, "tuning", "bench compare", plan={"methods": [1]})
    store.begin(tuned, spec_of(other), **{**USUAL, "purpose": "tuning", "context": {"threads": 2}})
    store.adopt(tuned, trials[0])
    again = store.begin(tuned, spec_of(protocol), **USUAL)
    for id in (again, again - 1):
        store.end(id, "interrupted", None, Ledger(), None)
    store.finish_comparison(tuned, "interrupted", None)

    store.new_comparison(
        protocol, "comparison", "bench", plan={"methods": [2]}, shared=True, status="planned"
    )
    store.save_claim(
        claim=1,
        version=2,
        preset="quick",
        rule_digest="4" * 64,
        decision="holds",
        body=CLAIM | {"comparisons": {"run": {"comparison": done, "data": STRANGE}}},
    )
    with store._write() as connection:
        accepted = {"name": STRANGE, "accepted": store.comparisons()[0].created, "note": None}
        connection.execute(insert(t.baseline).values(comparison_id=done, **accepted))
    night = store.begin_night("nightly", "5" * 64, "main", "c0ffee", {"host": STRANGE})
    found = NightMetric(
        "quality", protocol.key, STRANGE, "nag", "error", "lower", "log", "6" * 64, "worse"
    )
    found = dataclasses.replace(found, value=-1.5, comparison_id=done)
    store.end_night(night, "changed", None, [found])
    store.save_noise("nightly", NOISE | {"what": STRANGE})
    for folder in (store.files_of_trial(trials[0]), store.files_of_comparison(done)):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "picture 😀.png").write_bytes(bytes(range(256)))
    return [done, tuned]


def tables_of(folder: Path, format: str) -> dict[str, Any]:
    """Return the content of every table of an export."""
    if format == "jsonl":
        return {name: (folder / f"{name}.jsonl").read_bytes() for name in TRANSFER_TABLES}
    from pyarrow import parquet

    return {name: parquet.read_table(folder / f"{name}.parquet") for name in TRANSFER_TABLES}
