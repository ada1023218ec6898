"""Leases and heartbeats of processes, and the end of trials whose process has died."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Select, Table, delete, select, update

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import ComparisonRecord, FleetRecord, TrialRecord
from bench.harness.core.spec import canonical_json
from bench.harness.store import tables as t
from bench.harness.store.changes import StoreWriter
from bench.harness.store.links import chunks
from bench.harness.store.liveness import (
    DEAD_SECONDS,
    dead_comparisons,
    dead_rows,
    is_dead,
    is_old,
    update_unless_alive,
)
from bench.harness.store.queries import fleets_where
from bench.harness.store.rows import check_finite, to_json
from bench.harness.store.statements import insert_new, now


class StoreLeases(StoreWriter):
    """The changes that say which process runs what; each is one transaction.

    A process is dead if it has sent no heartbeat for 60 s, or if it ran on this host and does not
    exist any more. An `owner` is the name of a process, "host:pid".
    """

    # Fleets

    def add_fleets(
        self, comparison_id: str, fleets: Sequence[tuple[float, Mapping[str, Any]]]
    ) -> list[FleetRecord]:
        """Record fleets 0, 1, … with cost and task as planned; return all of the comparison.

        Fleets whose numbers exist already stay unchanged.
        """
        rows = [
            {
                "comparison_id": comparison_id,
                "number": number,
                "cost": check_finite("the cost of a fleet", cost),
                "task": canonical_json(task),
                "status": "planned",
            }
            for number, (cost, task) in enumerate(fleets)
        ]
        with self._write() as connection:
            if rows:
                connection.execute(insert_new(connection, t.fleet), rows)
        return self.fleets(comparison_id)

    def share(self, comparison_id: str, shared: bool) -> None:
        """Allow or forbid that any worker leases fleets of a comparison."""
        with self._write() as connection:
            connection.execute(
                update(t.plan).where(t.plan.c.comparison_id == comparison_id).values(shared=shared)
            )

    def lease(
        self,
        owner: str,
        comparison_id: str | None = None,
        number: int | None = None,
        excluded: Collection[str] = (),
    ) -> FleetRecord | None:
        """Lease the most costly planned fleet to `owner`; None if there is none.

        Without `comparison_id` the fleet is from any comparison that workers may run and that is
        not done, except those in `excluded`. With `number` it is that fleet of the comparison.
        """
        with self._write() as connection:
            # An alias, because the subquery and the update use the same table.
            fleet = t.fleet.alias("candidate")
            sought = select(fleet.c.id).where(fleet.c.status == "planned")
            if comparison_id is None:
                sought = (
                    sought.join(t.comparison, t.comparison.c.id == fleet.c.comparison_id)
                    .join(t.plan, t.plan.c.comparison_id == fleet.c.comparison_id)
                    .where(t.plan.c.shared, t.comparison.c.status != "done")
                    .where(fleet.c.comparison_id.not_in(excluded))
                )
            else:
                sought = sought.where(fleet.c.comparison_id == comparison_id)
            if number is not None:
                sought = sought.where(fleet.c.number == number)
            # On PostgreSQL other processes skip a fleet that is being leased, and its status is
            # read again after the lock. On SQLite only one transaction writes at a time.
            sought = (
                sought.order_by(fleet.c.cost.desc(), fleet.c.id)
                .limit(1)
                .with_for_update(of=fleet, skip_locked=True)
            )
            leased = connection.scalars(
                update(t.fleet)
                .where(t.fleet.c.id == sought.scalar_subquery(), t.fleet.c.status == "planned")
                .values(status="running", lease_owner=owner, heartbeat=now(connection))
                .returning(t.fleet.c.id)
            ).one_or_none()
            if leased is None:
                return None
            return fleets_where(connection, t.fleet.c.id == leased)[0]

    def end_fleet(
        self, fleet_id: int, owner: str, status: Literal["planned", "ended", "failed"]
    ) -> bool:
        """End a lease, or give the fleet back as planned; return whether `owner` still held it."""
        given_back = {"lease_owner": None, "heartbeat": None} if status == "planned" else {}
        with self._write() as connection:
            changed = connection.execute(
                update(t.fleet)
                .where(
                    t.fleet.c.id == fleet_id,
                    t.fleet.c.status == "running",
                    t.fleet.c.lease_owner == owner,
                )
                .values(status=status, **given_back)
            )
            return bool(changed.rowcount)

    # Trials and comparisons

    def reopen(self, trial_id: int, owner: str, note: Mapping[str, Any]) -> bool:
        """Resume an interrupted trial as `owner`; return whether that is allowed.

        A running trial may be resumed if `owner` runs it or if its process is dead. Its
        measurements stay. `note` is added to the list "resumed" of the trial's info.
        """
        table = t.trial
        with self._write() as connection:
            query: Select[Any] = select(table).where(table.c.id == trial_id)
            row = connection.execute(query.with_for_update()).first()
            time = now(connection)
            limit = time - timedelta(seconds=DEAD_SECONDS)
            if row is None or not (
                row.status == "interrupted"
                or (row.status == "running" and (row.lease_owner == owner or is_dead(row, limit)))
            ):
                return False
            info = json.loads(row.info)
            info["resumed"] = [*info.get("resumed", ()), note]
            connection.execute(
                update(table)
                .where(table.c.id == trial_id)
                .values(
                    status="running",
                    reason=None,
                    ended=None,
                    lease_owner=owner,
                    heartbeat=time,
                    info=to_json(info),
                    # MLflow has recorded that it was interrupted.
                    mlflow_ended=False,
                )
            )
        return True

    def take_over(self, comparison_id: str, owner: str) -> ComparisonRecord:
        """Make `owner` the process that runs a comparison, and return the comparison.

        Its failed fleets are planned again. Raises Usage if the comparison is done, and
        Infrastructure if a living process runs it. If two processes try at once, one succeeds.
        """
        id, table = self.comparison(comparison_id).id, t.comparison
        with self._write() as connection:
            query = select(table).where(table.c.id == id)
            row = connection.execute(query.with_for_update()).one()
            time = now(connection)
            limit = time - timedelta(seconds=DEAD_SECONDS)
            if row.status == "done":
                raise Usage(f"Comparison {id} is done; bench show {id} shows it.")
            if row.status == "running" and id not in {
                each.id for each in dead_comparisons(connection, limit)
            }:
                ago = (time - row.heartbeat).total_seconds()
                raise Infrastructure(
                    f"Comparison {id} is being run by {row.lease_owner or 'another process'} "
                    f"(heartbeat {ago:.0f} s ago), so this command leaves it alone; "
                    f"bench show {id} shows where it stands."
                )
            connection.execute(
                update(table)
                .where(table.c.id == id)
                .values(status="running", lease_owner=owner, heartbeat=time, ended=None)
            )
            connection.execute(
                update(t.fleet)
                .where(t.fleet.c.comparison_id == id, t.fleet.c.status == "failed")
                .values(status="planned", lease_owner=None, heartbeat=None)
            )
        return self.comparison(id)

    def delete_measurements(self, trial_id: int, index: int) -> None:
        """Remove a trial's measurements from this index on, because they will be repeated."""
        table = t.measurement
        with self._write() as connection:
            connection.execute(
                delete(table).where(table.c.trial_id == trial_id, table.c.idx >= index)
            )

    # Heartbeats and dead processes

    def heartbeat(
        self,
        owner: str,
        trial_ids: Collection[int] = (),
        fleet_ids: Collection[int] = (),
        comparison_id: str | None = None,
    ) -> set[int]:
        """Record a heartbeat of `owner` for everything here that it still runs.

        Returns the fleets that another process has taken over; they get no heartbeat.
        """
        with self._write() as connection:
            alive = {"heartbeat": now(connection)}
            kept: set[int] = set()
            mine: tuple[tuple[Table, Iterable[list[int] | list[str]]], ...] = (
                (t.trial, chunks(trial_ids)),
                (t.comparison, [[comparison_id]] if comparison_id else ()),
                (t.fleet, chunks(fleet_ids)),
            )
            for table, parts in mine:
                for some in parts:
                    changed = connection.execute(
                        update(table)
                        .where(table.c.id.in_(some), table.c.lease_owner == owner)
                        .where(table.c.status == "running")
                        .values(alive)
                        .returning(table.c.id)
                    )
                    # All is read in any case: SQLite cannot commit before.
                    alive_ids = changed.scalars().all()
                    kept.update(alive_ids if table is t.fleet else ())
        return set(fleet_ids) - kept if fleet_ids else set()

    def end_dead(self, older_than_s: float = DEAD_SECONDS) -> list[TrialRecord]:
        """Mark the running trials of dead processes as interrupted, and return them.

        Their fleets are planned again. The comparisons of dead processes are interrupted too. A
        comparison without heartbeat counts as alive while one of its trials is alive.
        """
        with self._write() as connection:
            time = now(connection)
            limit = time - timedelta(seconds=older_than_s)
            interrupted = {"status": "interrupted", "ended": time, "mlflow_ended": False}
            ended = []
            for row in dead_rows(connection, t.trial, limit):
                reason = "its process died"
                if is_old(row, limit):
                    when = row.heartbeat
                    since = f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "its start"
                    reason += f" (no heartbeat since {since})"
                if update_unless_alive(connection, t.trial, row, reason=reason, **interrupted):
                    ended.append(row.id)
            for row in dead_rows(connection, t.fleet, limit):
                update_unless_alive(
                    connection, t.fleet, row, status="planned", lease_owner=None, heartbeat=None
                )
            for row in dead_comparisons(connection, limit):
                update_unless_alive(connection, t.comparison, row, **interrupted)
        return [self.trial(id) for id in ended]
