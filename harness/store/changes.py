"""The changes of the store: comparisons, trials and their measurements."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from bench.harness.core.errors import LeaseLost, Usage
from bench.harness.core.records import Certificate, Ledger, Measurement, Status
from bench.harness.core.secrets import redacted_urls
from bench.harness.core.spec import Protocol, TrialSpec, canonical_json, key_of
from bench.harness.store import tables as t
from bench.harness.store.links import chunks
from bench.harness.store.measurements import add_measurements, measurement_query
from bench.harness.store.queries import StoreReader
from bench.harness.store.rows import (
    LEDGER,
    VALUES,
    certificate_columns,
    ledger_columns,
    measurement_row,
    to_json,
    value_columns,
)
from bench.harness.store.statements import ensure, insert_new, next_time, now

IMPORT_LOCK = 0x6D65726765  # "merge"
# The newest values of a trial, unless it has newer ones or has ended.
_NEWEST_VALUES = (
    update(t.trial)
    .where(
        t.trial.c.id == bindparam("trial"),
        # IN cannot be executed for many rows at once.
        or_(t.trial.c.status == "running", t.trial.c.status == "interrupted"),
        t.trial.c.updates <= bindparam("updates"),
    )
    .values({name: bindparam(name) for name in (*LEDGER, *VALUES, "nonfinite")})
)


class StoreWriter(StoreReader):
    """The changes, each in one transaction."""

    @abstractmethod
    def _write(self) -> AbstractContextManager[Connection]:
        """Return a transaction that writes."""

    # Comparisons

    def new_comparison(
        self,
        protocol: Protocol,
        kind: Literal["comparison", "run", "tuning"],
        command: str,
        *,
        plan: Mapping[str, Any] | None = None,
        shared: bool = False,
        owner: str | None = None,
        status: Literal["planned", "running"] = "running",
    ) -> str:
        """Record a comparison that `owner` runs; return its id, 8 hexadecimal digits.

        `plan` has everything that is needed to resume it. If it is `shared`, any worker may lease
        its fleets.
        """
        with self._write() as connection:
            time = now(connection)
            created = next_time(connection)
            ensure(
                connection,
                t.protocol,
                key=protocol.key,
                problem=protocol.problem,
                preset=protocol.preset,
                body=canonical_json(protocol.as_dict()),
                created=time,
            )
            while True:
                id = secrets.token_hex(4)
                entered = ensure(
                    connection,
                    t.comparison,
                    id=id,
                    protocol_key=protocol.key,
                    kind=kind,
                    command=redacted_urls(command),
                    status=status,
                    created=created,
                    heartbeat=time,
                    lease_owner=owner,
                )
                if entered:
                    break
            if plan is not None:
                connection.execute(
                    t.plan.insert().values(
                        comparison_id=id,
                        digest=key_of(plan),
                        body=canonical_json(plan),
                        shared=shared,
                        created=time,
                    )
                )
        return id

    def finish_comparison(
        self,
        id: str,
        status: Literal["done", "failed", "interrupted"],
        summary: Mapping[str, Any] | None,
        owner: str | None = None,
    ) -> None:
        """End a comparison, and record its summary.

        Raises LeaseLost, and changes nothing, where `owner` does not run it any more.
        """
        table = t.comparison.c
        mine = [] if owner is None else [table.lease_owner.is_not_distinct_from(owner)]
        with self._write() as connection:
            changed = connection.execute(
                update(t.comparison)
                .where(table.id == id, *mine)
                .values(
                    status=status,
                    ended=now(connection),
                    summary=None if summary is None else to_json(summary),
                    # MLflow may have recorded that it was interrupted.
                    mlflow_ended=False,
                )
            )
            if not changed.rowcount:
                raise LeaseLost(
                    f"Comparison {id} was taken over by another process, so this one records no "
                    f"end of it; bench show {id} shows where it stands."
                )

    def save_verdicts(self, id: str, pairs: Sequence[Mapping[str, Any]]) -> None:
        """Record the verdict of each pair of methods: "a", "b" and the rest of its JSON."""
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
        """Record the decision about a claim by a version of its rule; return the row's id."""
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
                    created=next_time(connection),
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
        fleet: tuple[int, int] | None = None,
        certificate: Certificate | None = None,
        anytime_updates: int | None = None,
    ) -> int:
        """Record the next attempt at a trial as running, leased to `owner`; return its id.

        `fleet` is the id of the trial's fleet and its row. The rows of a fleet start in order;
        links to trials of an earlier attempt are removed from this row on.
        """
        # Canonical JSON has no larger whole numbers.
        if not 0 <= spec.seed < 2**53:
            raise Usage(f"Seed {spec.seed} cannot be used: allowed are 0 to 2^53 - 1.")
        key, method, digest = spec.key, spec.method, key_of(context)
        with self._write() as connection:
            if connection.dialect.name == "postgresql":
                # An import numbers attempts, too.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({IMPORT_LOCK})")
                # Held to the end of the transaction, so that two attempts get two numbers.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({int(key[:15], 16)})")
            ensure(
                connection,
                t.method,
                key=method.key,
                name=method.name,
                backend=method.backend,
                hyperparameters=canonical_json(method.hyperparameters),
            )
            ensure(connection, t.context, digest=digest, body=canonical_json(context))
            last = connection.scalar(
                select(func.max(t.trial.c.attempt)).where(t.trial.c.key == key)
            )
            time = now(connection)
            id = connection.scalars(
                t.trial.insert()
                .returning(t.trial.c.id)
                .values(
                    uuid=secrets.token_hex(16),
                    key=key,
                    attempt=(last or 0) + 1,
                    protocol_key=spec.protocol.key,
                    method_key=method.key,
                    label=redacted_urls(label),
                    seed=spec.seed,
                    purpose=purpose,
                    status="running",
                    source_digest=source_digest,
                    context_digest=digest,
                    info=to_json(info),
                    fleet_rows=fleet_rows,
                    seconds_are=seconds_are,
                    anytime_updates=anytime_updates,
                    created=time,
                    started=time,
                    heartbeat=time,
                    lease_owner=owner,
                    **certificate_columns(certificate),
                )
            ).one()
            _link(connection, comparison_id, id, reused=False)
            if fleet is not None:
                _put_in_fleet(connection, *fleet, id)
        return id

    def adopt(self, comparison_id: str, trial_id: int) -> None:
        """Add a trial that was recorded earlier to a comparison."""
        with self._write() as connection:
            _link(connection, comparison_id, trial_id, reused=True)

    def record(self, rows: Sequence[tuple[int, Measurement]], owner: str | None = None) -> None:
        """Record measurements of trials; measurements that exist already stay unchanged.

        Those of trials that another process has taken over from `owner` are left out: it measures
        again what its checkpoint does not have.
        """
        with self._write() as connection:
            if owner is not None:
                lost = _taken_over(connection, {id for id, _ in rows}, owner)
                rows = [(id, measurement) for id, measurement in rows if id not in lost]
            if not rows:
                return
            connection.execute(
                insert_new(connection, t.measurement),
                [measurement_row(i, m) for i, m in rows],
            )
            connection.execute(
                _NEWEST_VALUES,
                [
                    {
                        "trial": id,
                        **ledger_columns(measurement.ledger),
                        **value_columns(measurement),
                    }
                    for id, measurement in _newest(connection, {id for id, _ in rows}).items()
                ],
            )

    def end(
        self,
        trial_id: int,
        status: Status,
        reason: str | None,
        ledger: Ledger,
        last: Measurement | None,
        owner: str | None = None,
    ) -> None:
        """End a trial. A second end changes nothing, unless the first one presumed a death.

        Neither does an end by an `owner` from whom another process has taken the trial over.
        """
        with self._write() as connection:
            connection.execute(
                update(t.trial)
                .where(
                    t.trial.c.id == trial_id,
                    t.trial.c.status.in_(("planned", "running", "interrupted")),
                    *_unless_taken_over(owner),
                )
                .values(
                    status=status,
                    reason=reason and redacted_urls(reason),
                    ended=now(connection),
                    # MLflow may have recorded that it was interrupted.
                    mlflow_ended=False,
                    **ledger_columns(ledger),
                    **value_columns(last),
                )
            )

    # What MLflow has

    def mark_synced(self, trial_id: int, run_id: str, index: int, ended: bool) -> None:
        """Record a trial's run in MLflow, its last measurement there, and whether it has ended."""
        self._mark(t.trial, trial_id, run_id, mlflow_synced=index, mlflow_ended=ended)

    def mark_comparison_synced(self, id: str, run_id: str, ended: bool = True) -> None:
        """Record a comparison's run in MLflow, and whether it has ended."""
        self._mark(t.comparison, id, run_id, mlflow_ended=ended)

    def _mark(self, table: Table, id: int | str, run_id: str, **state: Any) -> None:
        with self._write() as connection:
            connection.execute(
                update(table).where(table.c.id == id).values(mlflow_run_id=run_id, **state)
            )


