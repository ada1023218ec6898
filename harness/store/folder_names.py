"""Renaming of picture folders from earlier versions, which were named after a trial's number."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine, select

from bench.harness.store.tables import trial

NAMED_FROM = "0004"
"""The revision that gave each trial a uuid."""


def name_folders(engine: Engine, folder: Path) -> None:
    """Rename `trial-<number>` in a folder to `trial-<uuid>`, if this store has such a trial."""
    numbered = {
        int(number): path
        for path in folder.glob("trial-*")
        if (number := path.name.removeprefix("trial-")).isdecimal() and len(number) < 10
    }
    with engine.connect() as connection:
        query = select(trial.c.id, trial.c.uuid).where(trial.c.id.in_(numbered))
        for row in connection.execute(query).all():
            named = folder / f"trial-{row.uuid}"
            if not named.exists():
                # A missing picture must not prevent the use of the store.
                with suppress(OSError):
                    numbered[row.id].rename(named)
