"""What of a comparison depends on where the budget ends, and what may not be compared for that.

Under a learning rate that falls until the end of the budget, or in a final phase of low momentum,
an update depends on where the budget ends. A target that is reached in such an update would have
been reached elsewhere under another budget: its time is that of a schedule. So it is compared only
with times of the same end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.analysis.targets import Course, first_reaching
from bench.harness.analysis.verdict import Direction

Courses = Mapping[str, Sequence[Course]]
"""Method → its trials that have an outcome."""


@dataclass(frozen=True)
class Dependence:
    """How the trials of a method depend on where their budget ends."""

    method: str
    anytime_updates: int
    """The updates before that; the least of all trials."""
    updates: int
    """The updates of the whole run; the most of all trials."""

    @property
    def words(self) -> str:
        """Say which updates depend on it: "its last 35 of 300 updates"."""
        if self.anytime_updates == 0:
            return "every update"
        last = self.updates - self.anytime_updates
        if last <= 0:
            return f"every update after update {self.anytime_updates:,}"
        return f"its last {last:,} of {self.updates:,} updates"


def dependences(courses: Courses) -> list[Dependence]:
    """Return the methods whose updates depend on where the budget ends; the others are anytime."""
    found = []
    for method, mine in courses.items():
        free = [course.end.anytime_updates for course in mine if course.end is not None]
        if free:
            found.append(Dependence(method, min(free), max(c.spent.updates for c in mine)))
    return found


def statement(courses: Courses) -> dict[str, Any]:
    """Return as plain values whether the methods are anytime, or which depend on the end."""
    found = dependences(courses)
    if not found:
        sentence = "All methods are anytime: no update depends on where the budget ends."
    else:
        each = "; ".join(f"{one.method}: {one.words}" for one in found)
        sentence = (
            f"Some updates depend on where the budget ends ({each}). So the results hold for runs "
            "that end there."
        )
    return {
        "kind": "end-of-budget" if found else "anytime",
        "methods": [
            {"method": one.method, "anytime_updates": one.anytime_updates, "updates": one.updates}
            for one in found
        ],
        "sentence": sentence,
    }


def others_with_another_end(method: str, courses: Courses) -> list[str]:
    """Return the methods whose trials depend on another end than this one's do, or on none."""
    ends = {
        name: {None if course.end is None else course.end.budget for course in of_one}
        for name, of_one in courses.items()
    }
    mine = ends.pop(method)
    if mine <= {None}:
        return []
    return [other for other, theirs in ends.items() if theirs and (len(mine) > 1 or theirs != mine)]


def reaches_late(course: Course, target: float, direction: Direction) -> bool:
    """Return whether a trial reached a target in an update that depends on its end."""
    if course.end is None:
        return False
    reached = first_reaching(course.measurements, target, direction)
    return reached is not None and reached.updates > course.end.anytime_updates


def refused(courses: Courses, target: float, direction: Direction) -> dict[str, list[str]]:
    """Return the methods whose time to a target is not shown, with those it would be held against.

    That is a method of which a trial reached the target in an update that depends on the end of
    the budget, where others depend on another end, or on none.
    """
    found = {}
    for method, mine in courses.items():
        others = others_with_another_end(method, courses)
        if others and any(reaches_late(course, target, direction) for course in mine):
            found[method] = others
    return found


def without_the_end(courses: Courses) -> Courses:
    """Return the courses as far as they may be compared with all the others.

    A course that depends on its end stops where that begins, if a method has another end; one that
    depends on it from the first update is left out.
    """
    found = {}
    for method, mine in courses.items():
        if others_with_another_end(method, courses):
            mine = [cut for course in mine if (cut := course.before_the_end()) is not None]
        found[method] = mine
    return found


def refusals(
    courses: Courses,
    late: Mapping[float, Mapping[str, Sequence[str]]],
    direction: Direction,
    profiled: bool,
) -> list[str]:
    """Return a sentence for each method whose times or profile are not shown, or not to their end.

    `late` has what is `refused` by target; `profiled` says whether any profile is shown.
    """
    found, sign = [], "≤" if direction == "lower" else "≥"
    for one in dependences(courses):
        others = others_with_another_end(one.method, courses)
        if not others:
            continue
        targets = [f"{sign} {target:g}" for target, by in late.items() if one.method in by]
        against = _against(others, courses)
        if targets:
            found.append(
                f"The time of {one.method} to {' and '.join(targets)} is not shown: it was reached "
                f"in updates that depend on where the budget ends, and {against}. Under a longer "
                "budget it would have been reached at another time. Compare the results at the end."
            )
        if not profiled:
            continue
        if one.anytime_updates:
            found.append(
                f"The profile of {one.method} ends at update {one.anytime_updates:,}: later "
                "updates depend on where the budget ends."
            )
        else:
            found.append(
                f"{one.method} has no profile: every update depends on where the budget ends."
            )
    return found


def _against(others: Sequence[str], courses: Courses) -> str:
    """Say which of the other methods are anytime, and which have another end."""
    anytime = [one for one in others if all(course.end is None for course in courses[one])]
    late = [one for one in others if one not in anytime]
    said = []
    if anytime:
        said.append(
            f"{' and '.join(anytime)} {'do' if len(anytime) > 1 else 'does'} not depend on it"
        )
    if late:
        said.append(f"{' and '.join(late)} {'have' if len(late) > 1 else 'has'} another end")
    return ", and ".join(said)
