"""The hyperparameters that a method gets where nothing else was written.

First what is in `defaults.toml` for (problem, preset, method): values from a tuning run
on seeds that are never reported, with the command that repeats it, or else those of the problem
that it is said to be like. Below the preset `paper` the momentum schedule's period and final phase
follow the budget.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PAPER_UPDATES, PAPER_PERIOD, PAPER_FINAL = 750_000, 250, 1_000


@cache
def _file() -> Mapping[str, Any]:
    return tomllib.loads(files("bench.harness.core").joinpath("defaults.toml").read_text("utf-8"))


def tuned(problem: str, preset: str, method: str) -> dict[str, Any]:
    """Return the tuned values for a method on a problem at a preset; empty where there are none."""
    _, entry = _entry(problem, preset, method)
    return dict(entry.get("values", {}))


def origin(problem: str, preset: str, method: str) -> str | None:
    """Say where the tuned values come from: the command that chose them, or a publication."""
    found, entry = _entry(problem, preset, method)
    said = f"tuned by: {entry['command']}" if "command" in entry else entry.get("source")
    return said if said is None or found == problem else f"as for {found}: {said}"


def _entry(problem: str, preset: str, method: str) -> tuple[str, Mapping[str, Any]]:
    """Return the entry and whose it is: the problem's own, or that of the nearest it is like."""
    name: str | None = problem
    while name is not None:
        entry = _file().get(name, {}).get(preset, {}).get(method)
        if entry is not None:
            return name, entry
        name = _file()["like"].get(name)
    return problem, {}


def scaled_schedule(preset: str, space: set[str], updates: int | None) -> dict[str, int]:
    """Return period and final phase for a budget below `paper`; empty where nothing scales.

    Both are the published ones times √(updates / 750,000). In proportion to the updates μ
    would rise within a hundred updates of a run of thousands, and training suffers.
    """
    if preset == "paper" or updates is None or not {"period", "final"} <= space:
        return {}
    share = math.sqrt(updates / PAPER_UPDATES)
    return {
        "period": max(1, round(PAPER_PERIOD * share)),
        "final": max(1, round(PAPER_FINAL * share)),
    }