def _unless_taken_over(owner: str | None) -> list[ColumnElement[bool]]:
    """Return the condition that no other process than `owner` runs a trial."""
    if owner is None:
        return []
    return [or_(t.trial.c.status != "running", t.trial.c.lease_owner.is_not_distinct_from(owner))]


def _taken_over(connection: Connection, trials: Iterable[int], owner: str) -> set[int]:
    """Return those of the trials that another process than `owner` runs, or ran last."""
    table, lost = t.trial.c, set[int]()
    for some in chunks(sorted(trials)):
        # Locked, so that nobody takes a trial over before the rows are written.
        query = select(table.id, table.lease_owner).where(table.id.in_(some)).order_by(table.id)
        found = connection.execute(query.with_for_update())
        lost.update(row.id for row in found if row.lease_owner not in (None, owner))
    return lost


def _link(connection: Connection, comparison_id: str, trial_id: int, reused: bool) -> None:
    ensure(
        connection,
        t.comparison_trial,
        comparison_id=comparison_id,
        trial_id=trial_id,
        reused=reused,
    )


def _put_in_fleet(connection: Connection, fleet_id: int, position: int, trial_id: int) -> None:
    table = t.fleet_trial
    connection.execute(
        delete(table).where(table.c.fleet_id == fleet_id, table.c.position >= position)
    )
    connection.execute(
        table.insert().values(fleet_id=fleet_id, position=position, trial_id=trial_id)
    )


def _newest(connection: Connection, trials: Iterable[int]) -> dict[int, Measurement]:
    """Return the last measurement of each trial, by index, as it stands in the store."""
    table, found = t.measurement.c, {id: list[Measurement]() for id in sorted(trials)}
    for some in chunks(found):
        last = (
            select(table.trial_id, func.max(table.idx).label("idx"))
            .where(table.trial_id.in_(some))
            .group_by(table.trial_id)
            .subquery()
        )
        query = measurement_query().join(
            last, and_(table.trial_id == last.c.trial_id, table.idx == last.c.idx)
        )
        add_measurements(connection.execute(query), found)
    return {id: measurements[-1] for id, measurements in found.items()}
