"""What a trial leaves behind: the words that loop, store, analysis and report share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bench.harness.core.spec import Protocol

Status = Literal["planned", "running", "budget", "diverged", "failed", "interrupted"]
FleetStatus = Literal["planned", "running", "ended", "failed"]
NightStatus = Literal["running", "clean", "changed", "failed"]
MetricKind = Literal["digest", "quality", "time"]
MetricState = Literal["same", "worse", "better", "changed", "new", "not judged"]


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
class Certificate:
    """What a trial was made from, besides its protocol, its method and its context."""

    theta: str
    """SHA-256 of the initial parameters, in the trial's precision."""
    method_source: str
    """SHA-256 of the source of the method alone."""
    problem_source: str
    """SHA-256 of the source of the problem alone."""
    seeds: Mapping[str, Any]
    """Which random streams follow from the seed, and how."""
    command: str
    """The command that makes the trial again."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it stands in the store."""

    id: int
    uuid: str
    """32 hexadecimal digits that name it in every store that it is copied to."""
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
    certificate: Certificate | None = None
    """None: an earlier version of bench recorded it."""


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison, a single run or a tuning as it stands in the store."""

    id: str
    kind: Literal["comparison", "run", "tuning"]
    protocol: Protocol
    command: str
    status: Literal["planned", "running", "done", "failed", "interrupted"]
    """`planned`: its fleets are there for workers, and nobody runs it as a whole."""
    created: datetime
    ended: datetime | None
    summary: Mapping[str, Any] | None
    pairs: tuple[Mapping[str, Any], ...]
    """The verdict of each pair of methods."""
    reused: frozenset[int]
    """Trials that were recorded earlier and taken over."""
    mlflow_run_id: str | None
    owner: str | None
    """The process that runs it, or ran it last: "host:pid"."""


@dataclass(frozen=True)
class PlanRecord:
    """What a comparison was planned to run, as it stands in the store."""

    digest: str
    """SHA-256 of the canonical JSON of `body`."""
    body: Mapping[str, Any]
    shared: bool
    """Whether any worker may lease its fleets."""


@dataclass(frozen=True)
class FleetRecord:
    """Trials of a comparison that are trained together, as they stand in the store."""

    id: int
    comparison_id: str
    number: int
    """0 is the first fleet of the plan."""
    cost: float
    """Seconds of work on one thread, by the planner's count."""
    task: Mapping[str, Any]
    """Its trials, as the plan names them."""
    status: FleetStatus
    owner: str | None
    """The process that trains it, or trained it last: "host:pid"."""
    trials: tuple[int, ...]
    """Ids by row; fewer than rows where its process died while it began them."""


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


@dataclass(frozen=True)
class BaselineRecord:
    """An accepted comparison, as it stands in the store."""

    name: str
    accepted: datetime
    comparison_id: str
    note: str | None


@dataclass(frozen=True)
class NightMetric:
    """One thing that a night has held against its baseline, and what was found."""

    kind: MetricKind
    protocol_key: str
    """Of the comparison that it is part of."""
    problem: str
    """Problem and preset, for people: "curves / quick"."""
    method: str
    """The method's label."""
    metric: str
    """What was measured: "train_squared_error", "theta after 20 updates", "update / kernel"."""
    direction: Literal["lower", "higher", "equal"]
    """Which side is better; "equal" of a digest."""
    scale: Literal["log", "plain"]
    """Whether value, reference, threshold and sd are natural logarithms."""
    context_digest: str
    state: MetricState
    value: float | None = None
    """What was measured, on its scale; None: a digest, or a trial diverged."""
    reference: float | None = None
    threshold: float | None = None
    """The largest |value − reference| that is no finding."""
    sd: float | None = None
    """Standard deviation of a night's value where nothing changes, by `bench noise`."""
    digest: str | None = None
    n: int | None = None
    """Seeds, or repetitions of a time."""
    comparison_id: str | None = None
    """The comparison that the night ran."""
    reason: str = ""

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What it has in common with the same thing in other nights, context apart."""
        return self.kind, self.protocol_key, self.method, self.metric

    @property
    def is_finding(self) -> bool:
        """Whether it ends a night with exit code 1."""
        return self.state in ("worse", "better", "changed")


@dataclass(frozen=True)
class NightRecord:
    """A run of a suite that was held against a baseline, as it stands in the store."""

    uuid: str
    suite: str
    suite_digest: str
    baseline: str
    status: NightStatus
    reason: str | None
    commit: str | None
    info: Mapping[str, Any]
    created: datetime
    ended: datetime | None
    metrics: tuple[NightMetric, ...] = ()


@dataclass(frozen=True)
class NoiseRecord:
    """How much a suite's metrics scatter where nothing changes, as it stands in the store."""

    uuid: str
    suite: str
    body: Mapping[str, Any]
    created: datetime
