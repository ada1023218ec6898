"""Observers of a fleet while it trains: one that records it, and one for the other ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.harness.core.records import Ledger, Measurement
from bench.harness.store.recorder import Recorder
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import InterruptFlag


class RecordingObserver:
    """Passes a fleet's measurements to the recorder, its progress to the bar, its state to disk."""

    def __init__(
        self,
        recorder: Recorder,
        fleet: int,
        trials: Sequence[int],
        checkpoints: Checkpoints,
        show: Callable[[Progress], None],
        interrupted: InterruptFlag,
    ) -> None:
        self._recorder, self._trials, self._checkpoints = recorder, trials, checkpoints
        self._fleet = fleet
        self._interrupted = interrupted
        self._measurements: list[tuple[int, Measurement]] = []
        self.on_progress, self.due = show, checkpoints.due
        self.last: dict[int, Measurement] = {}

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Pass a measurement to the recorder; returns at once."""
        self.last[row] = measurement
        self._measurements.append((row, measurement))
        self._recorder.measure(self._trials[row], measurement)

    def should_stop(self) -> bool:
        """Return whether a signal has arrived, or this process has lost the lease of the fleet."""
        return bool(self._interrupted) or self._recorder.lost(self._fleet)

    def write(self, state: Mapping[str, Any]) -> None:
        """Save the state of the fleet, with all measurements up to now."""
        if self._recorder.lost(self._fleet):
            # Another process has the lease, and writes to the same files.
            return
        # If this process is killed, the last measurements may not be in the store yet, and the
        # process that continues from this state does not repeat them.
        measurements = [(row, asdict(measurement)) for row, measurement in self._measurements]
        self._checkpoints.write({"fleet": state, "measurements": measurements})

    def repeat(self, measurements: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Pass earlier measurements to the recorder again; the store ignores those that it has."""
        for row, plain in measurements:
            self.on_measurement(row, Measurement(**{**plain, "ledger": Ledger(**plain["ledger"])}))


class SilentObserver:
    """The observer of a fleet that another rank records."""

    def __init__(self, interrupted: InterruptFlag) -> None:
        self._interrupted = interrupted

    def on_measurement(self, row: int, measurement: Measurement) -> None:
        """Do nothing: the other rank records it."""

    def on_progress(self, progress: Progress) -> None:
        """Do nothing: the other rank records it."""

    def should_stop(self) -> bool:
        """Return whether a signal has arrived."""
        return bool(self._interrupted)
