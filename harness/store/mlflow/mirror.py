"""Copies bench's tables into MLflow, where people look: again and again without harm.

Everything is taken from bench's tables alone, so that what is written while a trial trains and
what `bench db sync` writes later is the same. MLflow is imported only here, and only when used.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from bench.harness.core.errors import Infrastructure
from bench.harness.core.records import ComparisonRecord
from bench.harness.core.secrets import secrets_of, without
from bench.harness.core.spec import Protocol
from bench.harness.store.mlflow import entries
from bench.harness.store.mlflow.runs import COMPARISON, TRIAL, Runs
from bench.harness.store.mlflow.view import view_path
from bench.harness.store.queries import Unsynced
from bench.harness.store.results import Store

_ENDS = {
    "budget": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "done": "FINISHED",
}
# What MLflow's HTTP client says, and what that means to a person.
_MEANING = (
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
    # It would print every run's address, with the server's password in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A tracking server that is away costs seconds, not minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""What MLflow reads when it is imported; what a user has set stands."""


class MlflowAbsent(Infrastructure):
    """MLflow is not installed; everything else works without it."""


class MlflowAway(Infrastructure):
    """MLflow is there and does not take what it is given."""


@dataclass(frozen=True)
class Synced:
    """What was written."""

    runs: int
    """Trials and comparisons of which MLflow did not have everything."""
    points: int
    """Values of metrics."""


def is_remote(uri: str) -> bool:
    """Say whether this is a tracking server, and not a database."""
    return uri.lower().startswith(("http://", "https://"))


def away(uri: str, reason: str, *, is_store: bool = False) -> MlflowAway:
    """Return what to tell a person of an MLflow that did not take everything, without passwords."""
    secrets = secrets_of(uri)
    again = "bench db sync" + ("" if is_store else f" --tracking-uri {without(uri, secrets)}")
    meant = [meaning for said, meaning in _MEANING if said in reason]
    told = meant[0] if meant else " ".join(without(reason, secrets).split())[:300].rstrip(". ")
    return MlflowAway(
        f"MLflow at {without(uri, secrets)} did not take everything: {told}. bench's own tables "
        f"are complete; `{again}` brings in the rest."
    )


def sync(store: Store, *, tracking_uri: str | None = None) -> Synced:
    """Bring everything into MLflow that it does not have; return what was written.

    `tracking_uri` is the store's own database by default. What MLflow has already is noted once
    a store, so with another MLflow than last time everything is looked up there, and written
    again where it is not found.
    Raises `MlflowAbsent`, and `MlflowAway` where MLflow fails; what is written stays.
    """
    return MlflowMirror(store, tracking_uri).sync()


def initialise(store_url: str) -> None:
    """Make MLflow's tables in the store's database; where they are there, nothing happens.

    One process alone may do this: MLflow's own start-up does not bear company.
    """
    with _sentences(store_url, store_url):
        _mlflow().MlflowClient(tracking_uri=store_url).search_experiments(max_results=1)


def first_view(store: Store) -> str:
    """Return the address, below the server's, of the newest comparison's learning curves."""
    newest = store.comparisons(limit=1)
    if not newest:
        return view_path(None)
    with _sentences(store.url, store.url):
        client = _mlflow().MlflowClient(tracking_uri=store.url)
        found = client.get_experiment_by_name(entries.experiment_name(newest[0].protocol))
    return view_path(found.experiment_id if found else None)


