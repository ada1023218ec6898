"""The command line as a person meets it, and a store with something in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.harness.cli.main import main
from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.results import Store

PROTOCOL = Protocol(
    "curves", {}, "quick", "curves (generated)", "d" * 64, "sparse", "cross-entropy",
    "train_squared_error", "lower", Budget("gradients", 600_000), "fp32", 24,
)  # fmt: skip


@dataclass
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def bench(workdir: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run `bench` with arguments in an empty folder."""

    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, *capfd.readouterr())

    return run


class Filled:
    """Enters comparisons, trials and measurements, as a run would."""

    protocol = PROTOCOL

    def __init__(self, store: Store) -> None:
        self.store = store

    def comparison(self, kind: str = "comparison", command: str = "bench", **fields: Any) -> str:
        protocol = replace(PROTOCOL, **fields)
        return self.store.new_comparison(protocol, kind, command)  # type: ignore[arg-type]

    def trial(
        self,
        comparison: str,
        label: str = "nag",
        seed: int = 0,
        hyperparameters: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        **fields: Any,
    ) -> int:
        method = MethodSpec(label.split("[")[0], "torch", hyperparameters or {"lr": 0.01})
        return self.store.begin(
            comparison,
            TrialSpec(replace(PROTOCOL, **fields), method, seed),
            label=label,
            purpose="reported",
            source_digest="s",
            context=context or {"threads": 1, "versions": {"torch": "2.13.0"}},
            info={"host": "here", "argv": ["bench", "compare"]},
            fleet_rows=1,
            seconds_are="shared",
            owner="me",
        )

    def measure(self, trial: int, count: int, last: float | None = None) -> Measurement:
        """Enter the first measurements of a grid of 24; the last is `last`, where it is given."""
        taken = []
        for i in range(count):
            spent = 600_000 * 10 ** (-3 + 3 * i / 24) if i else 0.0
            ledger = Ledger(int(spent / 200), int(spent), spent, seconds=spent / 1000)
            value = 60 / (1 + i)
            taken.append(Measurement(i, ledger, value, 1.1 * value, 100.0, 101.0))
        if last is not None:
            taken[-1] = replace(taken[-1], train_metric=last)
        self.store.record([(trial, m) for m in taken])
        return taken[-1]

    def end(self, trial: int, count: int = 25, diverged: bool = False) -> None:
        last = self.measure(trial, count, math.nan if diverged else None)
        reason = "the loss was not finite at update 9" if diverged else None
        self.store.end(trial, "diverged" if diverged else "budget", reason, last.ledger, last)


@pytest.fixture
def filled(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Filled]:
    """An empty store that the commands use without being told."""
    monkeypatch.setenv("BENCH_STORE", store_url)
    with Store.open(store_url) as store:
        yield Filled(store)
