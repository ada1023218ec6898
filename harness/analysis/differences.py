"""Sentences on the differences between a comparison's trials, besides their methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from bench.harness.core.records import Certificate, TrialRecord
from bench.harness.core.spec import canonical_json

ByMethod = Mapping[str, Sequence[TrialRecord]]
Contexts = Mapping[str, Mapping[str, Any]]
"""Digest → context."""
SHOWN = 8
"""Digits of a digest in sentences."""


def differences(by_method: ByMethod, contexts: Contexts) -> list[str]:
    """Return a sentence for each difference of sources, initial parameters, versions and contexts.

    Information that an earlier version of bench did not record is ignored.
    """
    return [
        *_sources(by_method),
        *_starts(by_method),
        *_versions(by_method, contexts),
        *_contexts(by_method, contexts),
    ]


def _sources(by_method: ByMethod) -> list[str]:
    found = []
    for method, trials in by_method.items():
        if len({t.source_digest for t in trials}) <= 1:
            continue
        own = _values({method: trials}, _of_certificate(lambda of: of.method_source))
        if len(own) > 1:
            found.append(f"{method}: its trials ran from different sources of the method.")
        elif any(t.certificate is None for t in trials):
            found.append(f"{method}: its trials ran from different sources of method or problem.")
    problem = _values(by_method, _of_certificate(lambda of: of.problem_source))
    if len(problem) > 1:
        found.append(f"The source of the problem differs: {_listed(problem)}.")
    return found


def _starts(by_method: ByMethod) -> list[str]:
    """Report the seeds for which methods had different initial parameters; they should be equal."""
    seeds = sorted({t.seed for trials in by_method.values() for t in trials})
    apart = []
    for seed in seeds:
        under = {m: [t for t in trials if t.seed == seed] for m, trials in by_method.items()}
        starts = _values(under, _of_certificate(lambda of: of.theta))
        if len(starts) > 1:
            apart.append((seed, starts))
    if not apart:
        return []
    which = ", ".join(str(seed) for seed, _ in apart)
    seed, starts = apart[0]
    return [
        "The methods have different initial parameters, so pairing by seed is less effective: seed "
        f"{which}. With seed {seed} the digests are {_listed(starts)}."
    ]


def _versions(by_method: ByMethod, contexts: Contexts) -> list[str]:
    of = {digest: context.get("versions", {}) for digest, context in contexts.items()}
    names = dict.fromkeys(name for versions in of.values() for name in versions)
    found = []
    for name in names:
        versions = {digest: each.get(name) for digest, each in of.items()}
        values = _values(by_method, partial(_in_context, versions))
        if len(values) > 1:
            found.append(f"The version of {name} differs: {_listed(values)}.")
    return found


def _in_context(values: Mapping[str, str | None], trial: TrialRecord) -> str | None:
    return values.get(trial.context_digest)


def _contexts(by_method: ByMethod, contexts: Contexts) -> list[str]:
    trials = [t for mine in by_method.values() for t in mine]
    digests = {t.context_digest for t in trials}
    if len(digests) <= 1:
        return []
    known = [contexts[digest] for digest in digests if digest in contexts]
    names = dict.fromkeys(name for context in known for name in context)
    # A field that an earlier version of bench did not record is no difference.
    apart = [n for n in names if len({canonical_json(of[n]) for of in known if n in of}) > 1]
    shown = ", ".join(
        "trials per fleet" if n == "fleet_rows" else n.replace("_", " ") for n in apart
    )
    which = f" ({shown})" if apart else ""
    return [f"The trials ran under different conditions{which}, so their seconds are not ranked."]


def _of_certificate(what: Callable[[Certificate], str]) -> Callable[[TrialRecord], str | None]:
    def of(trial: TrialRecord) -> str | None:
        return None if trial.certificate is None else what(trial.certificate)[:SHOWN]

    return of


def _values(
    by_method: ByMethod, of: Callable[[TrialRecord], str | None]
) -> dict[str, dict[str, None]]:
    """Return the methods that have each value, both in order of appearance."""
    found: dict[str, dict[str, None]] = {}
    for method, trials in by_method.items():
        for trial in trials:
            if (value := of(trial)) is not None:
                found.setdefault(value, {})[method] = None
    return found


def _listed(values: Mapping[str, Mapping[str, None]]) -> str:
    return ", ".join(f"{value} ({', '.join(methods)})" for value, methods in values.items())
