"""What a trial leaves behind: the words that loop, store, analysis and report share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from harness.spec import Protocol

Status = Literal["planned", "running", "budget", "diverged", "failed", "interrupted"]


@dataclass(frozen=True)
class Ledger:
    """What a trial has spent so far, in several currencies at once."""

    updates: int = 0
    examples: int = 0
    """Cases whose gradient was taken."""
    gradients: float = 0.0
    """Gradient-equivalents: everything that was computed, at its price."""
    products: int = 0
    """Gauss–Newton products, each over one batch."""
    cg_steps: int = 0
    seconds: float = 0.0
    """Training time; evaluation and recording are off this clock."""
    peak_memory: int = 0
    """Bytes: of the device where there is one, else of the process."""


@dataclass(frozen=True)
class Measurement:
    """One evaluation of a trial, on the whole training set and the whole test set."""

    index: int
    """0 is the initial point; rising by one."""
    ledger: Ledger
    train_metric: float
    test_metric: float
    train_loss: float
    test_loss: float
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it stands in the store."""

    id: int
    key: str
    attempt: int
    protocol_key: str
    method: str
    """Its label in tables: the name, with backend and hyperparameters where these tell apart."""
    method_name: str
    backend: str
    hyperparameters: Mapping[str, Any]
    method_key: str
    seed: int
    purpose: Literal["reported", "tuning"]
    status: Status
    reason: str | None
    ledger: Ledger
    seconds_are: Literal["alone", "shared"]
    train_metric: float | None
    """Of the last measurement; None where there is none or it is not finite."""
    test_metric: float | None
    source_digest: str
    context_digest: str
    fleet_rows: int
    started: datetime | None
    ended: datetime | None
    mlflow_run_id: str | None


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison, a single run or a tuning as it stands in the store."""

    id: str
    kind: Literal["comparison", "run", "tuning"]
    protocol: Protocol
    command: str
    status: Literal["running", "done", "failed", "interrupted"]
    created: datetime
    ended: datetime | None
    summary: Mapping[str, Any] | None
    pairs: tuple[Mapping[str, Any], ...]
    """The verdict of each pair of methods."""
    reused: frozenset[int]
    """Trials that were recorded earlier and taken over."""
    mlflow_run_id: str | None


@dataclass(frozen=True)
class ClaimRecord:
    """What was decided of a claim, as it stands in the store."""

    id: str
    claim: int
    version: int
    preset: str
    rule_digest: str
    decision: str
    body: Mapping[str, Any]
    created: datetime
