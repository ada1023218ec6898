"""What a problem's presets differ in: sizes, data and budget, and what the problem says varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.harness.check.laws import Broken
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
"""What is the same at every preset, unless the problem's `varies` names it."""


def compare(make: Callable[[str], Problem]) -> str:
    """Return in what the presets differ; Broken where that is more than the problem says.

    A preset that cannot be made is left out, and the text says why.
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
                raise Broken(
                    f"expected the same {fact} at {first} and {preset}, or '{fact}' in the "
                    f"problem's `varies`; found {mine} and {theirs}"
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
    """Return every fact that presets may differ in, in words."""
    varying = {fact: said(problem) for fact, said in FIXED.items() if fact in problem.varies}
    return {
        **{name: str(value) for name, value in problem.parameters.items()},
        "parameters": f"{problem.layout.count:,}",
        "budget": f"{problem.budget:,}",
        "evaluations": f"{problem.evaluations}",
        "targets": ", ".join(f"{target:g}" for target in problem.targets),
        **varying,
    }
