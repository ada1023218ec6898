"""The progress of training: of each fleet, and of all fleets with the time left.

In a terminal and in a notebook these are bars; elsewhere, such as in a log, a line now and then.
"""

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

from bench.harness.core.notices import is_quiet, say
from bench.harness.core.text import shortened, visible
from bench.harness.training.fleet import Progress

Show = Callable[[Progress], None]
"""Moves the bar of a fleet."""
LINE_SECONDS = 10.0
"""Seconds between two lines about the progress, and before the first."""
REDRAWN = 0.25
"""Seconds between two pictures of a notebook's bars, which a browser has to be sent."""


class Total:
    """The progress of all fleets together; each counts the same."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ended = 0
        self._moving: dict[int, float] = {}
        self.fleets = 0

    def begin(self, number: int, fleets: int) -> None:
        """Note a fleet that begins, and how many there are."""
        self.fleets, self._moving[number] = fleets, 0.0

    def move(self, number: int, fraction: float) -> None:
        """Note the progress of a fleet."""
        self._moving[number] = min(1.0, fraction)

    def end(self, number: int) -> None:
        """Note the end of a fleet."""
        self._ended += self._moving.pop(number, None) is not None

    @property
    def fraction(self) -> float:
        """The share of the work that is done."""
        return (self._ended + sum(self._moving.values())) / max(1, self.fleets)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    @property
    def text(self) -> str:
        """The progress as a sentence."""
        left = self.elapsed * (1 / self.fraction - 1) if self.fraction else None
        after = "" if left is None else f", about {_duration(left)} left"
        fleets = f"{self.fleets} fleet" + ("" if self.fleets == 1 else "s")
        return f"{self.fraction:.0%} of {fleets} trained{after}"


class Bars:
    """Shows the progress of fleets on stderr or in the output of a cell.

    It shows nothing where notices are off.
    """

    def __init__(self) -> None:
        self.total = Total()
        self._shown: _Shown | None = None
        if not is_quiet():
            if sys.stderr is not None and sys.stderr.isatty():
                self._shown = _Terminal(self.total)
            elif _in_notebook():
                self._shown = _Notebook(self.total)
            else:
                self._shown = _Lines(self.total)

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        """Show the bar of one fleet while the block runs; the block is given what moves it."""
        if self._shown is None:
            yield lambda progress: None
            return
        self.total.begin(number, total)
        with self._shown.fleet(visible(shortened(label, 60)), number, total) as show:

            def move(progress: Progress) -> None:
                self.total.move(number, progress.fraction)
                show(progress)

            try:
                yield move
            finally:
                self.total.end(number)


class _Shown(Protocol):
    def fleet(self, label: str, number: int, total: int) -> AbstractContextManager[Show]: ...


class _Terminal:
    """Bars at the bottom of a terminal, the last of all fleets; those that are full stay above."""

    def __init__(self, total: Total) -> None:
        self._total = total
        self._all: TaskID | None = None
        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[loss]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        if self._all is None:
            self._rich.start()
        else:
            self._rich.remove_task(self._all)
        bar = self._rich.add_task(f"[{number}/{total}] {label}", total=1.0, loss="", rate="")
        # Made anew, so that it is the last one.
        self._all = self._rich.add_task("all fleets", total=1.0, loss="", rate="")
        self._move_total()
        try:
            yield partial(self._update, bar)
        finally:
            # It stays, above those that still move.
            ended = [task for task in self._rich.tasks if task.id == bar]
            self._rich.console.print(self._rich.make_tasks_table(ended))
            self._rich.remove_task(bar)
            if len(self._rich.tasks) == 1 and self._all is not None:
                self._rich.remove_task(self._all)
                self._all = None
                self._rich.stop()

    def _update(self, bar: TaskID, progress: Progress) -> None:
        self._rich.update(
            bar,
            completed=progress.fraction,
            loss=_loss(progress),
            rate=f"{_rate(progress):.3g} updates/s",
        )
        self._move_total()

    def _move_total(self) -> None:
        assert self._all is not None
        done = self._total.fraction
        left = f"{_duration(self._total.elapsed * (1 / done - 1))} left" if done else ""
        self._rich.update(self._all, completed=done, rate=left)


class _Notebook:
    """Bars as text in one output of a cell, which is written over. It needs no widgets."""

    def __init__(self, total: Total) -> None:
        self._total = total
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
                f"{progress.fraction:>4.0%}  {_loss(progress)}  "
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
        if self._lines:
            ended += f" {self._total.text}."
        picture = {"text/plain": "\n".join([*self._lines.values(), ended])}
        if self._handle is None:
            self._handle = display(picture, raw=True, display_id=True)
        else:
            self._handle.update(picture, raw=True)


class _Lines:
    """A line for every tenth of the work, where nobody sees bars; none in the first seconds."""

    def __init__(self, total: Total) -> None:
        self._total = total
        self._said, self._said_at = 0, 0.0

    @contextmanager
    def fleet(self, label: str, number: int, total: int) -> Iterator[Show]:
        yield self._show

    def _show(self, progress: Progress) -> None:
        tenth, now = int(10 * self._total.fraction), self._total.elapsed
        if tenth > self._said and now >= self._said_at + LINE_SECONDS:
            self._said, self._said_at = tenth, now
            say(f"{self._total.text}.")


def _duration(seconds: float) -> str:
    """Write a time in words.

    >>> _duration(59.6), _duration(600), _duration(7_300)
    ('60 s', '10 min', '2 h 2 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _loss(progress: Progress) -> str:
    return f"batch loss {progress.loss:.4g}"


def _rate(progress: Progress) -> float:
    return progress.updates / progress.seconds if progress.seconds else 0.0


def _in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
