"""Reports of recorded comparisons, from the store and the comparison's folder only."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.harness.analysis.summary import summarize
from bench.harness.comparison.anytime import with_anytime_updates
from bench.harness.comparison.files import draw
from bench.harness.comparison.mlflow_runs import with_runs
from bench.harness.core.errors import Infrastructure
from bench.harness.core.metrics import is_share
from bench.harness.core.published import published_value
from bench.harness.core.records import ComparisonRecord, TrialRecord
from bench.harness.report.files import RECONSTRUCTIONS_PICTURE, read_pictures
from bench.harness.report.page.page import ReportData, page
from bench.harness.store.results import Store


def write_report(store: Store, record: ComparisonRecord, path: Path, option: str) -> None:
    """Write the report as one HTML file; raise Infrastructure, naming the option, on failure."""
    recorded = read(store, record)
    with tempfile.TemporaryDirectory() as folder:
        draw(recorded, Path(folder), (".png",))
        found = read_pictures(store.files_of_comparison(record.id), [RECONSTRUCTIONS_PICTURE])
        pictures = {**read_pictures(Path(folder)), **found}
    try:
        path.write_text(page(replace(recorded, pictures=pictures)), "utf-8")
    except OSError as error:
        raise _unwritten(option, path, record, error) from error


def write_pictures(store: Store, record: ComparisonRecord, folder: Path, option: str) -> list[Path]:
    """Write every picture as PNG and SVG, and return the files."""
    recorded = read(store, record)
    made = store.files_of_comparison(record.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = draw(recorded, folder, (".png", ".svg"), everything=True)
        for ending in (".png", ".svg"):
            kept = made / f"{RECONSTRUCTIONS_PICTURE}{ending}"
            if kept.is_file():
                files.append(folder / kept.name)
                files[-1].write_bytes(kept.read_bytes())
    except OSError as error:
        raise _unwritten(option, folder, record, error) from error
    return files


def read(store: Store, record: ComparisonRecord) -> ReportData:
    """Return the data of a comparison's report; without a result, the data recorded so far."""
    trials = store.trials(record.id)
    if record.summary is not None and record.summary.get("methods"):
        summary, open_reason = with_runs(record.summary, trials), None
        trials = labelled_trials(record, trials)
        measurements = store.measurements([t.id for t in trials])
    else:
        # The report of a tuning shows its trials as if they were reported; it has no others.
        trials = [replace(t, purpose="reported") for t in trials]
        measurements = store.measurements([t.id for t in trials])
        # The problem's margin and targets are recorded with the result only.
        summary = summarize(
            comparison_id=record.id, protocol=record.protocol,
            trials=with_anytime_updates(trials, [record.protocol]),
            measurements=measurements, targets=(), margin=0.0,
            log_scale=not is_share(record.protocol.metric),
            published=published_value, reproduce=record.command,
        ) | {"pairs": []}  # fmt: skip
        open_reason = _standing(store, record, trials)
    contexts = store.contexts(dict.fromkeys(t.context_digest for t in trials))
    return ReportData(summary, trials, measurements, contexts, open_reason=open_reason)


def labelled_trials(record: ComparisonRecord, trials: list[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of a summary, with its labels."""
    found = {(trial.key, trial.attempt): trial for trial in trials}
    return [
        replace(found[told["key"], told["attempt"]], method=row["method"], purpose="reported")
        for row in (record.summary or {})["methods"]
        for told in row["trials"]
    ]


def _standing(store: Store, record: ComparisonRecord, trials: list[TrialRecord]) -> str:
    """Return the reason why there is no verdict."""
    reason = ""
    if record.kind == "tuning":
        reason = "This is a tuning: its trials choose hyperparameters and are not reported. "
        if record.status == "done":
            return reason.strip()
    ended = sum(trial.ended is not None for trial in trials)
    reason += f"The {record.kind} is {record.status}; {ended} of the {len(trials)} trials begun "
    reason += "have ended."
    resumable = record.status in ("planned", "interrupted", "failed")
    if resumable and store.plan(record.id) is not None:
        reason += f" `bench resume {record.id}` continues it."
    return reason


def _unwritten(option: str, path: Path, record: ComparisonRecord, error: OSError) -> Infrastructure:
    return Infrastructure(
        f"{option} {path} cannot be written: {error.strerror or error}. The comparison is "
        f"recorded; see it with: bench show {record.id}."
    )
