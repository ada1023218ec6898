"""What a benchmark leaves behind: figures, each a ratio to a peer measured in the same rounds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import torch

from benchmarks.machine import CPU, machine
from benchmarks.ratios import spread

NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Figure:
    """`measured` in units of `against`, over rounds in which both were timed."""

    case: str
    measured: str
    against: str
    threads: int
    ratio: Mapping[str, float]
    seconds: float
    """The median of `measured`; it depends on what else the machine did."""
    against_seconds: float
    goal: float | None = None
    """The ratio's median is to be at most this, and at least this where it is one of rates."""
    goal_seconds: float | None = None
    """`seconds` are to be below this."""
    unit: str | None = None
    """What both rates are in, where the ratio is one of rates; None: it is one of seconds."""
    rate: float | None = None
    """The median of `measured`."""
    against_rate: float | None = None


def figure(
    case: str,
    measured: tuple[str, Sequence[float]],
    against: tuple[str, Sequence[float]],
    *,
    goal: float | None = None,
    goal_seconds: float | None = None,
) -> Figure:
    """Return the figure of two named series of seconds, paired round by round."""
    pairs = zip(measured[1], against[1], strict=True)
    return Figure(
        case,
        measured[0],
        against[0],
        torch.get_num_threads(),
        spread([mine / theirs for mine, theirs in pairs]),
        median(measured[1]),
        median(against[1]),
        goal,
        goal_seconds,
    )


def rates(
    case: str,
    measured: tuple[str, Sequence[float], float],
    against: tuple[str, Sequence[float], float],
    unit: str,
    *,
    goal: float | None = None,
) -> Figure:
    """Return the figure of two named series of seconds, each in which so much work was done.

    Work is in units whose rate has the unit `unit`; more is better.
    """
    (mine, seconds, work), (theirs, against_seconds, against_work) = measured, against
    pairs = zip(seconds, against_seconds, strict=True)
    return replace(
        figure(case, (mine, seconds), (theirs, against_seconds), goal=goal),
        ratio=spread([(work / a) / (against_work / b) for a, b in pairs]),
        unit=unit,
        rate=work / median(seconds),
        against_rate=against_work / median(against_seconds),
    )


@dataclass(frozen=True)
class Part:
    """One benchmark's result: a section of RESULTS.md."""

    title: str
    figures: Sequence[Figure]
    notes: Sequence[str]
    """Sentences: what exactly was timed, and how the run was shortened."""
    peers: Sequence[str] = field(default_factory=tuple)
    """Packages whose versions matter, or that are missing."""

    def as_json(self, command: str, load: float, device: torch.device = CPU) -> dict[str, Any]:
        """Return plain values with the machine; `load` is its load average before the run."""
        return {
            "title": self.title,
            "command": command,
            "machine": machine(device),
            "load": round(load, 2),
            "peers": {name: installed(name) for name in self.peers},
            "notes": list(self.notes),
            "figures": [asdict(each) for each in self.figures],
        }


def installed(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def thread_counts(smoke: bool, device: torch.device) -> list[int]:
    """Return 1, and 2 where there are two cores; 1 where threads do not matter."""
    if smoke or device.type != "cpu":
        return [1]
    return [threads for threads in (1, 2) if threads <= (os.cpu_count() or 1)]
