"""What can be asked of the store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Literal

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    exists,
    func,
    or_,
    select,
)

from bench.harness.core.errors import Usage
from bench.harness.core.records import (
    ClaimRecord,
    ComparisonRecord,
    FleetRecord,
    Measurement,
    PlanRecord,
    TrialRecord,
)
from bench.harness.core.spec import Protocol
from bench.harness.core.store_url import redacted_url
from bench.harness.core.text import is_storable
from bench.harness.store import links
from bench.harness.store import tables as t
from bench.harness.store.failures import database_errors
from bench.harness.store.liveness import DEAD_SECONDS, dead_comparisons
from bench.harness.store.measurements import add_measurements, measurement_query
from bench.harness.store.rows import comparison_of, fleet_of, trial_of
from bench.harness.store.statements import at_most, now


@dataclass(frozen=True)
class UnsyncedTrial:
    """A trial of which MLflow does not have everything yet."""

    trial: TrialRecord
    comparisons: tuple[str, ...]
    info: Mapping[str, Any]
    synced: int
    """Index of the last measurement that MLflow has; -1: none."""


class StoreReader:
    """The questions; `Store` adds what changes."""

    _engine: Engine
    _url: URL

    @property
    def url(self) -> str:
        """The URL with its password, as SQLAlchemy and MLflow take it."""
        return self._url.render_as_string(hide_password=False)

    @property
    def redacted_url(self) -> str:
        """The URL for people: without its password."""
        return redacted_url(self._url)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with database_errors(self._url), self._engine.connect() as connection:
            yield connection

    def trial(self, id: int) -> TrialRecord:
        """Return one trial; Usage names the nearest ones where there is none with this id."""
        # A number that the column cannot hold is no trial's.
        sought = min(max(id, 0), 2**31 - 1)
        with self._read() as connection:
            row = connection.execute(_trials().where(t.trial.c.id == sought)).first()
            if row is None:
                distance = func.abs(t.trial.c.id - sought)
                near = connection.scalars(select(t.trial.c.id).order_by(distance).limit(3))
                hint = _nearest(sorted(str(i) for i in near))
                raise Usage(f"There is no trial {id} in {self.redacted_url}{hint}")
        return trial_of(row)

    def trials(
        self,
        comparison_id: str | None = None,
        limit: int | None = None,
        purpose: str | None = None,
    ) -> list[TrialRecord]:
        """Return trials in the order of their ids; with `limit`, only the last ones."""
        query = _trials()
        if comparison_id is not None:
            query = query.join(t.comparison_trial).where(
                t.comparison_trial.c.comparison_id == comparison_id
            )
        if purpose is not None:
            query = query.where(t.trial.c.purpose == purpose)
        with self._read() as connection:
            rows = connection.execute(
                query.order_by(t.trial.c.id.desc()).limit(at_most(limit))
            ).all()
        return [trial_of(row) for row in reversed(rows)]

    def known_trials(self, ids: Collection[int]) -> set[int]:
        """Return those of the ids that are trials of this store."""
        id = t.trial.c.id
        with self._read() as connection:
            return {
                known
                for some in links.chunks(ids)
                for known in connection.scalars(select(id).where(id.in_(some)))
            }

    def find_reusable(
        self, key: str, source_digest: str, context_digest: str
    ) -> TrialRecord | None:
        """Return the newest attempt that ended by itself with equal source and context."""
        query = _trials().where(
            t.trial.c.key == key,
            t.trial.c.source_digest == source_digest,
            t.trial.c.context_digest == context_digest,
            t.trial.c.status.in_(("budget", "diverged")),
        )
        with self._read() as connection:
            row = connection.execute(query.order_by(t.trial.c.attempt.desc()).limit(1)).first()
        return None if row is None else trial_of(row)

    def comparison(self, id: str) -> ComparisonRecord:
        """Return the comparison with this id or unique beginning of an id; else Usage."""
        with self._read() as connection:
            newest, begun = t.comparison.c.created.desc(), id.lower()
            alike = t.comparison.c.id.startswith(begun, autoescape=True)
            query = select(t.comparison.c.id).order_by(newest)
            # Databases disagree about a text that none of them stores.
            possible = bool(id) and is_storable(id)
            found = connection.scalars(query.where(alike).limit(5)).all() if possible else []
            if len(found) > 1:
                raise Usage(f"{id!r} is the beginning of {', '.join(found)}: write more of it.")
            if not found:
                known = connection.scalars(query).all()
                hint = _nearest(get_close_matches(begun, known, n=3, cutoff=0.3) or known[:3])
                raise Usage(f"There is no comparison {id!r} in {self.redacted_url}{hint}")
            return _complete(connection, _comparisons().where(t.comparison.c.id == found[0]))[0]

    def comparisons(
        self, limit: int | None = None, ids: Collection[str] | None = None
    ) -> list[ComparisonRecord]:
        """Return comparisons, of all or of those with `ids`, the newest first."""
        query = _comparisons().order_by(t.comparison.c.created.desc(), t.comparison.c.id)
        parts = (
            [query]
            if ids is None
            else [query.where(t.comparison.c.id.in_(some)) for some in links.chunks(ids)]
        )
        with self._read() as connection:
            found = [
                each for part in parts for each in _complete(connection, part.limit(at_most(limit)))
            ]
        found.sort(key=lambda record: record.id)
        found.sort(key=lambda record: record.created, reverse=True)
        return found[:limit]

    def comparisons_of(self, trial_ids: Collection[int]) -> dict[int, list[str]]:
        """Return by trial the ids of its comparisons, the one that ran it first, then by age."""
        with self._read() as connection:
            return links.comparisons_of(connection, trial_ids)

    def methods_and_seeds(
        self, comparison_ids: Collection[str]
    ) -> dict[str, list[tuple[str, int]]]:
        """Return by comparison the label and the seed of its trials, in the order of their ids."""
        with self._read() as connection:
            return links.methods_and_seeds(connection, comparison_ids)

    def count(self, what: Literal["trials", "comparisons", "claims"]) -> int:
        """Return how many of these there are."""
        table = {"trials": t.trial, "comparisons": t.comparison, "claims": t.claim}[what]
        with self._read() as connection:
            return connection.scalars(select(func.count()).select_from(table)).one()

    def is_running(self) -> bool:
        """Say whether a comparison is recorded as running; its process may be dead."""
        running = t.comparison.c.status == "running"
        with self._read() as connection:
            return connection.scalar(select(t.comparison.c.id).where(running).limit(1)) is not None

    def unfinished(self) -> list[ComparisonRecord]:
        """Return the comparisons with a plan that nobody runs and that are not done.

        They are planned, interrupted or failed, or their process is dead. The newest is first.
        """
        with self._read() as connection:
            limit = now(connection) - timedelta(seconds=DEAD_SECONDS)
            dead = [row.id for row in dead_comparisons(connection, limit)]
            left = t.comparison.c.status.in_(("planned", "interrupted", "failed"))
            query = (
                _comparisons()
                .join(t.plan, t.plan.c.comparison_id == t.comparison.c.id)
                .where(or_(left, t.comparison.c.id.in_(dead)))
            )
            newest = query.order_by(t.comparison.c.created.desc(), t.comparison.c.id)
            return _complete(connection, newest)

    def plan(self, comparison_id: str) -> PlanRecord | None:
        """Return what a comparison was planned to run; None where that is not on record."""
        plan = t.plan.c
        query = select(plan.digest, plan.body, plan.shared)
        with self._read() as connection:
            row = connection.execute(query.where(plan.comparison_id == comparison_id)).first()
        return None if row is None else PlanRecord(row.digest, json.loads(row.body), row.shared)

    def fleets(self, comparison_id: str) -> list[FleetRecord]:
        """Return the fleets of a comparison by number."""
        with self._read() as connection:
            return fleets_where(connection, t.fleet.c.comparison_id == comparison_id)

    def measurements(self, trial_ids: Collection[int]) -> dict[int, list[Measurement]]:
        """Return the measurements of every trial asked for, in order, NaN and all."""
        found: dict[int, list[Measurement]] = {i: [] for i in trial_ids}
        query = measurement_query()
        with self._read() as connection:
            for ids in links.chunks(found):
                some = query.where(t.measurement.c.trial_id.in_(ids))
                add_measurements(connection.execute(some), found)
        return found

    def claims(self, limit: int | None = None) -> list[ClaimRecord]:
        """Return what was decided of claims, the newest first."""
        newest = select(t.claim).order_by(t.claim.c.created.desc(), t.claim.c.id)
        query = newest.limit(at_most(limit))
        with self._read() as connection:
            rows = connection.execute(query).all()
        return [ClaimRecord(**{**row._asdict(), "body": json.loads(row.body)}) for row in rows]

    def protocol(self, key: str) -> Protocol:
        """Return the protocol with this key; Usage where there is none."""
        with self._read() as connection:
            query = select(t.protocol.c.body).where(t.protocol.c.key == key)
            body = connection.scalar(query)
        if body is None:
            raise Usage(f"There is no protocol {key!r} in {self.redacted_url}.")
        return Protocol.from_dict(json.loads(body))

    def context_of(self, digest: str) -> dict[str, Any]:
        """Return the context with this digest; Usage where there is none."""
        with self._read() as connection:
            body = connection.scalar(select(t.context.c.body).where(t.context.c.digest == digest))
        if body is None:
            raise Usage(f"There is no context {digest!r} in {self.redacted_url}.")
        return json.loads(body)

    def contexts(self, digests: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the contexts with these digests."""
        return {digest: self.context_of(digest) for digest in digests}

    def info_of(self, trial_id: int) -> dict[str, Any]:
        """Return who ran a trial, where and by which command line."""
        with self._read() as connection:
            sought = min(max(trial_id, 0), 2**31 - 1)
            body = connection.scalar(select(t.trial.c.info).where(t.trial.c.id == sought))
        return json.loads(body or "{}")

    def unsynced(self) -> list[UnsyncedTrial]:
        """Return the trials with measurements, or an end, that MLflow does not have."""
        newer = exists().where(
            t.measurement.c.trial_id == t.trial.c.id,
            t.measurement.c.idx > t.trial.c.mlflow_synced,
        )
        ended = and_(t.trial.c.ended.is_not(None), t.trial.c.mlflow_ended.is_(False))
        query = _trials().where(or_(newer, ended)).order_by(t.trial.c.id)
        with self._read() as connection:
            rows = connection.execute(query).all()
            parts = links.comparisons_of(connection, [row.id for row in rows])
        return [
            UnsyncedTrial(trial_of(r), tuple(parts[r.id]), json.loads(r.info), r.mlflow_synced)
            for r in rows
        ]

    def unsynced_comparisons(self) -> list[ComparisonRecord]:
        """Return the ended comparisons whose end MLflow does not have, oldest first."""
        query = _comparisons().where(
            t.comparison.c.ended.is_not(None), t.comparison.c.mlflow_ended.is_(False)
        )
        with self._read() as connection:
            return _complete(connection, query.order_by(t.comparison.c.created))


