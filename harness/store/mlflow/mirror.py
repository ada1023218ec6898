"""The mirror, which copies bench's tables to MLflow; repeating it does no harm.

It reads only bench's tables, so a copy during training and a later `bench db sync` write the same.
Only this file imports MLflow, and only when it is used.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.util.exc import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from bench.harness.core.errors import Infrastructure
from bench.harness.core.metrics import is_share
from bench.harness.core.records import ComparisonRecord
from bench.harness.core.secrets import redacted, secrets_in
from bench.harness.core.spec import Protocol
from bench.harness.store.engine import artifacts_of
from bench.harness.store.mlflow import entries
from bench.harness.store.mlflow.runs import COMPARISON, TRIAL, Runs
from bench.harness.store.mlflow.schema import make_tables
from bench.harness.store.mlflow.uris import mlflow_uri
from bench.harness.store.mlflow.view import view_path, view_tag
from bench.harness.store.postgresql import bound_answers_of
from bench.harness.store.queries import UnsyncedTrial
from bench.harness.store.results import Store

_RUN_STATUS = {
    "budget": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "done": "FINISHED",
}
# Messages of MLflow's HTTP client, and their explanations.
_EXPLANATIONS = (
    ("NewConnectionError", "it cannot be reached"),
    ("NameResolutionError", "there is no such host"),
    ("Read timed out", "it gives no answer"),
    ("Connection aborted", "it broke the connection off"),
    ("Remote end closed", "it broke the connection off"),
    ("too many 5", "it answers with errors"),
)
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Otherwise it prints the address of every run, with the server's password in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A tracking server that is away costs seconds, not minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Settings that MLflow reads when it is imported; a user's own settings have priority."""


class MlflowMissing(Infrastructure):
    """MLflow is not installed; everything else works without it."""


class MlflowUnavailable(Infrastructure):
    """MLflow is installed but did not accept everything."""


@dataclass(frozen=True)
class SyncResult:
    """The result of a pass: what it wrote to MLflow."""

    runs: int
    """Trials and comparisons that were not complete in MLflow."""
    points: int
    """Values of metrics."""


def is_remote(uri: str) -> bool:
    """Return whether this is the URI of a tracking server, and not of a database."""
    return uri.lower().startswith(("http://", "https://"))


def mlflow_error(uri: str, reason: str, *, is_store: bool = False) -> MlflowUnavailable:
    """Return the error for an MLflow that did not accept everything, without passwords."""
    secrets = secrets_in(uri)
    again = "bench db sync" + ("" if is_store else f" --tracking-uri {redacted(uri, secrets)}")
    meant = [meaning for said, meaning in _EXPLANATIONS if said in reason]
    told = meant[0] if meant else " ".join(redacted(reason, secrets).split())[:300].rstrip(". ")
    return MlflowUnavailable(
        f"MLflow at {redacted(uri, secrets)} did not take everything: {told}. bench's own tables "
        f"are complete; `{again}` brings in the rest."
    )


def sync(store: Store, *, tracking_uri: str | None = None) -> SyncResult:
    """Copy everything to MLflow that it does not have; return what was written.

    `tracking_uri` is the store's own database by default. The store records only what one MLflow
    has. With another MLflow than last time, everything is looked up there, and written again if it
    is missing.
    Raises `MlflowMissing`, and `MlflowUnavailable` where MLflow fails; what is written stays.
    """
    return MlflowMirror(store, tracking_uri).sync()


def initialise(store_url: str) -> None:
    """Create MLflow's tables in the store's database, if they do not exist."""
    with _mlflow_errors(store_url, store_url):
        _client(store_url, artifacts_of(make_url(store_url))).search_experiments(max_results=1)


def first_view(store: Store) -> str:
    """Return the address, below the server's, of the newest comparison's learning curves."""
    newest = store.comparisons(limit=1)
    if not newest:
        return view_path(None)
    with _mlflow_errors(store.url, store.url):
        client = _client(store.url, store.artifacts)
        found = client.get_experiment_by_name(entries.experiment_name(newest[0].protocol))
    return view_path(found.experiment_id if found else None)


