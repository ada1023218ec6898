"""The schemas of what the store keeps as JSON, and of what an exported folder says about itself.

They name the fields that bench reads. A body may have more: another version may have written it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt, MinLen

from bench.harness.core.records import Count
from bench.harness.core.spec import Protocol

Number = float | None
_Plain = str | int | float | bool | None
Scale = Literal["log", "plain"]
Spent = Annotated[float, Ge(0)] | None


@dataclass(frozen=True)
class _Values:
    mean: Number
    low: Number
    high: Number
    values: list[Number]


@dataclass(frozen=True)
class _Final(_Values):
    test: _Values


@dataclass(frozen=True)
class _Spending:
    updates: Spent
    examples: Spent
    gradients: Spent
    products: Spent
    cg_steps: Spent
    seconds: Spent
    peak_memory: Spent
    seconds_are: Literal["alone", "shared"]


@dataclass(frozen=True)
class _Time:
    target: Number
    reached: Count
    of: Count
    gradients: Spent
    updates: Spent
    examples: Spent
    seconds: Spent
    restricted_mean: dict[str, Number]
    horizon: dict[str, Number]
    refused: bool = False


@dataclass(frozen=True)
class _Edge:
    name: str
    value: float
    side: str
    tried: Annotated[list[float], MinLen(1)]


@dataclass(frozen=True)
class _Tuning:
    trials: Count
    edges: list[_Edge] = field(default_factory=list)
    expected_best: list[Number] | None = None


@dataclass(frozen=True)
class _Trial:
    key: str
    attempt: Count
    seed: Count
    status: str
    reason: str | None
    train: Number
    test: Number
    diagnostics: dict[str, Number]


@dataclass(frozen=True)
class _Method:
    method: str
    name: str
    backend: str
    hyperparameters: dict[str, Any]
    n: Count
    final: _Final
    ledger: _Spending
    time_to_target: _Time
    times_to_targets: list[_Time]
    published: Number
    status: dict[str, Count]
    trials: list[_Trial]
    tuning: _Tuning


@dataclass(frozen=True)
class _Ratio:
    value: Number
    low: Number
    high: Number


@dataclass(frozen=True)
class Pair:
    """A verdict on two methods."""

    a: str
    b: str
    difference: Number
    low: Number
    high: Number
    p: float
    verdict: Literal["a better", "b better", "equivalent", "cannot tell", "too few seeds"]
    n: Count
    interval_kind: str | None
    unit: Literal["ratio", "difference"]
    smallest_detectable: Number
    reason: str
    ratio: _Ratio | None
    allowed: list[str] | dict[str, Any] = field(default_factory=list)
    seeds_to_decide: int | None = None
    refused_targets: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Dependence:
    method: str
    anytime_updates: Count
    updates: Count


@dataclass(frozen=True)
class _BudgetEnd:
    kind: Literal["anytime", "end-of-budget"]
    methods: list[_Dependence]
    sentence: str
    refusals: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Profiles:
    targets: list[float]
    methods: dict[str, dict[str, list[tuple[float, float]]]]


@dataclass(frozen=True)
class _Joined:
    comparison: str
    reproduce: str


@dataclass(frozen=True)
class _RuleOf:
    claim: int
    version: int
    rule_digest: str


@dataclass(frozen=True)
class Summary:
    """The result of a comparison, version 1 of its JSON."""

    schema_version: Literal[1]
    comparison: str
    protocol: Protocol
    methods: Annotated[list[_Method], MinLen(1)]
    pairs: list[Pair]
    alpha: float
    margin: float
    scale: Scale
    targets: list[float]
    profiles: _Profiles
    published_note: str | None
    notes: list[str]
    reproduce: str
    joined: list[_Joined] = field(default_factory=list)
    claim: _RuleOf | None = None
    budget_end: _BudgetEnd | None = None


@dataclass(frozen=True)
class _Statement:
    says: str
    scale: Scale
    side: Literal["above", "below"]
    threshold: float
    decision: Literal["holds", "does not hold", "cannot tell"]
    n: Count
    estimate: Number
    low: Number
    high: Number
    published: Number
    reason: str


@dataclass(frozen=True)
class _ClaimRun:
    comparison: str
    data: str


@dataclass(frozen=True)
class Claim:
    """The decision about a claim of the paper."""

    claim: Annotated[int, Ge(1), Lt(7)]
    title: str
    preset: str
    version: int
    rule_digest: str
    decision: Literal["holds", "does not hold", "cannot tell"]
    comparisons: dict[str, _ClaimRun]
    statements: list[_Statement]
    at_the_edge: list[str]


@dataclass(frozen=True)
class _Noise:
    kind: Literal["quality", "time"]
    protocol_key: str
    problem: str
    method: str
    metric: str
    context_digest: str
    scale: Scale
    sd: Number
    df: int
    n: int
    seeds: int
    false_alarms: Number
    reason: str


@dataclass(frozen=True)
class _FalseAlarms:
    at: float
    quality: Number
    time: Number


@dataclass(frozen=True)
class NoiseBody:
    """The scatter of a suite's metrics."""

    suite: str
    family: Count
    metrics: list[_Noise]
    false_alarm_rate: _FalseAlarms
    comparisons: list[str]
    seconds: Spent


@dataclass(frozen=True)
class ManifestTable:
    """A table of an exported folder."""

    file: str
    rows: Count
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an exported folder says about itself."""

    bench_export: int
    format: Literal["parquet", "jsonl"]
    revision: str
    tables: dict[str, ManifestTable]
    files: dict[str, str]


BODIES: Mapping[tuple[str, str], Any] = {
    ("comparison", "summary"): Summary,
    ("verdict", "body"): Pair,
    ("claim", "body"): Claim,
    ("noise", "body"): NoiseBody,
    ("protocol", "body"): Protocol,
    ("method", "hyperparameters"): dict[str, _Plain | list[_Plain | list[_Plain]]],
}
"""The schema of a column with JSON, by table (without "bench_") and column."""
