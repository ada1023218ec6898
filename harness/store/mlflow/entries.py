"""What a trial looks like in MLflow: its name, parameters, tags and points, as plain values."""

from __future__ import annotations

import html
import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.harness.core.defaults import tuned_values
from bench.harness.core.records import ComparisonRecord, Measurement, TrialRecord
from bench.harness.core.spec import Protocol, brief_name, name_text, problem_text
from bench.harness.core.text import storable
from bench.harness.store.mlflow.colors import GROUP_TAG, color, group

POINTS = 300
"""At most so many points a metric and run."""
NAME_WIDTH = 17
"""MLflow's table of runs shows so many characters of a name."""
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
KEY_LENGTH = 250
DIGEST_LENGTH = 36
MAX_LABEL_LENGTH = 200
MAX_VALUE_LENGTH = 30
"""A parameter with a longer value, such as a digest, is left out of names."""
Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    """Updates."""
    timestamp: int
    """Milliseconds since the epoch: the run's start plus its training seconds."""


def text(value: Any, limit: int) -> str:
    """Return what any of the databases can store; a cut says how long the whole was."""
    whole = storable(str(value))
    if len(whole) <= limit:
        return whole
    note = f" … (cut: {len(whole)} characters)"
    return whole[: limit - len(note)] + note


def name(value: str) -> str:
    """Return a key that MLflow takes: letters, digits, and `_ - . : /` or blanks; no `..`."""
    key = re.sub(r"[^\w\-. :/]", "_", value, flags=re.ASCII).strip("/. ")[:KEY_LENGTH]
    # It is the path of a file where MLflow keeps files.
    key = key.rstrip("/. ") if posixpath.normpath(key) == key else key.replace("/", "_")
    return key or "_"


def markdown(value: str) -> str:
    """Return what Markdown shows as this text, which it takes for neither markup nor HTML."""
    plain = re.sub(r"([\\`*_{}\[\]()#+\-.!|~$])", r"\\\1", " ".join(value.split()))
    return html.escape(plain, quote=False)


def experiment_name(protocol: Protocol) -> str:
    """Return `<problem>-<preset>`, without the "/" whose head MLflow's page would hide."""
    problem = protocol.problem.rpartition("/")[2]
    named = problem_text(problem, dict(sorted(protocol.parameters.items())))
    return text(named, 200).replace("/", "-") + f"-{protocol.preset}"


def run_name(trial: TrialRecord, protocol: Protocol | None = None) -> str:
    """Return a name whose first 17 characters tell a trial from the others: `nag lr=.01 s0`.

    Where the method's label is too long for that, its first letters and four digits of the
    method's key stand in front and the whole label behind. With a protocol, the end has the
    values that are in neither the label nor `core/defaults.toml`, such as tuned ones.
    """
    head, bracket, inside = trial.method.partition("[")
    head = brief_name(head, trial.hyperparameters)
    if not bracket and isinstance(rate := trial.hyperparameters.get("lr"), float):
        inside = f"lr={rate:g}"
    inside = inside.removesuffix("]")
    label = _brief(f"{head} {inside.replace(',', ' ')}", 120)
    end = f" s{trial.seed}" + (f" #{trial.attempt}" if trial.attempt > 1 else "")
    others = _unusual(trial, protocol, inside) if protocol else []
    behind = f", {_brief(' '.join(others), 60)}" if others else ""
    if len(label) + len(end) <= NAME_WIDTH:
        return label + end + behind
    short = f"{label[: max(NAME_WIDTH - len(end) - 5, 1)].rstrip()}~{trial.method_key[:4]}"
    return f"{short}{end} {label}{behind}"


def _brief(words: str, length: int) -> str:
    return text(re.sub(r"(?<![\d.])0\.(?=\d)", ".", " ".join(words.split())), length)


def _unusual(trial: TrialRecord, protocol: Protocol, written: str) -> list[str]:
    """Return the values that differ from the tuned defaults and are not written already."""
    given, names = trial.hyperparameters, re.findall(r"(?:^|,)\s*([\w.]+)=", written)
    usual = tuned_values(protocol.problem, protocol.preset, trial.method_name)
    return [
        f"{key}={given[key]:g}"
        if isinstance(given[key], float)
        else f"{key}={name_text(given[key])}"
        for key, value in usual.items()
        if key in given and given[key] != value and key not in names
    ]


