"""What changes the store: comparisons, trials and their measurements."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Table, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from harness.errors import Usage
from harness.records import Ledger, Measurement, Status, TrialRecord
from harness.spec import Protocol, TrialSpec, canonical, key_of
from harness.store import tables as t
from harness.store.failures import hide_passwords
from harness.store.reading import Reading
from harness.store.rows import ledger_columns, measurement_row, to_json, value_columns


class Writing(Reading):
    """The changes, each in one transaction."""

    @abstractmethod
    def _write(self) -> AbstractContextManager[Connection]:
        """Return a transaction that writes."""

    # Comparisons

    def new_comparison(
        self, protocol: Protocol, kind: Literal["comparison", "run", "tuning"], command: str
    ) -> str:
        """Enter a comparison as running and return its id, 8 hexadecimal digits."""
        with self._write() as connection:
            now = _now(connection)
            _ensure(
                connection,
                t.protocol,
                key=protocol.key,
                problem=protocol.problem,
                preset=protocol.preset,
                body=canonical(protocol.as_dict()),
                created=now,
            )
            while True:
                id = secrets.token_hex(4)
                entered = _ensure(
                    connection,
                    t.comparison,
                    id=id,
                    protocol_key=protocol.key,
                    kind=kind,
                    command=hide_passwords(command),
                    status="running",
                    created=now,
                    heartbeat=now,
                )
                if entered:
                    return id

    def finish_comparison(
        self,
        id: str,
        status: Literal["done", "failed", "interrupted"],
        summary: Mapping[str, Any] | None,
    ) -> None:
        """End a comparison, with what was reported."""
        with self._write() as connection:
            connection.execute(
                update(t.comparison)
                .where(t.comparison.c.id == id)
                .values(
                    status=status,
                    ended=_now(connection),
                    summary=None if summary is None else to_json(summary),
                )
            )

    def save_verdicts(self, id: str, pairs: Sequence[Mapping[str, Any]]) -> None:
        """Put down what a comparison says of each pair: "a", "b" and the rest of its JSON."""
        rows = [
            {"comparison_id": id, "a": p["a"], "b": p["b"], "position": i, "body": to_json(p)}
            for i, p in enumerate(pairs)
        ]
        with self._write() as connection:
            connection.execute(delete(t.verdict).where(t.verdict.c.comparison_id == id))
            if rows:
                connection.execute(t.verdict.insert(), rows)

    def save_claim(
        self,
        *,
        claim: int,
        version: int,
        preset: str,
        rule_digest: str,
        decision: str,
        body: Mapping[str, Any],
    ) -> str:
        """Put down what was decided of a claim by a version of its rule; return the row's id."""
        id = secrets.token_hex(4)
        with self._write() as connection:
            connection.execute(
                t.claim.insert().values(
                    id=id,
                    claim=claim,
                    version=version,
                    preset=preset,
                    rule_digest=rule_digest,
                    decision=decision,
                    body=to_json(body),
                    created=_now(connection),
                )
            )
        return id

    # Trials

    def begin(
        self,
        comparison_id: str,
        spec: TrialSpec,
        *,
        label: str,
        purpose: Literal["reported", "tuning"],
        source_digest: str,
        context: Mapping[str, Any],
        info: Mapping[str, Any],
        fleet_rows: int,
        seconds_are: Literal["alone", "shared"],
        owner: str,
    ) -> int:
        """Enter the next attempt at a trial as running, leased to `owner`; return its id."""
        # Canonical JSON has no larger whole numbers.
        if not 0 <= spec.seed < 2**53:
            raise Usage(f"Seed {spec.seed} cannot be used: allowed are 0 to 2^53 - 1.")
        key, method, digest = spec.key, spec.method, key_of(context)
        with self._write() as connection:
            if connection.dialect.name == "postgresql":
                # Held to the end of the transaction, so that two attempts get two numbers.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({int(key[:15], 16)})")
            _ensure(
                connection,
                t.method,
                key=method.key,
                name=method.name,
                backend=method.backend,
                hyperparameters=canonical(method.hyperparameters),
            )
            _ensure(connection, t.context, digest=digest, body=canonical(context))
            last = connection.scalar(
                select(func.max(t.trial.c.attempt)).where(t.trial.c.key == key)
            )
            now = _now(connection)
            id = connection.scalars(
                t.trial.insert()
                .returning(t.trial.c.id)
                .values(
                    key=key,
                    attempt=(last or 0) + 1,
                    protocol_key=spec.protocol.key,
                    method_key=method.key,
                    label=label,
                    seed=spec.seed,
                    purpose=purpose,
                    status="running",
                    source_digest=source_digest,
                    context_digest=digest,
                    info=to_json(info),
                    fleet_rows=fleet_rows,
                    seconds_are=seconds_are,
                    created=now,
                    started=now,
                    heartbeat=now,
                    lease_owner=owner,
                )
            ).one()
            _link(connection, comparison_id, id, reused=False)
        return id

    def adopt(self, comparison_id: str, trial_id: int) -> None:
        """Make a trial that was recorded earlier part of a comparison."""
        with self._write() as connection:
            _link(connection, comparison_id, trial_id, reused=True)

    def record(self, rows: Sequence[tuple[int, Measurement]]) -> None:
        """Enter measurements of trials; those already there are left as they are."""
        if not rows:
            return
        newest = dict(sorted(rows, key=lambda row: row[1].index))
        with self._write() as connection:
            connection.execute(
                _insert(connection, t.measurement).on_conflict_do_nothing(),
                [measurement_row(i, m) for i, m in rows],
            )
            for id, measurement in sorted(newest.items()):
                connection.execute(
                    update(t.trial)
                    .where(
                        t.trial.c.id == id,
                        t.trial.c.status.in_(("running", "interrupted")),
                        t.trial.c.updates <= measurement.ledger.updates,
                    )
                    .values(**ledger_columns(measurement.ledger), **value_columns(measurement))
                )

    def heartbeat(self, trial_ids: Collection[int], comparison_id: str | None = None) -> None:
        """Say that the process running these trials, for this comparison, is alive."""
        linked = select(t.comparison_trial.c.comparison_id).where(
            t.comparison_trial.c.trial_id.in_(trial_ids), t.comparison_trial.c.reused.is_(False)
        )
        with self._write() as connection:
            now = _now(connection)
            connection.execute(
                update(t.trial)
                .where(t.trial.c.id.in_(trial_ids), t.trial.c.status == "running")
                .values(heartbeat=now)
            )
            connection.execute(
                update(t.comparison)
                .where(or_(t.comparison.c.id.in_(linked), t.comparison.c.id == comparison_id))
                .where(t.comparison.c.status == "running")
                .values(heartbeat=now)
            )

    def end(
        self,
        trial_id: int,
        status: Status,
        reason: str | None,
        ledger: Ledger,
        last: Measurement | None,
    ) -> None:
        """End a trial. A second end changes nothing, but a trial taken for dead may still end."""
        with self._write() as connection:
            connection.execute(
                update(t.trial)
                .where(
                    t.trial.c.id == trial_id,
                    t.trial.c.status.in_(("planned", "running", "interrupted")),
                )
                .values(
                    status=status,
                    reason=reason,
                    ended=_now(connection),
                    # MLflow may have heard that it was interrupted.
                    mlflow_ended=False,
                    **ledger_columns(ledger),
                    **value_columns(last),
                )
            )

    def end_dead(self, older_than_s: float = 60) -> list[TrialRecord]:
        """End as interrupted the running trials without a recent heartbeat, and return them.

        A comparison without one, and without a living trial, ends with them.
        """
        with self._write() as connection:
            now = _now(connection)
            limit = now - timedelta(seconds=older_than_s)
            running = t.trial.c.status == "running"
            old = or_(t.trial.c.heartbeat.is_(None), t.trial.c.heartbeat <= limit)
            dead = connection.execute(
                select(t.trial.c.id, t.trial.c.heartbeat).where(running, old).order_by(t.trial.c.id)
            ).all()
            for id, heartbeat in dead:
                since = f"{heartbeat:%Y-%m-%d %H:%M:%S} UTC" if heartbeat else "its start"
                connection.execute(
                    update(t.trial)
                    .where(t.trial.c.id == id, running)
                    .values(
                        status="interrupted",
                        reason=f"its process died (no heartbeat since {since})",
                        ended=now,
                    )
                )
            living = (
                select(t.comparison_trial.c.comparison_id)
                .join(t.trial)
                .where(running, t.comparison_trial.c.reused.is_(False))
            )
            connection.execute(
                update(t.comparison)
                .where(
                    t.comparison.c.status == "running",
                    t.comparison.c.heartbeat <= limit,
                    t.comparison.c.id.not_in(living),
                )
                .values(status="interrupted", ended=now)
            )
        return [self.trial(id) for id, _ in dead]

    # What MLflow has

    def mark_synced(self, trial_id: int, run_id: str, index: int, ended: bool) -> None:
        """Note a trial's run in MLflow, its last measurement there, and whether it has ended."""
        self._mark(t.trial, trial_id, run_id, mlflow_synced=index, mlflow_ended=ended)

    def mark_comparison_synced(self, id: str, run_id: str, ended: bool = True) -> None:
        """Note a comparison's run in MLflow, and whether it has ended."""
        self._mark(t.comparison, id, run_id, mlflow_ended=ended)

    def _mark(self, table: Table, id: int | str, run_id: str, **state: Any) -> None:
        with self._write() as connection:
            connection.execute(
                update(table).where(table.c.id == id).values(mlflow_run_id=run_id, **state)
            )


def _now(connection: Connection) -> datetime:
    """Return the time by the database's clock, since those of several machines differ."""
    if connection.dialect.name == "postgresql":
        return connection.scalars(select(func.clock_timestamp())).one().astimezone(UTC)
    return datetime.now(UTC)


def _insert(connection: Connection, table: Table) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _ensure(connection: Connection, table: Table, **row: Any) -> bool:
    """Insert a row unless it is there; say whether it was not."""
    statement = _insert(connection, table).values(**row).on_conflict_do_nothing()
    return bool(connection.execute(statement).rowcount)


def _link(connection: Connection, comparison_id: str, trial_id: int, reused: bool) -> None:
    _ensure(
        connection,
        t.comparison_trial,
        comparison_id=comparison_id,
        trial_id=trial_id,
        reused=reused,
    )
