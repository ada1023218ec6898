"""Baselines, nightly runs and noise measurements in the store."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update

from bench.harness.core.records import BaselineRecord, NightMetric, NightRecord, NoiseRecord
from bench.harness.core.secrets import redacted_urls
from bench.harness.store import tables as t
from bench.harness.store.leases import StoreLeases
from bench.harness.store.links import chunks
from bench.harness.store.rows import to_json
from bench.harness.store.statements import at_most, next_time, now

_METRIC = tuple(field.name for field in fields(NightMetric))


class StoreNights(StoreLeases):
    """The records of nightly runs; each change is one transaction."""

    def accept(self, name: str, comparison_id: str, note: str | None) -> datetime:
        """Accept a comparison as the baseline of later nights with its protocol."""
        with self._write() as connection:
            time = next_time(connection)
            connection.execute(
                t.baseline.insert().values(
                    name=name,
                    accepted=time,
                    comparison_id=comparison_id,
                    note=note and redacted_urls(note),
                )
            )
        return time

    def baselines(self, name: str | None = None) -> list[BaselineRecord]:
        """Return all baselines, or those with this name, the newest first."""
        query = select(t.baseline).order_by(t.baseline.c.accepted.desc(), t.baseline.c.name)
        if name is not None:
            query = query.where(t.baseline.c.name == name)
        with self._read() as connection:
            return [BaselineRecord(**row._asdict()) for row in connection.execute(query)]

    def begin_night(
        self,
        suite: str,
        suite_digest: str,
        baseline: str,
        commit: str | None,
        info: Mapping[str, Any],
    ) -> str:
        """Record a night as running; return its uuid."""
        uuid = secrets.token_hex(16)
        with self._write() as connection:
            connection.execute(
                t.night.insert().values(
                    uuid=uuid,
                    suite=suite,
                    suite_digest=suite_digest,
                    baseline=baseline,
                    status="running",
                    commit=commit,
                    info=to_json(info),
                    created=next_time(connection),
                )
            )
        return uuid

    def end_night(
        self,
        uuid: str,
        status: Literal["clean", "changed", "failed"],
        reason: str | None,
        metrics: Sequence[NightMetric],
        ended: datetime | None = None,
    ) -> None:
        """End a night and record its metrics; `ended` is the time, by default now."""
        rows = [
            {"night": uuid, "position": position, **asdict(metric)}
            for position, metric in enumerate(metrics)
        ]
        with self._write() as connection:
            connection.execute(
                update(t.night)
                .where(t.night.c.uuid == uuid)
                .values(
                    status=status,
                    reason=reason and redacted_urls(reason),
                    ended=ended or now(connection),
                )
            )
            if rows:
                connection.execute(t.night_metric.insert(), rows)

    def nights(
        self,
        suite: str | None = None,
        baseline: str | None = None,
        limit: int | None = None,
    ) -> list[NightRecord]:
        """Return nights with their metrics, the newest first."""
        query = select(t.night).order_by(t.night.c.created.desc(), t.night.c.uuid)
        query = query.limit(at_most(limit))
        if suite is not None:
            query = query.where(t.night.c.suite == suite)
        if baseline is not None:
            query = query.where(t.night.c.baseline == baseline)
        with self._read() as connection:
            rows = [row._asdict() for row in connection.execute(query)]
            metrics = defaultdict(list)
            of = t.night_metric.c
            for some in chunks([row["uuid"] for row in rows]):
                found = select(t.night_metric).where(of.night.in_(some)).order_by(of.position)
                for row in connection.execute(found).mappings():
                    metrics[row["night"]].append(NightMetric(**{k: row[k] for k in _METRIC}))
        return [
            NightRecord(
                **{**row, "info": json.loads(row["info"]), "metrics": tuple(metrics[row["uuid"]])}
            )
            for row in rows
        ]

    def save_noise(self, suite: str, body: Mapping[str, Any]) -> str:
        """Record how much a suite's metrics scatter; return the row's uuid."""
        uuid = secrets.token_hex(16)
        with self._write() as connection:
            connection.execute(
                t.noise.insert().values(
                    uuid=uuid, suite=suite, body=to_json(body), created=next_time(connection)
                )
            )
        return uuid

    def noises(self, suite: str | None = None) -> list[NoiseRecord]:
        """Return the noise measurements, the newest first."""
        query = select(t.noise).order_by(t.noise.c.created.desc(), t.noise.c.uuid)
        if suite is not None:
            query = query.where(t.noise.c.suite == suite)
        with self._read() as connection:
            rows = connection.execute(query).all()
        return [NoiseRecord(**{**row._asdict(), "body": json.loads(row.body)}) for row in rows]