def distinct_name(name: str, key: str, mine: Parameters, taken: Mapping[str, Parameters]) -> str:
    """Return the name, or one with what differs from the run that has it already.

    >>> distinct_name("hf s0", "c0ffee", {"lam": "3"}, {"hf s0": {"lam": "10"}})
    'hf s0, lam=3'
    """
    if name in taken:
        found = [
            f"{k.removeprefix('protocol.')}={value}"
            for k, value in mine.items()
            if taken[name].get(k) != value and len(value) <= MAX_VALUE_LENGTH
        ]
        name = f"{name}, {_brief(' '.join(found), 60)}" if found else name
    return f"{name}, {key[:12]}" if name in taken else name


def parameters(trial: TrialRecord, protocol: Protocol) -> dict[str, str]:
    """Return what identifies a trial and never changes."""
    fixed: dict[str, Any] = {
        f"protocol.{key}": value
        for key, value in protocol.as_dict().items()
        if key not in ("budget", "parameters")
    }
    fixed["protocol.budget"] = f"{protocol.budget.amount:g} {protocol.budget.currency}"
    fixed |= {f"problem.{key}": value for key, value in protocol.parameters.items()}
    fixed |= {"method": trial.method_name, "backend": trial.backend, "seed": trial.seed}
    for key, value in trial.hyperparameters.items():
        fixed[f"hyperparameter.{key}" if key in fixed else key] = name_text(value)
    return {name(key): text(value, PARAMETER_LENGTH) for key, value in fixed.items()}


def tags(
    trial: TrialRecord,
    protocol: Protocol,
    comparisons: Iterable[str],
    context: Mapping[str, Any],
    info: Mapping[str, Any],
) -> dict[str, str]:
    """Return a trial's state and what its runs are grouped and found by."""
    values: dict[str, Any] = {
        "bench.kind": "trial",
        "bench.trial": identity(trial),
        "bench.method": trial.method,
        "bench.backend": trial.backend,
        "bench.seed": trial.seed,
        "bench.purpose": trial.purpose,
        "bench.status": trial.status,
        "bench.reason": trial.reason or "",
        "bench.comparison": ", ".join(comparisons),
        "bench.protocol": trial.protocol_key,
        "bench.source": trial.source_digest,
        "bench.context": trial.context_digest,
        "bench.seconds_are": trial.seconds_are,
        "bench.fleet_rows": trial.fleet_rows,
        "bench.metric": protocol.metric,
        GROUP_TAG: group(text(trial.method, MAX_LABEL_LENGTH)),
        "mlflow.runColor": color(text(trial.method, MAX_LABEL_LENGTH)),
    }
    if trial.anytime_updates is not None:
        values["bench.anytime_updates"] = trial.anytime_updates
    if (certificate := trial.certificate) is not None:
        values |= {
            "bench.theta": certificate.theta,
            "bench.method_source": certificate.method_source,
            "bench.problem_source": certificate.problem_source,
            "bench.command": certificate.command,
        }
    values |= {f"bench.context.{key}": plain(value) for key, value in context.items()}
    values |= {f"bench.info.{key}": plain(value) for key, value in info.items()}
    if "user" in info:
        values["mlflow.user"] = info["user"]
    return {name(key): text(value, TAG_LENGTH) for key, value in values.items()}


