"""A store on SQLite and on PostgreSQL, and something to put into it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench.harness.core.records import Ledger, Measurement
from bench.harness.core.spec import Budget, MethodSpec, Protocol, TrialSpec
from bench.harness.store.mlflow.mirror import initialise
from bench.harness.store.results import Store
from tests.harness.store import mirrored


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a store that does not exist yet."""
    name = "store_url" if request.param == "sqlite" else "postgres_url"
    return request.getfixturevalue(name)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store."""
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(
        problem="curves",
        parameters={},
        preset="quick",
        data="curves (generated)",
        data_digest="0" * 64,
        initialization="sparse",
        objective="cross-entropy",
        metric="train_squared_error",
        direction="lower",
        budget=Budget("gradients", 1e5),
        precision="fp32",
        evaluations=10,
    )


@pytest.fixture
def spec(protocol: Protocol) -> TrialSpec:
    return TrialSpec(protocol, MethodSpec("nag", "torch", {"lr": 0.01, "mu_max": 0.99}), 0)


@pytest.fixture
def begin(store: Store, spec: TrialSpec) -> Callable[..., int]:
    """Enter a trial of `spec` in a comparison; what is given replaces what is usual."""

    def enter(comparison: str, spec: TrialSpec = spec, **given: Any) -> int:
        usual: dict[str, Any] = {
            "label": "nag",
            "purpose": "reported",
            "source_digest": "s",
            "context": {"threads": 1},
            "info": {"host": "here"},
            "fleet_rows": 1,
            "seconds_are": "alone",
            "owner": "me",
        }
        return store.begin(comparison, spec, **{**usual, **given})

    return enter


@pytest.fixture
def comparison(store: Store, protocol: Protocol) -> str:
    return store.new_comparison(protocol, "comparison", "bench compare --optimizers nag,hf")


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """Make the measurement with an index; what is given replaces what is usual."""

    def make(index: int, train_metric: float = 1.0, **diagnostics: float) -> Measurement:
        ledger = Ledger(10 * index, 1000 * index, 1.5 * index, 3, 2, 0.25 * index, 2**40)
        return Measurement(index, ledger, train_metric, 2.0, 3.0, 4.0, diagnostics)

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods × two seeds that have ended, beside MLflow's tables, which are empty."""
    file = tmp_path_factory.mktemp("template") / "bench.db"
    with Store.open(f"sqlite:///{file}") as store:
        comparison = store.new_comparison(mirrored.PROTOCOL, "comparison", "bench compare")
        for method in (mirrored.NAG, mirrored.HF):
            for seed in (0, 1):
                mirrored.train(store, mirrored.begin(store, comparison, method, seed), 4)
        pair = {"a": "nag", "b": "hf", "p": 0.03, "difference": -0.2, "verdict": "a better"}
        store.save_verdicts(comparison, [pair])
        final = {"mean": 0.25, "low": 0.2, "high": None, "values": [0.25, 0.25]}
        store.finish_comparison(
            comparison, "done", {"methods": [{"method": "nag", "final": final}], "pairs": [pair]}
        )
        initialise(store.url)
    return file


@pytest.fixture
def recorded(template: Path, tmp_path: Path) -> Iterator[Store]:
    """A store with all of that, for one test."""
    file = tmp_path / "bench.db"
    with closing(sqlite3.connect(template)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)
    with Store.open(f"sqlite:///{file}") as opened:
        yield opened