class MlflowMirror:
    """One store's way into one MLflow, for several passes."""

    def __init__(
        self,
        store: Store,
        tracking_uri: str | None = None,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._uri = tracking_uri or store.url
        # A tracking server on another machine keeps files where it was told to.
        artifacts = None if is_remote(self._uri) else store.artifacts
        with _sentences(self._uri, store.url):
            self._runs = Runs(_mlflow(), self._uri, artifacts, answered)
        self._checked = False

    def sync(self) -> Synced:
        """Write what is new; the first pass also finds what MLflow has lost."""
        with _sentences(self._uri, self._store.url):
            comparisons = self._store.comparisons()
            protocols = {c.protocol.key: c.protocol for c in comparisons}
            if not self._checked:
                self._check(comparisons, protocols)
                self._checked = True
            runs = points = 0
            # The newest first: somebody is looking at those.
            for pending in reversed(self._store.unsynced()):
                points += self._trial(pending, protocols[pending.trial.protocol_key])
                runs += 1
            for comparison in reversed(self._store.unsynced_comparisons()):
                self._comparison(comparison)
                runs += 1
            return Synced(runs, points)

    def _check(self, comparisons: list[ComparisonRecord], protocols: dict[str, Protocol]) -> None:
        """Forget what was noted of runs that are no longer there; bring in later files."""
        for trial in self._store.trials():
            if trial.mlflow_run_id:
                experiment = self._experiment(protocols[trial.protocol_key])
                found = self._runs.settle(experiment, entries.identity(trial), trial.mlflow_run_id)
                if found is None or found.fresh:
                    self._store.mark_synced(trial.id, trial.mlflow_run_id, -1, False)
                else:
                    self._runs.files(found.id, self._store.files_of_trial(trial.id))
        for comparison in comparisons:
            if comparison.mlflow_run_id:
                experiment = self._experiment(comparison.protocol)
                found = self._runs.settle(experiment, comparison.id, comparison.mlflow_run_id)
                if found is None or found.fresh:
                    self._store.mark_comparison_synced(
                        comparison.id, comparison.mlflow_run_id, False
                    )
                else:
                    self._runs.files(found.id, self._store.files_of_comparison(comparison.id))

    def _trial(self, pending: Unsynced, protocol: Protocol) -> int:
        trial = pending.trial
        began = trial.started or trial.ended
        start = entries.milliseconds(began) if began else 0
        run = self._runs.run(
            self._experiment(protocol),
            (TRIAL, entries.identity(trial)),
            trial.mlflow_run_id,
            entries.run_name(trial),
            start,
        )
        ended = trial.ended is not None
        measured = self._store.measurements([trial.id])[trial.id]
        after = -1 if run.fresh else pending.synced
        new = entries.chosen(measured, protocol.evaluations, after, ended)
        points = entries.points(new, protocol.metric, start)
        context = self._store.context_of(trial.context_digest)
        self._runs.write(
            run.id,
            points,
            entries.parameters(trial, protocol) if run.fresh else {},
            entries.tags(trial, protocol, pending.comparisons, context, pending.info)
            | entries.non_finite(measured, protocol.metric),
        )
        if run.fresh:
            self._runs.data(run.id, protocol.data, protocol.data_digest)
        self._runs.files(run.id, self._store.files_of_trial(trial.id))
        end = entries.milliseconds(trial.ended) if trial.ended else None
        self._runs.status(run, _ENDS[trial.status] if ended else "RUNNING", end)
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
            entries.comparison_name(comparison, dict.fromkeys(trial.method for trial in trials)),
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
        self._runs.status(run, _ENDS[comparison.status], end)
        self._store.mark_comparison_synced(comparison.id, run.id)

    def _experiment(self, protocol: Protocol) -> str:
        return self._runs.experiment(entries.experiment_name(protocol), protocol.metric)


def _mlflow() -> ModuleType:
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MlflowAbsent(
            "MLflow is not installed, so nothing was copied to it. Everything is recorded in "
            "bench's own tables; after `pip install 'mlflow>=3.17,<3.18'`, `bench db sync` "
            "brings it in."
        ) from error
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    return mlflow


@contextmanager
def _sentences(uri: str, store_url: str) -> Iterator[None]:
    """Raise `MlflowAway`, a sentence without password, for whatever MLflow reports."""
    try:
        yield
    except Infrastructure:
        raise
    except Exception as error:
        if not isinstance(error, _failures()):
            raise
        reason = str(error).strip() or type(error).__name__
        raise away(uri, reason, is_store=uri == store_url) from error


def _failures() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    # MLflow lets the errors of its files, its HTTP client and its database through.
    return (OSError, SQLAlchemyError, CommandError, MlflowException)
