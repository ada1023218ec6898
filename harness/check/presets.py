"""The differences between a problem's presets: sizes, data, budget and declared differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.harness.check.laws import LawViolation
from bench.harness.core.errors import Usage
from bench.models.problem import PRESETS, Problem

FIXED: Mapping[str, Callable[[Problem], str]] = {
    "name": lambda problem: problem.name,
    "loss": lambda problem: f"{type(problem.loss).__name__}, {problem.loss.name}",
    "metric": lambda problem: f"{problem.metric.name}, {problem.metric.direction} is better",
    "initialization": lambda problem: problem.initialization,
    "margin": lambda problem: f"{problem.margin:g}",
    "log_scale": lambda problem: str(problem.log_scale),
}
"""Facts that must be the same at every preset, unless the problem's `varies` names them."""


def compare(make: Callable[[str], Problem]) -> str:
    """Return the differences between presets; raise LawViolation for an undeclared difference.

    A preset that the problem does not have is left out, and the text says why.
    """
    made: dict[str, Problem] = {}
    without = []
    for preset in PRESETS:
        try:
            made[preset] = make(preset)
        except Usage as error:
            without.append(f"no {preset} ({str(error).rstrip('.')})")
    (first, one), *others = made.items()
    for preset, other in others:
        for fact, said in FIXED.items():
            mine, theirs = said(one), said(other)
            if mine != theirs and fact not in (*one.varies, *other.varies):
                raise LawViolation(
                    f"expected the same {fact} at the presets {first} and {preset}, or '{fact}' in "
                    f"the problem's `varies`; found {mine} and {theirs}"
                )
    rows = [_shown(problem) for problem in made.values()]
    facts = list(dict.fromkeys(fact for row in rows for fact in row))
    differing = [
        f"{fact} {' | '.join(values)}"
        for fact in facts
        if len(set(values := [row.get(fact, "–") for row in rows])) > 1
    ]
    return f"{' | '.join(made)}: {'; '.join([*(differing or ['no difference']), *without])}"


def _shown(problem: Problem) -> dict[str, str]:
    """Return every fact in which presets may differ, as text."""
    varying = {fact: said(problem) for fact, said in FIXED.items() if fact in problem.varies}
    return {
        **{name: str(value) for name, value in problem.parameters.items()},
        "parameters": f"{problem.layout.count:,}",
        "budget": f"{problem.budget:,}",
        "evaluations": f"{problem.evaluations}",
        "targets": ", ".join(f"{target:g}" for target in problem.targets),
        **varying,
    }
