"""Tuned defaults: the hyperparameters that a method gets when the user writes none.

`defaults.toml` has them by (problem, preset, method). They come from a tuning run on seeds that
are never reported, with the command that repeats it. A problem without values of its own takes
those of the problem that `defaults.toml` lists under `like`. Below the preset `paper`, the period
and the final phase of the momentum schedule follow the budget.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from bench.optim.recipe.hyperparameters import has_recipe

PAPER_UPDATES, PAPER_PERIOD, PAPER_FINAL = 750_000, 250, 1_000


@cache
def _defaults_file() -> Mapping[str, Any]:
    return tomllib.loads(files("bench.harness.core").joinpath("defaults.toml").read_text("utf-8"))


def tuned_values(problem: str, preset: str, method: str) -> dict[str, Any]:
    """Return the tuned values for a method on a problem at a preset; empty if there are none."""
    _, entry = _entry(problem, preset, method)
    return dict(entry.get("values", {}))


def keeps_tuned_values(problem: str, preset: str, method: str, used: Mapping[str, Any]) -> bool:
    """Say whether a method has the tuned values, and no recipe, since they were tuned without."""
    values = tuned_values(problem, preset, method)
    return not has_recipe(used) and all(used.get(name) == values[name] for name in values)


def tuned_origin(problem: str, preset: str, method: str) -> str | None:
    """Return where the tuned values come from: the command that chose them, or a publication."""
    owner, entry = _entry(problem, preset, method)
    text = f"tuned by: {entry['command']}" if "command" in entry else entry.get("source")
    return text if text is None or owner == problem else f"as for {owner}: {text}"


def _entry(problem: str, preset: str, method: str) -> tuple[str, Mapping[str, Any]]:
    """Return the problem whose entry is used, and the entry: its own, or that of one like it."""
    name: str | None = problem
    while name is not None:
        entry = _defaults_file().get(name, {}).get(preset, {}).get(method)
        if entry is not None:
            return name, entry
        name = _defaults_file()["like"].get(name)
    return problem, {}


def scaled_schedule(preset: str, space: set[str], updates: int | None) -> dict[str, int]:
    """Return period and final phase for a budget below `paper`; empty if the method has neither.

    Both are the published values times √(updates / 750,000). If they were proportional to the
    updates, μ would rise within a hundred updates of a run of thousands, and training suffers.
    """
    if preset == "paper" or updates is None or not {"period", "final"} <= space:
        return {}
    share = math.sqrt(updates / PAPER_UPDATES)
    return {
        "period": max(1, round(PAPER_PERIOD * share)),
        "final": max(1, round(PAPER_FINAL * share)),
    }