class MlflowMirror:
    """Copies one store to one MLflow, in several passes."""

    def __init__(
        self,
        store: Store,
        tracking_uri: str | None = None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._uri = tracking_uri or store.url
        # A remote tracking server decides itself where it keeps files.
        artifacts = None if is_remote(self._uri) else store.artifacts
        with _mlflow_errors(self._uri, store.url):
            self._runs = Runs(
                _mlflow().entities, _client(self._uri, store.artifacts), artifacts, answered
            )
        self._checked = False
        self._views: dict[str, str] = {}

    def sync(self) -> SyncResult:
        """Write everything new; the first pass also finds what MLflow has lost."""
        with _mlflow_errors(self._uri, self._store.url):
            comparisons = self._store.comparisons()
            protocols = {c.protocol.key: c.protocol for c in comparisons}
            self._views = _views(comparisons)
            if not self._checked:
                self._check(comparisons, protocols)
                self._checked = True
            runs = points = 0
            # The newest first, because people look at those.
            for pending in reversed(self._store.unsynced()):
                points += self._trial(pending, protocols[pending.trial.protocol_key])
                runs += 1
            for comparison in reversed(self._store.unsynced_comparisons()):
                self._comparison(comparison)
                runs += 1
            return SyncResult(runs, points)

    def _check(self, comparisons: list[ComparisonRecord], protocols: dict[str, Protocol]) -> None:
        """Reset the records of runs that MLflow has lost; copy files that were added later."""
        for trial in self._store.trials():
            if trial.mlflow_run_id:
                experiment = self._experiment(protocols[trial.protocol_key])
                found = self._runs.find_run(
                    experiment, entries.identity(trial), trial.mlflow_run_id
                )
                if found is None or found.is_new:
                    self._store.mark_synced(trial.id, trial.mlflow_run_id, -1, False)
                else:
                    self._runs.files(found.id, self._store.files_of_trial(trial.id))
        for comparison in comparisons:
            if comparison.mlflow_run_id:
                experiment = self._experiment(comparison.protocol)
                found = self._runs.find_run(experiment, comparison.id, comparison.mlflow_run_id)
                if found is None or found.is_new:
                    self._store.mark_comparison_synced(
                        comparison.id, comparison.mlflow_run_id, False
                    )
                else:
                    self._runs.files(found.id, self._store.files_of_comparison(comparison.id))

    def _trial(self, pending: UnsyncedTrial, protocol: Protocol) -> int:
        trial = pending.trial
        began = trial.started or trial.ended
        start = entries.milliseconds(began) if began else 0
        run = self._runs.run(
            self._experiment(protocol),
            (TRIAL, entries.identity(trial)),
            trial.mlflow_run_id,
            entries.run_name(trial, protocol),
            start,
            entries.parameters(trial, protocol),
        )
        ended = trial.ended is not None
        measured = self._store.measurements([trial.id])[trial.id]
        after = -1 if run.is_new else pending.synced
        new = entries.selected(measured, protocol.evaluations, after, ended)
        points = entries.points(new, protocol.metric, start)
        context = self._store.context_of(trial.context_digest)
        self._runs.write(
            run.id,
            points,
            entries.parameters(trial, protocol) if run.is_new else {},
            entries.tags(trial, protocol, pending.comparisons, context, pending.info)
            | entries.non_finite(measured, protocol.metric),
        )
        if run.is_new:
            self._runs.data(run.id, protocol.data, protocol.data_digest)
        self._runs.files(run.id, self._store.files_of_trial(trial.id))
        end = entries.milliseconds(trial.ended) if trial.ended else None
        self._runs.status(run, _RUN_STATUS[trial.status] if ended else "RUNNING", end)
        last = max((m.index for m in measured), default=-1)
        self._store.mark_synced(trial.id, run.id, last, ended)
        return len(points)

    def _comparison(self, comparison: ComparisonRecord) -> None:
        trials = self._store.trials(comparison.id)
        experiment = self._experiment(comparison.protocol)
        start = entries.milliseconds(comparison.created)
        run = self._runs.run(
            experiment,
            (COMPARISON, comparison.id),
            comparison.mlflow_run_id,
            entries.comparison_name(comparison, dict.fromkeys(t.method for t in trials)),
            start,
        )
        self._runs.write(
            run.id,
            entries.comparison_points(comparison, start),
            tags=entries.comparison_tags(comparison),
        )
        if comparison.summary is not None:
            content = json.dumps(comparison.summary, indent=2, ensure_ascii=False)
            self._runs.text(run.id, content, "comparison.json")
        self._runs.files(run.id, self._store.files_of_comparison(comparison.id))
        for trial in trials:
            if trial.id in comparison.reused and trial.mlflow_run_id:
                self._runs.add_to_tag(trial.mlflow_run_id, COMPARISON, comparison.id)
        end = entries.milliseconds(comparison.ended) if comparison.ended else None
        self._runs.status(run, _RUN_STATUS[comparison.status], end)
        self._store.mark_comparison_synced(comparison.id, run.id)

    def _experiment(self, protocol: Protocol) -> str:
        name = entries.experiment_name(protocol)
        return self._runs.experiment(name, self._views[name])


def _views(comparisons: Iterable[ComparisonRecord]) -> dict[str, str]:
    """Return by experiment the view that fits its newest comparison; the newest come first."""
    views: dict[str, str] = {}
    for each in comparisons:
        share = is_share(each.protocol.metric)
        # A comparison that has not ended does not have its scale on record yet.
        log = not share and (each.summary or {}).get("scale", "log") == "log"
        views.setdefault(
            entries.experiment_name(each.protocol), view_tag(each.protocol.metric, log)
        )
    return views


def _mlflow() -> ModuleType:
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MlflowMissing(
            "MLflow is not installed, so nothing was copied to it. Everything is recorded in "
            "bench's own tables; after `pip install 'mlflow>=3.17,<3.18'`, `bench db sync` "
            "brings it in."
        ) from error
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return mlflow


def _client(uri: str, artifacts: Path) -> Any:
    """Return MLflow's client; in a database all of MLflow's tables are there then."""
    mlflow = _mlflow()
    uri = mlflow_uri(uri)
    if "://" in uri and not is_remote(uri):
        from mlflow.store.db import utils

        # MLflow makes its engines itself, and waits without end for a server that stays silent.
        bound_answers_of(make_url(uri))
        make_tables(uri, utils, (artifacts / "mlflow").absolute().as_uri())
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _mlflow_errors(uri: str, store_url: str) -> Iterator[None]:
    """Turn every error of MLflow into `MlflowUnavailable`, a sentence without password."""
    try:
        yield
    except Infrastructure:
        raise
    except Exception as error:
        if not isinstance(error, _mlflow_exceptions()):
            raise
        reason = str(error).strip() or type(error).__name__
        raise mlflow_error(uri, reason, is_store=uri == store_url) from error


def _mlflow_exceptions() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    # MLflow lets the errors of its files, its HTTP client and its database through.
    return (OSError, SQLAlchemyError, CommandError, MlflowException)
