"""A progress bar per fleet on stderr, with loss, rate and time left; quiet where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from harness.fleet import Progress


class Bars:
    """Shows how fleets get on; without a terminal it shows nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._rich: RichProgress | None = None

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[None]:
        """Show the bar of one fleet while the block runs."""
        if not self._shown:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %  loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
        )
        with RichProgress(*columns, console=Console(stderr=True)) as self._rich:
            self._task = self._rich.add_task(
                f"[{number}/{total}] {label}".replace("[", "\\["), total=1.0, loss="–", rate=""
            )
            yield
        self._rich = None

    def update(self, progress: Progress) -> None:
        """Move the bar."""
        if self._rich is None:
            return
        rate = progress.updates / progress.seconds if progress.seconds else 0.0
        self._rich.update(
            self._task,
            completed=progress.fraction,
            loss=f"{progress.loss:.4g}",
            rate=f"{rate:.3g} updates/s",
        )
