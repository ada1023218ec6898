"""Records: what the training loop measures, and what the store returns to analysis and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from bench.harness.core.spec import Protocol

Status = Literal["planned", "running", "budget", "diverged", "failed", "interrupted"]
FleetStatus = Literal["planned", "running", "ended", "failed"]
NightStatus = Literal["running", "clean", "changed", "failed"]
MetricKind = Literal["digest", "quality", "time"]
MetricState = Literal["same", "worse", "better", "changed", "new", "not judged"]
Count = Annotated[int, Ge(0), Lt(2**63)]
Amount = Annotated[float, Ge(0), Lt(inf)]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a trial has spent so far, in all currencies."""

    updates: Count = 0
    examples: Count = 0
    """Cases that were run through the network, once for every pass: loss, gradient or product."""
    gradients: Amount = 0.0
    """Gradient-equivalents: the price of everything that was computed."""
    products: Count = 0
    """Products with the Gauss–Newton matrix or the Hessian, each over one batch."""
    cg_steps: Count = 0
    seconds: Amount = 0.0
    """The trial's share of its fleet's training time: `fleet_seconds` / rows of the fleet."""
    peak_memory: Count = 0
    """Bytes: of the GPU if one is used, else of the process."""
    fleet_seconds: Amount = 0.0
    """Training time of the whole fleet, without evaluation and recording."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One evaluation of a trial, on the whole training set and the whole test set."""

    index: Count
    """0 is the initial point; each evaluation adds one."""
    ledger: Ledger
    train_metric: float
    test_metric: float
    train_loss: float
    test_loss: float
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Certificate:
    """What a trial was computed from, besides its protocol, its method and its context."""

    theta: str
    """SHA-256 of the initial parameters, in the trial's precision."""
    method_source: str
    """SHA-256 of the source of the method alone."""
    problem_source: str
    """SHA-256 of the source of the problem alone."""
    seeds: Mapping[str, Any]
    """Which random streams the trial uses, and how their seeds are computed."""
    command: str
    """The command that repeats the trial."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial in the store."""

    id: int
    uuid: str
    """32 hexadecimal digits that identify the trial in every store that holds a copy."""
    key: str
    attempt: int
    protocol_key: str
    method: str
    """The label in tables: the name, with backend and hyperparameters if several share it."""
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
    """From the last measurement; None if there is no measurement or the value is not finite."""
    test_metric: float | None
    source_digest: str
    context_digest: str
    fleet_rows: int
    started: datetime | None
    ended: datetime | None
    mlflow_run_id: str | None
    certificate: Certificate | None = None
    """None if an earlier version of bench recorded the trial."""
    anytime_updates: int | None = None
    """How many of its first updates do not depend on where its budget ends; None: all of them, or
    an earlier version of bench recorded the trial."""


@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison, a single run or a tuning in the store."""

    id: str
    kind: Literal["comparison", "run", "tuning"]
    protocol: Protocol
    command: str
    status: Literal["planned", "running", "done", "failed", "interrupted"]
    """`planned`: workers may train its fleets, and no process runs the whole comparison."""
    created: datetime
    ended: datetime | None
    summary: Mapping[str, Any] | None
    pairs: tuple[Mapping[str, Any], ...]
    """The verdict of each pair of methods."""
    reused: frozenset[int]
    """Ids of earlier trials that the comparison uses instead of training them again."""
    mlflow_run_id: str | None
    owner: str | None
    """The process that runs the comparison, or ran it last: "host:pid"."""


@dataclass(frozen=True)
class PlanRecord:
    """The plan of a comparison in the store."""

    digest: str
    """SHA-256 of the canonical JSON of `body`."""
    body: Mapping[str, Any]
    shared: bool
    """Whether any worker may lease its fleets."""


@dataclass(frozen=True)
class FleetRecord:
    """A fleet in the store: trials of a comparison that are trained together."""

    id: int
    comparison_id: str
    number: int
    """0 is the first fleet of the plan."""
    cost: float
    """The planner's estimate: seconds of work on one thread."""
    task: Mapping[str, Any]
    """The fleet's trials, as the plan names them."""
    status: FleetStatus
    owner: str | None
    """The process that trains the fleet, or trained it last: "host:pid"."""
    trials: tuple[int, ...]
    """Trial ids by row; fewer than rows if the process died while it started them."""


@dataclass(frozen=True)
class ClaimRecord:
    """The decision about a claim of the paper, in the store."""

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
    """A baseline in the store: a comparison that a person has accepted."""

    name: str
    accepted: datetime
    comparison_id: str
    note: str | None


@dataclass(frozen=True)
class NightMetric:
    """One metric of a night, its baseline value, and the result of their comparison."""

    kind: MetricKind
    protocol_key: str
    """The protocol of the comparison that the metric belongs to."""
    problem: str
    """Problem and preset in words: "curves / quick"."""
    method: str
    """The method's label."""
    metric: str
    """The metric's name: "train_squared_error", "theta after 20 updates", "update / kernel"."""
    direction: Literal["lower", "higher", "equal"]
    """Which values are better; "equal" for a digest."""
    scale: Literal["log", "plain"]
    """Whether value, reference, threshold and sd are natural logarithms."""
    context_digest: str
    state: MetricState
    value: float | None = None
    """The measured value on this scale; None for a digest, or if a trial diverged."""
    reference: float | None = None
    threshold: float | None = None
    """The largest |value − reference| that is not a finding."""
    sd: float | None = None
    """Standard deviation of a night's value when nothing changes, from `bench noise`."""
    digest: str | None = None
    n: int | None = None
    """Number of seeds, or of repetitions of a timing."""
    comparison_id: str | None = None
    """The comparison that the night ran."""
    reason: str = ""

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What identifies the same metric in other nights, whatever the context."""
        return self.kind, self.protocol_key, self.method, self.metric

    @property
    def is_finding(self) -> bool:
        """Whether the night ends with exit code 1 because of this metric."""
        return self.state in ("worse", "better", "changed")


@dataclass(frozen=True)
class NightRecord:
    """A night in the store: a run of a suite that was compared with a baseline."""

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
    """A noise measurement in the store: the scatter of a suite's metrics when nothing changes."""

    uuid: str
    suite: str
    body: Mapping[str, Any]
    created: datetime