def plain(value: Any) -> str:
    """Return words as they are and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def comparison_name(comparison: ComparisonRecord, methods: Iterable[str]) -> str:
    """Return `compare nag,hf 3f2a9b1c`."""
    verb = {"comparison": "compare", "tuning": "tune"}.get(comparison.kind, comparison.kind)
    return f"{verb} {text(','.join(methods), 200)} {comparison.id}"


def comparison_tags(comparison: ComparisonRecord) -> dict[str, str]:
    """Return a comparison's state, its verdicts in words, and the command that repeats it."""
    # Comparisons recorded by earlier versions of bench have no sentences.
    verdicts = [
        pair.get("claim") or f"{pair['a']} against {pair['b']}: {pair['verdict']}"
        for pair in comparison.pairs
    ]
    sentences = [
        f"{verdict}: {pair['evidence']}" if "evidence" in pair else verdict
        for verdict, pair in zip(verdicts, comparison.pairs, strict=True)
    ]
    # Code is indented, and stays so on every line.
    note = [*map(markdown, sentences), "", "    " + comparison.command.replace("\n", "\n    ")]
    values = {
        "bench.kind": comparison.kind,
        "bench.comparison": comparison.id,
        "bench.status": comparison.status,
        "bench.protocol": comparison.protocol.key,
        "bench.metric": ((comparison.summary or {}).get("metric") or {}).get(
            "name", comparison.protocol.metric
        ),
        "bench.command": comparison.command,
        "bench.verdict": "; ".join(verdicts),
        "mlflow.note.content": "\n".join(note),
    }
    # Earlier versions of bench did not record it.
    if end := (comparison.summary or {}).get("budget_end"):
        values["bench.budget_end"] = f"{end['kind']}: {end['sentence']}"
    return {key: text(value, TAG_LENGTH) for key, value in values.items()}


def comparison_points(comparison: ComparisonRecord, at: int) -> list[Point]:
    """Return a comparison's key figures: every method's mean and interval, every pair's p."""
    figures: dict[str, Any] = {}
    for method in (comparison.summary or {}).get("methods", ()):
        for figure in ("mean", "low", "high"):
            figures[f"final_{figure}.{method['method']}"] = method["final"].get(figure)
    for pair in comparison.pairs:
        for figure in ("difference", "low", "high", "p"):
            figures[f"{figure}.{pair['a']}.{pair['b']}"] = pair.get(figure)
    return [
        Point(name(key), float(value), 0, at)
        for key, value in figures.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]


def identity(trial: TrialRecord) -> str:
    """Return the key and attempt by which a trial's run is found again."""
    return f"{trial.key}:{trial.attempt}"


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since the epoch; a moment without a zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def is_kept(index: int, evaluations: int) -> bool:
    """Say whether a measurement is among the at most 299 that are shown of a growing trial.

    Evaluations lie evenly on the logarithm of the budget, so evenly spaced indices do too. The
    choice rests on the planned number alone, so that it is the same at every moment of the run.
    """
    last = POINTS - 2
    if evaluations <= last:
        return index <= last
    mine, before = index * last // evaluations, (index - 1) * last // evaluations
    return mine <= last and (index == 0 or mine != before)


def selected(
    measurements: Sequence[Measurement], evaluations: int, after: int, ended: bool
) -> list[Measurement]:
    """Return the measurements to write now: new ones that are kept, and an ended trial's last."""
    final = max((m.index for m in measurements), default=-1) if ended else -1
    return [
        m
        for m in measurements
        if m.index == final or (m.index > after and is_kept(m.index, evaluations))
    ]


def values(measurement: Measurement, metric: str) -> dict[str, float]:
    """Return a measurement's metrics by name, finite or not."""
    short = metric.removeprefix("train_")
    ledger = measurement.ledger
    return {name(key): float(value) for key, value in measurement.diagnostics.items()} | {
        name(f"train_{short}"): measurement.train_metric,
        name(f"test_{short}"): measurement.test_metric,
        "train_loss": measurement.train_loss,
        "test_loss": measurement.test_loss,
        "examples": float(ledger.examples),
        "gradients": ledger.gradients,
        "products": float(ledger.products),
        "cg_steps": float(ledger.cg_steps),
        "seconds": ledger.seconds,
        "fleet_seconds": ledger.fleet_seconds,
        "peak_memory": float(ledger.peak_memory),
    }


def points(measurements: Iterable[Measurement], metric: str, start: int) -> list[Point]:
    """Return the finite values as points; a NaN would be stored as 0 and hide the metric."""
    return [
        Point(key, value, m.ledger.updates, start + round(m.ledger.fleet_seconds * 1000))
        for m in measurements
        for key, value in values(m, metric).items()
        if math.isfinite(value)
    ]


def non_finite(measurements: Iterable[Measurement], metric: str) -> dict[str, str]:
    """Return a tag for every metric that was not finite: its value, and when last."""
    return {
        f"bench.nonfinite.{key}"[:KEY_LENGTH]: f"{value} at update {m.ledger.updates}"
        for m in measurements
        for key, value in values(m, metric).items()
        if not math.isfinite(value)
    }
