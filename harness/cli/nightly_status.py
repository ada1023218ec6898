"""`bench nightly status`: an alarm if no night has ended recently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import BenchError, Usage

if TYPE_CHECKING:
    from bench.harness.core.records import NightRecord

MAX_HOURS = 24 * 366
_TOLERANCE = timedelta(minutes=5)
"""How far a clock may differ from that of another machine."""


@click.command("status", epilog="Example: bench nightly status --suite nightly --within 26")
@click.option("--suite", metavar="NAME", help="Check only this suite; default: every suite.")
@click.option(
    "--within",
    type=float,
    required=True,
    metavar="HOURS",
    help="Fail if the last night ended longer ago than this.",
)
@store_option
def status(suite: str | None, within: float, store: str | None) -> None:
    """Fail if a suite has no night that ended within so many hours.

    The command prints how the last night ended, but a bad end is no failure here: `bench nightly
    run` reports it with its own exit code.
    """
    from bench.harness.core.text import visible
    from bench.harness.store.results import Store

    if not 0 < within <= MAX_HOURS:
        raise Usage(f"--within {within:g}: allowed are hours above 0, up to {MAX_HOURS:,}.")
    with Store.open(store_url(store), create=False) as opened:
        nights = opened.nights(suite)
        redacted_url = opened.redacted_url
    if not nights:
        of = f" of {suite}" if suite else ""
        raise BenchError(
            f"No night{of} is recorded in {redacted_url}. Run one with: bench nightly run "
            "SUITE.toml"
        )
    by_suite: dict[str, list[NightRecord]] = {}
    for night in nights:
        by_suite.setdefault(night.suite, []).append(night)
    now = datetime.now(UTC)
    overdue = [name for name, some in by_suite.items() if is_overdue(some, now, within)]
    for some in by_suite.values():
        click.echo(visible(last_night_text(some, now)))
    if overdue:
        raise BenchError(
            f"No night of {', '.join(overdue)} has ended within {within:g} hours. Check whether "
            "its timer runs, and what its last run printed."
        )


def is_overdue(nights: Sequence[NightRecord], now: datetime, within: float) -> bool:
    """Return whether the last of a suite's nights to end did not end within so many hours.

    `nights` are in the order of the record, the newest first. A night that ended in the future does
    not say how long ago that was: the clock went back since.
    """
    ended = _last_ended(nights)
    if ended is None or ended.ended is None:
        return True
    return not now - timedelta(hours=within) <= ended.ended <= now + _TOLERANCE


def last_night_text(nights: Sequence[NightRecord], now: datetime) -> str:
    """Write when a suite's last night ended and how, and since when another one runs."""
    parts = []
    ended = _last_ended(nights)
    if ended is None or ended.ended is None:
        parts.append("no night has ended")
    elif ended.ended > now + _TOLERANCE:
        parts.append(
            f"the last night ended at {ended.ended:%Y-%m-%d %H:%M} UTC, {ended.status}; that is in "
            "the future, so the clock went back, and nobody can say how long ago it was. Check the "
            "clock, and run a night"
        )
    else:
        parts.append(f"the last night ended {_hours(now - ended.ended)} ago, {ended.status}")
        if ended.commit:
            parts.append(f"at commit {ended.commit[:12]}")
    newest = nights[0]
    if newest.ended is None:
        parts.append(f"the night that began {_hours(now - newest.created)} ago has not ended")
    reason = f"; {ended.reason}" if ended is not None and ended.reason else ""
    return f"{nights[0].suite}: {', '.join(parts)}{reason}"


def _last_ended(nights: Sequence[NightRecord]) -> NightRecord | None:
    return next((night for night in nights if night.ended is not None), None)


def _hours(time: timedelta) -> str:
    return f"{max(time, timedelta()) / timedelta(hours=1):.1f} h"
