"""The lines that describe a comparison before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.harness.core.defaults import keeps_tuned_values, tuned_origin
from bench.harness.core.notices import say
from bench.harness.core.spec import problem_text
from bench.harness.core.text import shortened, visible
from bench.harness.planning.fleets import Candidate
from bench.harness.planning.preparation import PreparedRequest
from bench.models.problem import Problem


def announce(prepared: PreparedRequest, seed: int | None = None) -> None:
    """Print what will run: problem, preset, budget, and the hyperparameters of every method."""
    protocol, problem, machine = prepared.protocol, prepared.problem, prepared.machine
    parts = [
        f"{protocol.budget.amount:,.12g} {protocol.budget.currency} per trial",
        _count(prepared.seeds, "seed") if seed is None else f"seed {seed}",
        machine.device.type,
        _count(machine.threads, "thread"),
    ]
    notes = f": {problem.notes}" if problem.notes else ""
    name = problem_text(problem.name, problem.identity)
    say(f"{name} / {problem.preset} on {protocol.data}{notes}; {', '.join(parts)}.")
    for points, written in zip(prepared.points, prepared.written, strict=True):
        if len(points) > 1:
            say(f"  {written.name}: tuning tries {len(points)} points.")
            continue
        source = _origin(problem, written.name, points[0].hyperparameters)
        text = shortened(visible(Candidate(points[0], "").spec.text), 400)
        say(f"  {text}" + (f"  ({source})" if source else ""))


def _origin(problem: Problem, method: str, used: Mapping[str, Any]) -> str | None:
    """Return the source of the tuned defaults; None if the user gave other values or a recipe."""
    names = (problem.name, problem.preset, method)
    return tuned_origin(*names) if keeps_tuned_values(*names, used) else None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
