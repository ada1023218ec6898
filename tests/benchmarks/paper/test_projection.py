"""A projection is arithmetic on measured updates, and is called one."""

from __future__ import annotations

from benchmarks.paper.projection import Projected, Projection, Task, section


def task(name: str, seconds: float) -> Task:
    spread = {"median": seconds, "low_quartile": seconds, "high_quartile": seconds, "n": 6}
    return Task(name, 54, 750_000, spread)


def test_minutes_are_updates_times_seconds_and_add_up() -> None:
    tasks = [task("curves/paper", 0.001), task("mnist/paper", 0.004), task("faces/paper", 0.008)]
    made = Projection(
        "Projected", (), ("Not run.",), (), [Projected("all of it", 100.0, tasks),
                                             Projected("half of it", 30.0, tasks[:2])],
    )  # fmt: skip
    text = section(made.as_json("again", 0.5))
    assert "| curves/paper | 54 | 1 ms | 1 – 1 | 6 | 54,000 | 750,000 | 12.5 min |  |" in text
    # 12.5 + 50 + 100 minutes.
    assert "| **all of it** | | | | | | | **162 min** | ≤ 100 min: no |" in text
    assert "| **half of it** | | | | | | | **62.5 min** | ≤ 30 min: no |" in text
    assert "* Not run." in text and "Again: `again`" in text
