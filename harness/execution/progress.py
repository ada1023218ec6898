"""A progress bar per fleet on stderr, with loss, rate and time left; quiet where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bench.harness.core.text import shortened, visible
from bench.harness.training.fleet import Progress


class Bars:
    """Shows how fleets get on, a bar each; without a terminal it shows nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %  loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Callable[[Progress], None]]:
        """Show the bar of one fleet, which what is entered moves, while the block runs."""
        if not self._shown:
            yield lambda progress: None
            return
        if not self._rich.tasks:
            self._rich.start()
        bar = self._rich.add_task(
            f"[{number}/{total}] {visible(shortened(label, 60))}", total=1.0, loss="–", rate=""
        )
        try:
            yield partial(self._update, bar)
        finally:
            # It stays, above those that still move.
            ended = [task for task in self._rich.tasks if task.id == bar]
            self._rich.console.print(self._rich.make_tasks_table(ended))
            self._rich.remove_task(bar)
            if not self._rich.tasks:
                self._rich.stop()

    def _update(self, bar: TaskID, progress: Progress) -> None:
        rate = progress.updates / progress.seconds if progress.seconds else 0.0
        self._rich.update(
            bar,
            completed=progress.fraction,
            loss=f"{progress.loss:.4g}",
            rate=f"{rate:.3g} updates/s",
        )
