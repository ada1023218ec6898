"""One trial with everything that is recorded about it, and two trials side by side."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.harness.cli.console import PAGE, add_row, any_number, console, table
from bench.harness.cli.record_lookup import comparisons_by_trial
from bench.harness.cli.sparkline import Axes
from bench.harness.comparison.comparability import allow_hint, check_allowed, in_words, plain
from bench.harness.core.errors import Incomparable
from bench.harness.core.records import ComparisonRecord, Measurement, TrialRecord
from bench.harness.core.spec import MethodSpec, Protocol, problem_text
from bench.harness.report.commands import Command
from bench.harness.report.table import number
from bench.harness.store.results import Store
from bench.optim.values import value_text

MAX_LINES = 25
"""Measurements that are shown at most; of more, we show an even selection."""

STEP_COLUMNS = {
    "lambda": "lambda",
    "rho": "rho",
    "CG": "cg_steps",
    "chosen": "iterate",
    "rate": "rate",
    "model": "model_decrease",
    "real": "decrease",
    "evaluations": "evaluations",
}
"""The columns for a Hessian-free step: head, and key in the report of the step. `model` is the
decrease of h that the quadratic model predicted, `real` is the decrease that the step achieved."""

Sections = Mapping[str, Mapping[str, str]]

# Other sections follow from these, or may differ.
_COMPARED = ("protocol", "method", "source", "start", "context")
# Earlier versions of bench did not record these, so a missing value is no difference.
_CERTIFICATE = ("source", "start")


def show_trial(store: Store, trial: TrialRecord) -> None:
    """Print one trial and the command that repeats it."""
    parts = comparisons_by_trial(store, [trial.id]).get(trial.id, [])
    out = console(PAGE)
    out.print(_grid([_sections(store, trial, parts)]))
    out.print()
    taken = _selected(store.measurements([trial.id])[trial.id])
    out.print(_measurements(taken))
    if any("lambda" in m.diagnostics for m in taken):
        out.print()
        out.print(_steps(taken))
    made = trial.certificate
    if made is not None or parts:
        command = _command(trial, parts[0]) if made is None else made.command
        out.print()
        if Command(command).exists:
            out.print("Repeat with:", style="dim")
        out.print(Text(command), style="cyan", soft_wrap=True)


def show_two_trials(
    store: Store, a: TrialRecord, b: TrialRecord, allowed: Sequence[str] = ()
) -> None:
    """Print two trials side by side; raise Incomparable if their protocols differ.

    The `allowed` fields may differ, and are then printed. Raises Usage for a field that must not.
    """
    check_allowed(allowed)
    parts = comparisons_by_trial(store, [a.id, b.id])
    both = [_sections(store, trial, parts.get(trial.id, [])) for trial in (a, b)]
    out = console(PAGE)
    out.print(_grid(both))
    out.print()
    protocols = [store.protocol(trial.protocol_key) for trial in (a, b)]
    fields = protocols[0].differences(protocols[1])
    refused = [field for field in fields if field not in allowed]
    if not refused:
        curves = store.measurements([a.id, b.id])
        axes = Axes.around(curves.values(), protocols[0].budget)
        out.print(axes.legend(protocols[0].metric.replace("_", " ")), style="dim")
        for trial in (a, b):
            out.print(f"trial {trial.id}  {axes.line(curves[trial.id])}".rstrip())
        out.print()
    for name in _COMPARED:
        differ = [key for key in _keys(both, name) if _differ(both, name, key)]
        equal = "equal" if all(one[name] for one in both) else "not recorded for both"
        out.print(f"{name}: " + (f"differs in {', '.join(differ)}" if differ else equal))
    values = [_plain_fields(protocol) for protocol in protocols]
    for field in fields:
        if field not in refused:
            which = " and ".join(each[field] for each in values)
            out.print(Text(f"--allow {field}: the trials differ here, as allowed: {which}"))
    if refused:
        named = "; ".join(f"{f} ({values[0][f]} and {values[1][f]})" for f in refused)
        raise Incomparable(
            f"Trials {a.id} and {b.id} cannot be compared, because their protocols differ: {named}."
            f"{allow_hint(refused)}"
        )


def _sections(
    store: Store, trial: TrialRecord, parts: Sequence[ComparisonRecord]
) -> dict[str, dict[str, str]]:
    """Return everything recorded about a trial except its measurements, as text by section."""
    spec = MethodSpec(trial.method_name, trial.backend, trial.hyperparameters)
    ledger = {name: number(value) for name, value in asdict(trial.ledger).items()}
    ledger["fleet seconds"] = ledger.pop("fleet_seconds")
    times = {
        name: f"{time:%Y-%m-%d %H:%M:%S} UTC"
        for name, time in (("started", trial.started), ("ended", trial.ended))
        if time
    }
    return {
        "trial": {
            "number": str(trial.id),
            "comparison": ", ".join(record.id for record in parts),
            "seed": str(trial.seed),
            "purpose": trial.purpose,
            "attempt": str(trial.attempt),
            "key": trial.key,
            "MLflow run": trial.mlflow_run_id or "–",
        },
        "outcome": {
            "status": trial.status + (f": {trial.reason}" if trial.reason else ""),
            "training metric": any_number(trial.train_metric),
            "test metric": any_number(trial.test_metric),
            **ledger,
            "seconds are": trial.seconds_are,
            **_anytime(trial),
            **times,
        },
        "protocol": _plain_fields(store.protocol(trial.protocol_key)),
        "method": {
            "method": spec.text,
            "name": spec.name,
            "backend": spec.backend,
            **{name: value_text(value) for name, value in spec.hyperparameters.items()},
        },
        **_certificate(trial),
        "context": _flat(store.context_of(trial.context_digest)),
        "info": _flat(store.info_of(trial.id)),
    }


def _anytime(trial: TrialRecord) -> dict[str, str]:
    """Return up to where a trial does not depend on the end of its budget, if it does at all."""
    if trial.anytime_updates is None:
        return {}
    return {"anytime up to": f"update {trial.anytime_updates:,}"}


def _certificate(trial: TrialRecord) -> dict[str, dict[str, str]]:
    """Return the digests of sources and initial parameters.

    Earlier versions of bench recorded only one digest, that of the sources.
    """
    made, digest = trial.certificate, {"digest": trial.source_digest}
    if made is None:
        return {"source": digest, "start": {}}
    return {
        "source": {**digest, "method's": made.method_source, "problem's": made.problem_source},
        "start": {"initial parameters": made.theta},
        "streams": {"rule": str(made.seeds["rule"]), **made.seeds["streams"]},
    }


def _grid(trials: Sequence[Sections]) -> Table:
    """Return sections as a table with one column per trial; relevant differences are marked."""
    grid = table("", *(f"trial {one['trial']['number']}" for one in trials))
    for name in dict.fromkeys(name for one in trials for name in one if one[name]):
        grid.add_row(Text(name, style="bold"))
        for key in _keys(trials, name):
            differs = name in _COMPARED and _differ(trials, name, key)
            mark = Text(f"{'≠' if differs else ' '} {key}", style="bold" if differs else "dim")
            add_row(grid, mark, *(one.get(name, {}).get(key, "–") for one in trials))
    return grid


def _keys(trials: Sequence[Sections], name: str) -> list[str]:
    return list(dict.fromkeys(key for one in trials for key in one.get(name, {})))


def _differ(trials: Sequence[Sections], name: str, key: str) -> bool:
    values = {one.get(name, {}).get(key) for one in trials}
    return len(values - {None} if name in _CERTIFICATE else values) > 1


def _measurements(taken: Sequence[Measurement]) -> Table:
    heads = ("updates", "gradients", "products", "seconds")
    values = ("training", "test", "training loss", "test loss")
    shown = table("", *heads, *values, right=("", *heads, *values))
    for m in taken:
        spent, last = m.ledger, (m.train_metric, m.test_metric, m.train_loss, m.test_loss)
        add_row(
            shown,
            m.index,
            *map(number, (spent.updates, spent.gradients, spent.products, spent.seconds)),
            *map(any_number, last),
        )
    return shown


def _steps(taken: Sequence[Measurement]) -> Table:
    """Return the Hessian-free report of the last update before each measurement."""
    shown = table("", *STEP_COLUMNS, right=("", *STEP_COLUMNS))
    for m in taken:
        if "lambda" in m.diagnostics:
            add_row(shown, m.index, *(_reported(m, name) for name in STEP_COLUMNS.values()))
    return shown


def _reported(measurement: Measurement, name: str) -> str:
    # ρ is −∞ where h rose, and an infinite number is not recorded.
    missing = -math.inf if name == "rho" else None
    return any_number(measurement.diagnostics.get(name, missing))


def _selected(taken: Sequence[Measurement]) -> list[Measurement]:
    """Return at most MAX_LINES measurements, evenly spread, with the first and the last."""
    if len(taken) <= MAX_LINES:
        return list(taken)
    return [taken[round(i * (len(taken) - 1) / (MAX_LINES - 1))] for i in range(MAX_LINES)]


def _command(trial: TrialRecord, part: ComparisonRecord) -> str:
    protocol = part.protocol
    words = [
        *("bench", "run", "--problem", _problem(part), "--preset", protocol.preset),
        "--optimizer",
        MethodSpec(trial.method_name, trial.backend, trial.hyperparameters).text,
        *("--seed", str(trial.seed)),
        *("--budget", protocol.budget.text),
        *("--precision", protocol.precision),
    ]
    return shlex.join(words)


def _problem(part: ComparisonRecord) -> str:
    """Return the problem as the command wrote it; a user's own problem has its file's name."""
    try:
        words = shlex.split(part.command)
    except ValueError:  # Not a command line that bench wrote.
        words = []
    if "--problem" in words[:-1]:
        return words[words.index("--problem") + 1]
    return problem_text(part.protocol.problem, part.protocol.parameters)


def _plain_fields(protocol: Protocol) -> dict[str, str]:
    return {name: in_words(name, value) for name, value in protocol.as_dict().items()}


def _flat(body: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested plain values under joined names."""
    flat: dict[str, str] = {}
    for name, value in body.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name} ")
        elif isinstance(value, list):
            flat[above + name] = shlex.join(str(item) for item in value)
        else:
            flat[above + name] = plain(value)
    return flat
