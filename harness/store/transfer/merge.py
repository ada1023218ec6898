"""Joins rows of another store to those that are here: what is further holds.

Everything happens in one transaction. A trial is known by its uuid, a comparison by id and time
of creation; what both stores have is changed only where the other one has come further.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from bench.harness.core.errors import Infrastructure
from bench.harness.store import tables as t
from bench.harness.store.links import chunks
from bench.harness.store.statements import insert_new
from bench.harness.store.transfer.columns import TRANSFER_TABLES, Row, TransferTable
from bench.harness.store.transfer.renames import alternative_id, renamed_report

Standing = Literal["new", "further", "same", "behind", "running"]
"""What is imported, against what is here; what runs here is left alone."""
_RANKS = {
    "trial": {"planned": 0, "interrupted": 1, "failed": 1, "budget": 2, "diverged": 2},
    "comparison": {"planned": 0, "interrupted": 1, "failed": 1, "done": 2},
    "fleet": {"planned": 0, "failed": 1, "ended": 2},
}


@dataclass(frozen=True)
class _KnownRow:
    """A trial or a fleet of the import."""

    id: int
    """Its number here."""
    standing: Standing


class Merge:
    """Takes the rows of an import, table by table, into the store of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.added = dict.fromkeys(TRANSFER_TABLES, 0)
        """Table, without "bench_" → new rows."""
        self.updated = {"comparison": 0, "trial": 0, "fleet": 0}
        """Table → rows that were further in the import."""
        self.renamed: dict[str, str] = {}
        """Comparison → its id here, where that is another."""
        self.renumbered = 0
        """New trials whose attempt has another number here."""
        self.running = 0
        """Comparisons and trials that run here."""
        self.ahead: set[str] = set()
        """Folders of what is further here than in the import, or runs here."""
        self._comparisons: dict[str, Standing] = {}
        """By the id here."""
        self._taken: dict[str, set[str]] = defaultdict(set)
        """By table: ids here of what is imported."""
        self._trials: dict[str, _KnownRow] = {}
        self._fleets: dict[tuple[str, int], _KnownRow] = {}
        """By comparison, as it is called here, and number."""
        self._attempts: dict[tuple[str, int], int] = {}
        """Key and attempt in the import → attempt here, where that is another."""
        self._emptied: set[int] = set()
        """Trials whose measurements here were removed for those of the import."""
        self._to_mirror: set[int] = set()
        """Trials of which MLflow does not have everything any more."""

    def recognise(self, rows: Sequence[Row]) -> None:
        """Find out which comparisons are here already; this is done for all before `take`."""
        names = self._names(t.comparison, rows)
        self.renamed |= {former: id for former, id in names.items() if id != former}

    def take(self, part: TransferTable, rows: Sequence[Row]) -> None:
        """Bring in rows; those of a table come after all that they refer to."""
        take: Mapping[str, Callable[[TransferTable, list[Row]], Any]] = {
            "comparison": self._take_comparisons,
            "trial": self._take_trials,
            "fleet": self._take_fleets,
            "fleet_trial": self._take_rows_of_fleets,
            "measurement": self._take_measurements,
            "comparison_trial": self._take_links,
            "verdict": self._take_verdicts,
            "claim": self._take_claims,
            "plan": self._take_plans,
        }
        take.get(part.name, self._insert)(part, [self._here(row) for row in rows])

    def finish(self) -> None:
        """Make reports name attempts as they are numbered here, and have MLflow told."""
        for ids in chunks(self._to_mirror):
            stale = update(t.trial).where(t.trial.c.id.in_(ids))
            self._connection.execute(stale.values(mlflow_synced=-1, mlflow_ended=False))
        if self._attempts:
            table = t.comparison
            taken = [i for i, s in self._comparisons.items() if s in ("new", "further")]
            for some in chunks(taken):
                query = select(table.c.id, table.c.summary).where(table.c.id.in_(some))
                for id, summary in self._connection.execute(query).all():
                    told = renamed_report(summary, {}, self._attempts)
                    if told != summary:
                        changed = update(table).where(table.c.id == id)
                        self._connection.execute(changed.values(summary=told))

    def _names(self, table: Table, rows: Iterable[Row]) -> dict[str, str]:
        """Return the id here of comparisons, or claims; another one may have theirs."""
        id, created = table.c.id, table.c.created
        times = {row["created"] for row in rows}
        alike: dict[datetime, list[str]] = defaultdict(list)
        for row in self._connection.execute(select(id, created).where(created.in_(times))):
            alike[row.created].append(row.id)
        return {
            row["id"]: self._id_here(table, row["id"], row["created"], alike[row["created"]])
            for row in rows
        }

    def _id_here(self, table: Table, id: str, created: datetime, alike: Iterable[str]) -> str:
        taken = self._taken[table.name]
        for known in alike:
            # It may have been given another id where it comes from.
            if known not in taken and id in (known, alternative_id(known, created)):
                break
        else:
            known = id
            query = select(table.c.created).where(table.c.id == bindparam("id"))
            while known in taken or self._connection.scalar(query, {"id": known}) not in (
                None,
                created,
            ):
                known = alternative_id(known, created)
        taken.add(known)
        return known

    def _here(self, row: Row) -> Row:
        """Return a row with comparison, trial and fleet named as they are here."""
        row = dict(row)
        if "comparison_id" in row:
            row["comparison_id"] = self._called(row["comparison_id"])
        if "trial" in row:
            row["trial_id"] = self._trials[row.pop("trial")].id
        return row

    def _compare(self, part: str, row: Row, here: Any, folder: str | None = None) -> Standing:
        """Return how a row stands against that of the store, None where there is none."""
        if here is None:
            return "new"
        standing: Standing
        if here.status == "running":
            standing = "running"
        else:
            ranks = _RANKS[part]
            mine = (ranks[here.status], getattr(here, "updates", 0))
            theirs = (ranks[row["status"]], row.get("updates", 0))
            standing = "further" if theirs > mine else "behind" if theirs < mine else "same"
        self.updated[part] += standing == "further"
        if folder is not None:
            self.running += standing == "running"
            if standing in ("running", "behind"):
                self.ahead.add(folder)
        return standing

    def _take_comparisons(self, part: TransferTable, rows: list[Row]) -> None:
        table = t.comparison
        ids = [self._called(row["id"]) for row in rows]
        query = select(table.c.id, table.c.status).where(table.c.id.in_(ids))
        here = {row.id: row for row in self._connection.execute(query)}
        new = []
        for id, row in zip(ids, rows, strict=True):
            standing = self._compare(part.name, row, here.get(id), row["id"])
            row |= {"id": id, "summary": renamed_report(row["summary"], self.renamed, {})}
            self._comparisons[id] = standing
            if standing == "new":
                new.append({**row, "heartbeat": row["ended"] or row["created"]})
            elif standing == "further":
                self._update(table, id, row, mlflow_ended=False)
                self._connection.execute(delete(t.verdict).where(t.verdict.c.comparison_id == id))
        self._add(part, new)

    def _take_trials(self, part: TransferTable, rows: list[Row]) -> None:
        table, uuids = t.trial, [row["uuid"] for row in rows]
        columns = (table.c.id, table.c.uuid, table.c.key, table.c.attempt)
        query = select(*columns, table.c.status, table.c.updates).where(table.c.uuid.in_(uuids))
        here = {row.uuid: row for row in self._connection.execute(query)}
        attempts = select(table.c.key, table.c.attempt)
        keys = {row["key"] for row in rows}
        used = set(map(tuple, self._connection.execute(attempts.where(table.c.key.in_(keys)))))
        new = []
        for row in rows:
            known, key, exported = here.get(row["uuid"]), row["key"], row["attempt"]
            if known is not None and known.key != key:
                raise Infrastructure(
                    f"Trial {row['uuid']} of the folder is not trial {known.id}, which has that "
                    "name here: one of them was changed by hand. Nothing was imported."
                )
            row["attempt"] = _free(key, exported, used) if known is None else known.attempt
            if row["attempt"] != exported:
                self._attempts[key, exported] = row["attempt"]
            standing = self._compare(part.name, row, known, f"trial-{row['uuid']}")
            if known is None:
                used.add((key, row["attempt"]))
                self.renumbered += row["attempt"] != exported
                new.append(row)
                continue
            self._trials[row["uuid"]] = _KnownRow(known.id, standing)
            if standing == "further":
                self._update(table, known.id, row)
                self._to_mirror.add(known.id)
        self._add(part, new)
        added = {row["uuid"] for row in new}
        for known in self._connection.execute(query):
            if known.uuid in added:
                self._trials[known.uuid] = _KnownRow(known.id, "new")

    def _take_links(self, part: TransferTable, rows: list[Row]) -> None:
        self._insert(part, [row for row in rows if not self._runs(row)])

    def _take_plans(self, part: TransferTable, rows: list[Row]) -> None:
        # No worker here takes up somebody else's work unasked.
        self._take_links(part, [{**row, "shared": False} for row in rows])

    def _take_fleets(self, part: TransferTable, rows: list[Row]) -> None:
        table = t.fleet
        ids = {row["comparison_id"] for row in rows}
        columns = (table.c.id, table.c.comparison_id, table.c.number, table.c.status)
        query = select(*columns).where(table.c.comparison_id.in_(ids))
        here = {(row.comparison_id, row.number): row for row in self._connection.execute(query)}
        new = []
        for row in rows:
            name = (row["comparison_id"], row["number"])
            known = here.get(name)
            standing = "running" if self._runs(row) else self._compare(part.name, row, known)
            if known is None:
                if standing == "new":
                    new.append(row)
                continue
            self._fleets[name] = _KnownRow(known.id, standing)
            if standing == "further":
                self._update(table, known.id, row)
                rows_of_it = t.fleet_trial.c.fleet_id == known.id
                self._connection.execute(delete(t.fleet_trial).where(rows_of_it))
        self._add(part, new)
        added = {(row["comparison_id"], row["number"]) for row in new}
        for known in self._connection.execute(query):
            if (known.comparison_id, known.number) in added:
                self._fleets[known.comparison_id, known.number] = _KnownRow(known.id, "new")

    def _take_rows_of_fleets(self, part: TransferTable, rows: list[Row]) -> None:
        mine = []
        for row in rows:
            fleet = self._fleets.get((row.pop("comparison_id"), row.pop("fleet")))
            if fleet is not None and fleet.standing not in ("running", "behind"):
                mine.append({**row, "fleet_id": fleet.id})
        self._insert(part, mine)

    def _take_measurements(self, part: TransferTable, rows: list[Row]) -> None:
        standings = self._standings
        # What ended here, or went on, has all of its measurements.
        rows = [row for row in rows if standings[row["trial_id"]] not in ("running", "behind")]
        # A trial that went on elsewhere may have been measured anew there, and differently.
        again = {r["trial_id"] for r in rows if standings[r["trial_id"]] == "further"}
        for ids in chunks(again - self._emptied):
            gone = delete(part.table).where(part.table.c.trial_id.in_(ids))
            self.added[part.name] -= self._connection.execute(gone).rowcount
        self._emptied |= again
        added = self._insert(part, rows)
        self._to_mirror |= {row["trial_id"] for row in added if standings[row["trial_id"]] != "new"}

    def _take_verdicts(self, part: TransferTable, rows: list[Row]) -> None:
        taken = ("new", "further")
        mine = [row for row in rows if self._comparisons[row["comparison_id"]] in taken]
        self._insert(part, mine)

    def _take_claims(self, part: TransferTable, rows: list[Row]) -> None:
        names = self._names(part.table, rows)
        for row in rows:
            row |= {"id": names[row["id"]], "body": renamed_report(row["body"], self.renamed, {})}
        self._insert(part, rows)

    @cached_property
    def _standings(self) -> dict[int, Standing]:
        """Of trials, by number; measurements come after all of them."""
        return {known.id: known.standing for known in self._trials.values()}

    def _called(self, id: str) -> str:
        """Return what a comparison is called here."""
        return self.renamed.get(id, id)

    def _runs(self, row: Row) -> bool:
        """Say whether the comparison of a row runs here, and is left alone."""
        return self._comparisons[row["comparison_id"]] == "running"

    def _insert(self, part: TransferTable, rows: list[Row]) -> list[Row]:
        """Insert the rows whose primary key is not here; return those."""
        names = [column.name for column in part.table.primary_key]
        known = self._known(part, rows)
        new = [row for row in rows if tuple(row[name] for name in names) not in known]
        if new:
            # Whoever works with the store may have entered the same since.
            self._connection.execute(insert_new(self._connection, part.table), new)
            self.added[part.name] += len(new)
        return new

    def _add(self, part: TransferTable, rows: list[Row]) -> None:
        if rows:
            self._connection.execute(part.table.insert(), rows)
            self.added[part.name] += len(rows)

    def _known(self, part: TransferTable, rows: list[Row]) -> set[tuple[Any, ...]]:
        """Return the primary keys that are here and begin like those of the rows."""
        key = list(part.table.primary_key)
        first = {row[key[0].name] for row in rows}
        if not first:
            return set()
        return set(map(tuple, self._connection.execute(select(*key).where(key[0].in_(first)))))

    def _update(self, table: Table, id: Any, row: Row, **other: Any) -> None:
        self._connection.execute(update(table).where(table.c.id == id).values(**row, **other))


def _free(key: str, attempt: int, used: set[Any]) -> int:
    while (key, attempt) in used:
        attempt += 1
    return attempt
