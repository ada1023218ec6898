"""Who watches a fleet while it trains: the process that records it, and ranks beside that one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.harness.core.records import Ledger, Measurement
from bench.harness.store.recorder import Recorder
from bench.harness.training.checkpoint import Checkpoints
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import Interrupted


class Recording:
    """Hands a fleet's measurements to the recorder, its progress to the bar, its state to disk."""

    def __init__(
        self,
        recorder: Recorder,
        fleet: int,
        trials: Sequence[int],
        kept: Checkpoints,
        show: Callable[[Progress], None],
        interrupted: Interrupted,
    ) -> None:
        self._recorder, self._trials, self._kept = recorder, trials, kept
        self._fleet = fleet
        self._interrupted = interrupted
        self._taken: list[tuple[int, Measurement]] = []
        self.progressed, self.due = show, kept.due
        self.last: dict[int, Measurement] = {}

    def measured(self, row: int, measurement: Measurement) -> None:
        """Hand it on; returns at once."""
        self.last[row] = measurement
        self._taken.append((row, measurement))
        self._recorder.measure(self._trials[row], measurement)

    def stopping(self) -> bool:
        """Say whether a signal has come, or the fleet is not this process's any more."""
        return bool(self._interrupted) or self._recorder.lost(self._fleet)

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep a fleet's state, and what was measured until then."""
        if self._recorder.lost(self._fleet):
            # Another process keeps its state in the same place.
            return
        # What was measured may still be on its way to the store when this process is killed, and
        # whoever goes on from here does not measure it again.
        taken = [(row, asdict(measurement)) for row, measurement in self._taken]
        self._kept.write({"fleet": state, "measurements": taken})

    def repeat(self, taken: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        """Hand on once more what was measured before; what the store has it leaves as it is."""
        for row, plain in taken:
            self.measured(row, Measurement(**{**plain, "ledger": Ledger(**plain["ledger"])}))


class Silent:
    """Watches a fleet that another rank records."""

    def __init__(self, interrupted: Interrupted) -> None:
        self._interrupted = interrupted

    def measured(self, row: int, measurement: Measurement) -> None:
        """Leave it to the other."""

    def progressed(self, progress: Progress) -> None:
        """Leave it to the other."""

    def stopping(self) -> bool:
        """Say whether a signal has come."""
        return bool(self._interrupted)
