"""A progress bar for each fleet, with loss, rate and time left: in a terminal, or in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bench.harness.core.notices import is_quiet
from bench.harness.core.text import shortened, visible
from bench.harness.training.fleet import Progress

Show = Callable[[Progress], None]
"""Moves the bar of a fleet."""
REDRAWN = 0.25
"""Seconds between two pictures of a notebook's bars, which a browser has to be sent."""


class Bars:
    """Shows the progress of fleets, a bar for each, on stderr or in the output of a cell.

    It shows nothing where there is neither a terminal nor a notebook, or where notices are off.
    """

    def __init__(self) -> None:
        self._shown: _Shown | None = None
        if not is_quiet():
            if sys.stderr is not None and sys.stderr.isatty():
                self._shown = _Terminal()
            elif _in_notebook():
                self._shown = _Notebook()

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        """Show the bar of one fleet while the block runs; the block is given what moves it."""
        if self._shown is None:
            yield lambda progress: None
            return
        with self._shown.fleet(visible(shortened(label, 60)), number, total) as show:
            yield show


class _Shown(Protocol):
    def fleet(self, label: str, number: int, total: int) -> AbstractContextManager[Show]: ...


class _Terminal:
    """Bars at the bottom of a terminal; those that are full stay above them."""

    def __init__(self) -> None:
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
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        if not self._rich.tasks:
            self._rich.start()
        bar = self._rich.add_task(f"[{number}/{total}] {label}", total=1.0, loss="–", rate="")
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
        self._rich.update(
            bar,
            completed=progress.fraction,
            loss=f"{progress.loss:.4g}",
            rate=f"{_rate(progress):.3g} updates/s",
        )


class _Notebook:
    """Bars as text in one output of a cell, which is written over. It needs no widgets."""

    def __init__(self) -> None:
        self._lines: dict[int, str] = {}
        self._ended = 0
        self._handle: Any = None
        self._drawn = 0.0

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        def show(progress: Progress) -> None:
            filled = round(24 * min(1.0, progress.fraction))
            self._lines[number] = (
                f"[{number}/{total}] {label} {'█' * filled}{'░' * (24 - filled)} "
                f"{progress.fraction:>4.0%}  loss {progress.loss:.4g}  "
                f"{_rate(progress):.3g} updates/s"
            )
            if time.monotonic() - self._drawn >= REDRAWN:
                self._draw(total)

        self._lines[number] = f"[{number}/{total}] {label}"
        self._draw(total)
        try:
            yield show
        finally:
            del self._lines[number]
            self._ended += 1
            self._draw(total)

    def _draw(self, total: int) -> None:
        from IPython.display import display

        self._drawn = time.monotonic()
        ended = f"{self._ended} of {total} fleet{'' if total == 1 else 's'} trained."
        picture = {"text/plain": "\n".join([*self._lines.values(), ended])}
        if self._handle is None:
            self._handle = display(picture, raw=True, display_id=True)
        else:
            self._handle.update(picture, raw=True)


def _rate(progress: Progress) -> float:
    return progress.updates / progress.seconds if progress.seconds else 0.0


def _in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