def fleets_where(connection: Connection, condition: ColumnElement[bool]) -> list[FleetRecord]:
    """Return the fleets that a condition holds for, by number."""
    linked = t.fleet_trial
    trials = defaultdict(list)
    for row in connection.execute(
        select(linked).join(t.fleet).where(condition).order_by(linked.c.position)
    ):
        trials[row.fleet_id].append(row.trial_id)
    rows = connection.execute(select(t.fleet).where(condition).order_by(t.fleet.c.number))
    return [fleet_of(row, trials[row.id]) for row in rows]


def _trials() -> Select[Any]:
    method = t.method
    return select(t.trial, method.c.name, method.c.backend, method.c.hyperparameters).join(method)


def _comparisons() -> Select[Any]:
    return select(t.comparison, t.protocol.c.body).join(t.protocol)


def _complete(connection: Connection, query: Select[Any]) -> list[ComparisonRecord]:
    rows = connection.execute(query).all()
    pairs, reused = defaultdict(list), defaultdict(list)
    for some in links.chunks([row.id for row in rows]):
        verdicts = select(t.verdict).where(t.verdict.c.comparison_id.in_(some))
        for row in connection.execute(verdicts.order_by(t.verdict.c.position)):
            pairs[row.comparison_id].append(json.loads(row.body))
        linked = t.comparison_trial
        taken = select(linked).where(linked.c.comparison_id.in_(some), linked.c.reused.is_(True))
        for row in connection.execute(taken):
            reused[row.comparison_id].append(row.trial_id)
    return [comparison_of(row, pairs[row.id], reused[row.id]) for row in rows]


def _nearest(ids: Collection[str]) -> str:
    return f"; the nearest: {', '.join(ids)}." if ids else ": it is empty."
