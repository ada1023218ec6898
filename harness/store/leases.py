"""Which process runs what: leases, heartbeats, and what becomes of the work of the dead."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Select, delete, select, update

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.records import ComparisonRecord, FleetRecord, TrialRecord
from bench.harness.core.spec import canonical
from bench.harness.store import tables as t
from bench.harness.store.changes import Writing
from bench.harness.store.liveness import (
    DEAD_SECONDS,
    change,
    dead,
    dead_comparisons,
    is_dead,
    is_old,
)
from bench.harness.store.queries import fleets_where
from bench.harness.store.rows import to_json
from bench.harness.store.statements import insert_new, now


class Leasing(Writing):
    """The changes that say who runs what, each in one transaction.

    A process is dead if it has sent no heartbeat for 60 s, or at once if it ran on this host
    and is no longer there. An `owner` is the name of a process, "host:pid".
    """

    # Fleets

    def enter_fleets(
        self, comparison_id: str, fleets: Sequence[tuple[float, Mapping[str, Any]]]
    ) -> list[FleetRecord]:
        """Enter fleets 0, 1, … by cost and task as planned; return all of the comparison.

        Numbers that are there already are left as they are.
        """
        rows = [
            {
                "comparison_id": comparison_id,
                "number": number,
                "cost": cost,
                "task": canonical(task),
                "status": "planned",
            }
            for number, (cost, task) in enumerate(fleets)
        ]
        with self._write() as connection:
            if rows:
                connection.execute(insert_new(connection, t.fleet), rows)
        return self.fleets(comparison_id)

    def share(self, comparison_id: str, shared: bool) -> None:
        """Open the fleets of a comparison to any worker, or close them."""
        with self._write() as connection:
            connection.execute(
                update(t.plan).where(t.plan.c.comparison_id == comparison_id).values(shared=shared)
            )

    def lease(
        self,
        owner: str,
        comparison_id: str | None = None,
        number: int | None = None,
        but: Collection[str] = (),
    ) -> FleetRecord | None:
        """Lease the most costly planned fleet to `owner`; None where there is none.

        Without `comparison_id` it is one of any comparison that is open to workers and not done,
        but for those in `but`; with `number`, that fleet of the comparison alone.
        """
        with self._write() as connection:
            # An alias: the fleet that is sought is not the one that is changed, until it is found.
            fleet = t.fleet.alias("candidate")
            sought = select(fleet.c.id).where(fleet.c.status == "planned")
            if comparison_id is None:
                sought = (
                    sought.join(t.comparison, t.comparison.c.id == fleet.c.comparison_id)
                    .join(t.plan, t.plan.c.comparison_id == fleet.c.comparison_id)
                    .where(t.plan.c.shared, t.comparison.c.status != "done")
                    .where(fleet.c.comparison_id.not_in(but))
                )
            else:
                sought = sought.where(fleet.c.comparison_id == comparison_id)
            if number is not None:
                sought = sought.where(fleet.c.number == number)
            # On PostgreSQL others pass over a fleet that is being leased, and its status is read
            # again once it is locked; on SQLite one transaction writes at a time.
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
        """End a lease, or give the fleet back as planned; say whether it was still `owner`'s."""
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
        """Go on with an interrupted trial as `owner`; say whether that may be done.

        A running trial may be gone on with if it is `owner`'s own or its process is dead. What
        was measured stays; `note` is added to the list "resumed" of the trial's info.
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
                    # MLflow has heard that it was interrupted.
                    mlflow_ended=False,
                )
            )
        return True

    def take_over(self, comparison_id: str, owner: str) -> ComparisonRecord:
        """Make `owner` the process that runs a comparison, and return the comparison.

        Its fleets that have failed are planned again. Raises Usage where it is done,
        Infrastructure where a living process runs it: of two that try at once, one gets it.
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

    def forget(self, trial_id: int, index: int) -> None:
        """Remove a trial's measurements from this index on: they are taken again."""
        table = t.measurement
        with self._write() as connection:
            connection.execute(
                delete(table).where(table.c.trial_id == trial_id, table.c.idx >= index)
            )

    # The living and the dead

    def heartbeat(
        self,
        owner: str,
        trial_ids: Collection[int] = (),
        fleet_ids: Collection[int] = (),
        comparison_id: str | None = None,
    ) -> set[int]:
        """Say that `owner` is alive, as far as it still runs these; return the fleets that it lost.

        What another process has taken over is that one's to speak for.
        """
        with self._write() as connection:
            alive = {"heartbeat": now(connection)}
            kept: set[int] = set()
            for table, ids in (
                (t.trial, trial_ids),
                (t.comparison, [comparison_id] if comparison_id else ()),
                (t.fleet, fleet_ids),
            ):
                if not ids:
                    continue
                mine = (table.c.id.in_(ids), table.c.lease_owner == owner)
                changed = connection.execute(
                    update(table)
                    .where(*mine, table.c.status == "running")
                    .values(alive)
                    .returning(table.c.id)
                )
                kept = set(changed.scalars())
        return set(fleet_ids) - kept if fleet_ids else set()

    def end_dead(self, older_than_s: float = DEAD_SECONDS) -> list[TrialRecord]:
        """End as interrupted the running trials of dead processes, and return them.

        Their fleets are planned again. The comparisons of dead processes are interrupted, too;
        one that is only without heartbeat lives as long as a trial of it.
        """
        with self._write() as connection:
            time = now(connection)
            limit = time - timedelta(seconds=older_than_s)
            interrupted = {"status": "interrupted", "ended": time, "mlflow_ended": False}
            ended = []
            for row in dead(connection, t.trial, limit):
                reason = "its process died"
                if is_old(row, limit):
                    when = row.heartbeat
                    since = f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "its start"
                    reason += f" (no heartbeat since {since})"
                if change(connection, t.trial, row, reason=reason, **interrupted):
                    ended.append(row.id)
            for row in dead(connection, t.fleet, limit):
                change(connection, t.fleet, row, status="planned", lease_owner=None, heartbeat=None)
            for row in dead_comparisons(connection, limit):
                change(connection, t.comparison, row, **interrupted)
        return [self.trial(id) for id in ended]
