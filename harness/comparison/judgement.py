"""A recorded comparison, judged by another metric than the one it was recorded with."""

from __future__ import annotations

from dataclasses import replace

from bench.harness.analysis.judged import judged_metric
from bench.harness.analysis.summary import summarize
from bench.harness.comparison.anytime import with_anytime_updates
from bench.harness.comparison.reports import labelled_trials
from bench.harness.core.errors import Usage
from bench.harness.core.published import published_value
from bench.harness.core.records import ComparisonRecord
from bench.harness.report.table import judged, with_sentences
from bench.harness.store.results import Store

_KEPT = ("claim", "joined", "allowed")
"""What the record has besides what its trials and its problem decide."""


def judged_by(store: Store, record: ComparisonRecord, metric: str | None) -> ComparisonRecord:
    """Return a comparison with the verdicts on `metric`; None: as it was recorded.

    Nothing is run and nothing recorded: every trial has all metrics. Raises Usage for a metric that
    the problem does not have, and for a comparison without a result.
    """
    if metric is None:
        return record
    name = judged_metric(record.protocol, metric).name
    before = record.summary
    if before is None or not before.get("methods"):
        raise Usage(
            f"--metric {metric}: {record.id} is {record.status} and has no result yet, so nothing "
            "can be judged."
        )
    if judged(before)["name"] == name:
        return record
    trials = labelled_trials(record, store.trials(record.id))
    # Those of a combined comparison may be under several.
    protocols = [store.protocol(key) for key in {trial.protocol_key for trial in trials}]
    trials = with_anytime_updates(trials, protocols)
    found = summarize(
        comparison_id=record.id,
        protocol=record.protocol,
        trials=trials,
        measurements=store.measurements([trial.id for trial in trials]),
        targets=before["targets"],
        margin=before.get("metric_margin", before["margin"]),
        log_scale=before["scale"] == "log",
        published=(lambda *_: None) if before.get("allowed") else published_value,
        tuning={row["method"]: row["tuning"] for row in before["methods"]},
        reproduce=before["reproduce"],
        contexts=store.contexts(dict.fromkeys(trial.context_digest for trial in trials)),
        metric=name,
        is_share=bool(before.get("is_share")),
        budgets={protocol.key: protocol.budget for protocol in protocols},
    )
    found |= {key: before[key] for key in _KEPT if key in before}
    for pair, old in zip(found["pairs"], before["pairs"], strict=True):
        pair |= {key: old[key] for key in ("allowed",) if key in old}
    found["notes"].insert(
        0,
        f"The comparison was recorded with verdicts on {judged(before)['words']}; here they are on "
        f"{judged(found)['words']}.",
    )
    return replace(record, summary=with_sentences(found), pairs=tuple(found["pairs"]))
