"""`bench nightly status`: silence is an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from bench.harness.cli.options import store_option, store_url
from bench.harness.core.errors import BenchError, Usage

if TYPE_CHECKING:
    from bench.harness.core.records import NightRecord

LONGEST = 24 * 366


@click.command("status", epilog="Example: bench nightly status --suite nightly --within 26")
@click.option("--suite", metavar="NAME", help="Only the suite of this name; default: every one.")
@click.option(
    "--within", type=float, required=True, metavar="HOURS", help="How long silence is no alarm."
)
@store_option
def status(suite: str | None, within: float, store: str | None) -> None:
    """Fail if a suite has no night that ended within so many hours.

    How the last one ended is said, and is no alarm here: a night that finds something or fails
    ends with an exit code of its own.
    """
    from bench.harness.core.text import visible
    from bench.harness.store.results import Store

    if not 0 < within <= LONGEST:
        raise Usage(f"--within {within:g}: allowed are hours above 0, up to {LONGEST:,}.")
    with Store.open(store_url(store), create=False) as opened:
        nights = opened.nights(suite)
        shown_url = opened.shown_url
    if not nights:
        of = f" of {suite}" if suite else ""
        raise BenchError(f"No night{of} is on record in {shown_url}: nothing watches.")
    by_suite: dict[str, list[NightRecord]] = {}
    for night in nights:
        by_suite.setdefault(night.suite, []).append(night)
    now = datetime.now(UTC)
    silent = [name for name, some in by_suite.items() if is_silent(some, now, within)]
    for some in by_suite.values():
        click.echo(visible(told(some, now)))
    if silent:
        raise BenchError(
            f"No night of {', '.join(silent)} has ended within {within:g} hours. See whether its "
            "timer runs, and what it said last."
        )


def is_silent(nights: Sequence[NightRecord], now: datetime, within: float) -> bool:
    """Say whether none of a suite's nights has ended within so many hours before now."""
    since = now - timedelta(hours=within)
    return not any(night.ended is not None and night.ended >= since for night in nights)


def told(nights: Sequence[NightRecord], now: datetime) -> str:
    """Say when a suite's last night ended and how, and since when another one runs."""
    parts = []
    ended = max((n for n in nights if n.ended), key=lambda n: n.ended or now, default=None)
    if ended is None or ended.ended is None:
        parts.append("no night has ended")
    else:
        parts.append(f"the last night ended {_hours(now - ended.ended)} ago, {ended.status}")
        if ended.commit:
            parts.append(f"at commit {ended.commit[:12]}")
    newest = max(nights, key=lambda night: night.created)
    if newest.ended is None:
        parts.append(f"one that began {_hours(now - newest.created)} ago has not ended")
    reason = f"; {ended.reason}" if ended is not None and ended.reason else ""
    return f"{nights[0].suite}: {', '.join(parts)}{reason}"


def _hours(time: timedelta) -> str:
    return f"{time / timedelta(hours=1):.1f} h"
