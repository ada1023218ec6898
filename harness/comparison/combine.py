"""Combine recorded comparisons with equal protocols, or with allowed differences, into one."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.harness.analysis.judged import judged_metric
from bench.harness.analysis.summary import summarize
from bench.harness.comparison.anytime import with_anytime_updates
from bench.harness.comparison.comparability import SOURCE, differing_fields, values_in_words
from bench.harness.comparison.files import write_files
from bench.harness.core.errors import Incomparable, Infrastructure, Usage
from bench.harness.core.published import published_value
from bench.harness.core.records import ComparisonRecord, Measurement, TrialRecord
from bench.harness.core.spec import canonical_json
from bench.harness.report.table import with_sentences
from bench.harness.store.owner import this_process
from bench.harness.store.results import Store
from bench.models.built_in import PROBLEMS


@dataclass(frozen=True)
class CombinedComparison:
    """Several comparisons, combined into one."""

    summary: dict[str, Any]
    trials: list[TrialRecord]
    measurements: Mapping[int, Sequence[Measurement]]


def combine_records(
    store: Store,
    records: Sequence[ComparisonRecord],
    allowed: Sequence[str],
    id: str | None = None,
    metric: str | None = None,
) -> CombinedComparison:
    """Compare every method of recorded comparisons with every other, paired by seed.

    `id` is the id under which the result is recorded; None: it is only shown. `metric` is what is
    judged; None: what all of them judge. If several
    comparisons have the same method, its label gets their ids, unless they share the trials of
    their common seeds. Raises Incomparable for differing protocol fields that are not `allowed`,
    and Usage for a comparison that is given twice or has no result yet.
    """
    _check(records)
    reported = {record.id: reported_trials(store, record) for record in records}
    apart = differing_fields(records, allowed, own_sources(records, reported))
    _check_seconds(records[0], reported)
    metric = metric or _common_metric(records)
    trials = with_anytime_updates(_labelled(reported), [record.protocol for record in records])
    measurements = store.measurements([trial.id for trial in trials])
    first = records[0].summary or {}
    summary = summarize(
        comparison_id=id or "+".join(record.id for record in records),
        protocol=records[0].protocol,
        trials=trials,
        measurements=measurements,
        targets=first["targets"],
        margin=first.get("metric_margin", first["margin"]),
        log_scale=first["scale"] == "log",
        # A published value belongs to one protocol only.
        published=(lambda *_: None) if apart else published_value,
        reproduce=command(records, allowed, metric),
        contexts=store.contexts({trial.context_digest for trial in trials}),
        tuning=_efforts(records, trials),
        metric=metric,
        is_share=bool(first.get("is_share")),
        budgets={record.protocol.key: record.protocol.budget for record in records},
    )
    efforts = {row["method"]: row["tuning"]["trials"] for row in summary["methods"]}
    if len(set(efforts.values())) > 1:
        counts = ", ".join(f"{method} with {count}" for method, count in efforts.items())
        summary["notes"].append(f"The methods were tuned with different effort: {counts} trials.")
    summary["joined"] = [{"comparison": r.id, "reproduce": r.command} for r in records]
    for name in ("targets", "margin", "scale"):
        if len({canonical_json((record.summary or {})[name]) for record in records}) > 1:
            summary["notes"].append(
                f"The problem's {name} differs between the comparisons; that of {records[0].id} is "
                "used."
            )
    if apart:
        _note(summary, apart, records, trials)
    return CombinedComparison(with_sentences(summary), trials, measurements)


def compare_recorded(
    store: Store, ids: Sequence[str], allowed: Sequence[str], metric: str | None = None
) -> dict[str, Any]:
    """Combine recorded comparisons, and record the result as a new comparison."""
    if len(ids) < 2:
        raise Usage(
            f"{ids[0]}: give two or more comparisons. `bench show {ids[0]}` shows a single one."
        )
    records = [store.comparison(id) for id in ids]
    # First without recording, so that comparisons that cannot be compared leave no record.
    metric = combine_records(store, records, allowed, None, metric).summary["metric"]["name"]
    id = store.new_comparison(
        records[0].protocol, "comparison", command(records, allowed, metric), owner=this_process()
    )
    joined = combine_records(store, records, allowed, id, metric)
    for trial_id in dict.fromkeys(trial.id for trial in joined.trials):
        store.adopt(id, trial_id)
    folder, summary, unwritten = store.files_of_comparison(id), joined.summary, None
    contexts = store.contexts({trial.context_digest for trial in joined.trials})
    try:
        write_files(
            folder, summary, joined.trials, joined.measurements, None, (), folder.parent, contexts
        )
    except OSError as error:
        unwritten = error
    store.save_verdicts(id, summary["pairs"])
    store.finish_comparison(id, "done", summary)
    if unwritten is not None:
        raise Infrastructure(
            f"{folder} cannot be written: {unwritten.strerror or unwritten}. The comparison is "
            f"recorded; see it with: bench show {id}."
        ) from unwritten
    return summary


def command(
    records: Sequence[ComparisonRecord], allowed: Sequence[str], metric: str | None = None
) -> str:
    """Return the command that combines these comparisons."""
    options = [word for name in allowed for word in ("--allow", name)]
    if metric not in (None, judged_metric(records[0].protocol, None).name):
        options += ["--metric", str(metric)]
    return shlex.join(["bench", "compare", *(record.id for record in records), *options])


def _common_metric(records: Sequence[ComparisonRecord]) -> str:
    names = {
        record.id: (record.summary or {}).get("metric", {}).get("name")
        or judged_metric(record.protocol, None).name
        for record in records
    }
    own = judged_metric(records[0].protocol, None).name
    # Where the protocols' metrics differ, as allowed, each is judged as the first one's.
    if all(names[r.id] == judged_metric(r.protocol, None).name for r in records):
        return own
    if len(set(names.values())) > 1:
        each = ", ".join(f"{name} in {id}" for id, name in names.items())
        raise Usage(
            f"The comparisons judge different metrics: {each}. Choose one with --metric, for "
            f"example --metric {next(iter(names.values()))}."
        )
    return next(iter(names.values()))


def _check(records: Sequence[ComparisonRecord]) -> None:
    if twice := [id for id, n in Counter(record.id for record in records).items() if n > 1]:
        raise Usage(f"Comparison {twice[0]} is given twice. Give different comparisons.")
    for record in records:
        if record.kind == "tuning":
            raise Usage(
                f"{record.id} is a tuning, and its trials are not reported. Give the comparison "
                "that used it."
            )
        if record.summary is None or not record.summary.get("methods"):
            raise Usage(
                f"Comparison {record.id} is {record.status} and has no result yet. "
                f"`bench resume {record.id}` continues it."
            )
        if record.summary.get("allowed"):
            of = " ".join(part["comparison"] for part in record.summary["joined"])
            raise Usage(
                f"Comparison {record.id} was itself combined with --allow. Give its parts: {of}."
            )


def own_sources(
    records: Sequence[ComparisonRecord], reported: Mapping[str, Sequence[TrialRecord]]
) -> dict[str, str]:
    """Return the digests of the source of a user's own problem by comparison, where recorded.

    The sources of built-in problems change with every version; the versions are noted.
    """
    if all(record.protocol.problem in PROBLEMS for record in records):
        return {}
    found = {}
    for id, trials in reported.items():
        digests = dict.fromkeys(source for trial in trials if (source := _source_of(trial)))
        if digests:
            found[id] = "+".join(sorted(digests))
    return found


def _source_of(trial: TrialRecord) -> str | None:
    return None if trial.certificate is None else trial.certificate.problem_source


def _check_seconds(record: ComparisonRecord, reported: Mapping[str, Sequence[TrialRecord]]) -> None:
    """Refuse trials that have shared the seconds of their budget, which once was possible."""
    if record.protocol.budget.currency != "seconds":
        return
    for id, trials in reported.items():
        if any(trial.seconds_are != "alone" or trial.fleet_rows > 1 for trial in trials):
            raise Incomparable(
                f"The trials of comparison {id} have shared the seconds of their budget with "
                "others, as earlier versions of bench allowed, so they were given less than a "
                "trial that ran alone. Repeat the comparison: trials run one by one now."
            )


def reported_trials(store: Store, record: ComparisonRecord) -> list[TrialRecord]:
    """Return the trials that a comparison reported, with its labels."""
    trials = {(trial.key, trial.attempt): trial for trial in store.trials(record.id)}
    found = [
        replace(trials[told["key"], told["attempt"]], method=row["method"])
        for row in (record.summary or {})["methods"]
        for told in row["trials"]
    ]
    if all(trial.purpose == "tuning" for trial in found):
        raise Usage(f"{record.id} ran on a tuning seed, whose results are never reported.")
    return found


def _efforts(
    records: Sequence[ComparisonRecord], trials: Sequence[TrialRecord]
) -> dict[str, Mapping[str, Any]]:
    """Return the tuning effort of each method, by its label here."""
    efforts = {
        (told["key"], told["attempt"]): row["tuning"]
        for record in records
        for row in (record.summary or {})["methods"]
        for told in row["trials"]
    }
    return {trial.method: efforts[trial.key, trial.attempt] for trial in trials}


def _labelled(parts: Mapping[str, Sequence[TrialRecord]]) -> list[TrialRecord]:
    """Return all trials, each once; a label gets the id of its comparison where it is ambiguous."""
    methods: list[_Method] = []
    for id, trials in parts.items():
        for label in dict.fromkeys(trial.method for trial in trials):
            mine = [trial for trial in trials if trial.method == label]
            one = _Method(id, label, mine[0].method_key, mine[0].protocol_key, {})
            same = next((other for other in methods if other.has(one, mine)), None)
            if same is None:
                methods.append(one)
            (same or one).trials.update((trial.seed, trial) for trial in mine)
    found = []
    for one in methods:
        others = [other for other in methods if other.comparison != one.comparison]
        mixed = any(other.label == one.label or other.key == one.key for other in others)
        label = f"{one.label} ({one.comparison})" if mixed else one.label
        found += [replace(trial, method=label) for trial in one.trials.values()]
    return found


@dataclass(frozen=True)
class _Method:
    """A method of one comparison, or of several comparisons that share its trials."""

    comparison: str
    label: str
    key: str
    protocol: str
    trials: dict[int, TrialRecord]
    """Trials by seed."""

    def has(self, other: _Method, trials: Sequence[TrialRecord]) -> bool:
        """Return whether these are trials of this method, and the same ones for common seeds."""
        return (self.key, self.protocol) == (other.key, other.protocol) and all(
            self.trials.get(trial.seed, trial).id == trial.id for trial in trials
        )


def _note(
    summary: dict[str, Any],
    apart: Mapping[str, Mapping[str, Any]],
    records: Sequence[ComparisonRecord],
    trials: Sequence[TrialRecord],
) -> None:
    """Note the allowed differences in the summary, and in every verdict that they concern."""
    summary["allowed"] = {name: dict(values) for name, values in apart.items()}
    summary["notes"] += [
        f"--allow {name}: the {'problems' if name == SOURCE else 'protocols'} differ here, as "
        f"allowed ({values_in_words(name, values)})."
        for name, values in apart.items()
    ]
    bodies = {record.protocol.key: record.protocol.as_dict() for record in records}
    protocol = {
        trial.method: {**bodies[trial.protocol_key], SOURCE: _source_of(trial)} for trial in trials
    }
    for pair in summary["pairs"]:
        a, b = protocol[pair["a"]], protocol[pair["b"]]
        pair["allowed"] = [
            name for name in apart if canonical_json(a[name]) != canonical_json(b[name])
        ]
