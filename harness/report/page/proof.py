"""The page's certificate of a comparison, and the commands that repeat it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.harness.core.records import TrialRecord
from bench.harness.core.text import all_visible, visible
from bench.harness.report.page.figures import DIAGNOSTICS
from bench.harness.report.page.parts import Table
from bench.harness.report.table import number

Plain = dict[str, Any]
Pairs = list[tuple[str, str]]

_HEADS = ("Method", "Seed", "Attempt", "Status", "Training", "Test")
_DIGESTS = ("Method", "Seed", "Initial parameters", "Context", "Trial")
_SHORT = 12
"""Digits of a digest in headings; a table has the whole digests, folded away."""


def parts(
    summary: Plain, trials: Sequence[TrialRecord], contexts: Mapping[str, Mapping[str, Any]]
) -> Plain:
    """Return protocol, trials, sources, contexts, last diagnostics, and commands."""
    id = summary["comparison"]
    protocol = list(_flat(summary["protocol"]))
    digests = [(name, value) for name, value in protocol if name in ("key", "data digest")]
    joined = summary.get("joined", ())
    repeats = [(f"Repeat {p['comparison']}:", p["reproduce"]) for p in joined]
    return {
        "certificate": {
            "protocol": [pair for pair in protocol if pair not in digests],
            "trials": Table(
                "Every trial with its result", _HEADS, all_visible([_trial(t) for t in trials])
            ),
            "digests": digests,
            "trial_digests": Table(
                "SHA-256 of each trial's initial parameters, context and key. All methods have the "
                "same initial parameters for a seed.",
                _DIGESTS,
                all_visible([[t.method, str(t.seed), *_digests(t)] for t in trials]),
            ),
            "sources": _sources(trials),
            "seeds": _seeds(trials),
            "contexts": [
                (f"Device, versions and flags (context {digest[:_SHORT]})", list(_flat(body)))
                for digest, body in all_visible(contexts).items()
            ],
        },
        "diagnostics": _diagnostics(summary),
        "commands": [
            ("Repeat it:", summary["reproduce"]),
            *repeats,
            ("Show it in a terminal:", f"bench show {id}"),
        ],
        "trial_commands": [
            (f"{t.method}, seed {t.seed}:", visible(t.certificate.command))
            for t in trials
            if t.certificate
        ],
        "foot": f"Comparison {id}, written by bench. Everything on this page is in this file.",
    }


def _trial(trial: TrialRecord) -> list[str]:
    status = f"{trial.status}: {trial.reason}" if trial.reason else trial.status
    return [
        trial.method,
        str(trial.seed),
        str(trial.attempt),
        status,
        number(trial.train_metric),
        number(trial.test_metric),
    ]


def _digests(trial: TrialRecord) -> tuple[str, str, str]:
    theta = trial.certificate.theta if trial.certificate else "unknown"
    return theta, trial.context_digest, trial.key


def _sources(trials: Sequence[TrialRecord]) -> list[tuple[str, Pairs]]:
    """Return by method the digests of the source code of its trials."""
    found: dict[str, dict[tuple[str, str], None]] = {}
    for trial in trials:
        mine = found.setdefault(trial.method, {})
        mine["backend", trial.backend] = None
        mine["method and problem", trial.source_digest] = None
        if trial.certificate:
            mine["method alone", trial.certificate.method_source] = None
            mine["problem alone", trial.certificate.problem_source] = None
    return [(method, all_visible(list(pairs))) for method, pairs in found.items()]


def _seeds(trials: Sequence[TrialRecord]) -> Pairs:
    """Return the derivation of the first trial's random streams from its seed."""
    plan = next((t.certificate.seeds for t in trials if t.certificate), {})
    return list(_flat(all_visible(plan)))


def _diagnostics(summary: Plain) -> Table:
    """Return a table with each trial's diagnostics of its last update."""
    rows = [
        [f"{row['method']}, seed {trial['seed']}"]
        + [number(reported.get(name)) for name in DIAGNOSTICS]
        for row in summary["methods"]
        for trial in row["trials"]
        # Comparisons recorded by earlier versions of bench have none.
        if (reported := trial.get("diagnostics", {})).keys() & DIAGNOSTICS.keys()
    ]
    caption = "Diagnostics of each trial's last update"
    return Table(caption, ["Trial", *DIAGNOSTICS.values()], rows)


def _flat(plain: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values of nested mappings; a name begins with the names of outer mappings."""
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}: ")
        else:
            whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
            plain_value = int(value) if whole else value
            shown = value if isinstance(value, str) else json.dumps(plain_value, ensure_ascii=False)
            yield f"{before}{name}".replace("_", " "), shown
