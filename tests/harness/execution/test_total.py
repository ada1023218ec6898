"""The progress of all fleets: one bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.harness.execution import progress as module
from bench.harness.execution.progress import Bars, Total
from bench.harness.training.fleet import Progress


def at(fraction: float) -> Progress:
    return Progress(fraction, 10, 0.5, 1.0)


def test_every_fleet_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    total = Total()
    total.begin(1, 4)
    total.begin(2, 4)
    total.move(1, 0.5)
    assert total.fraction == 0.125
    total.end(1)
    total.move(2, 1.0)
    now[0] = 60.0
    assert total.fraction == 0.5
    assert total.text == "50% of 4 fleets trained, about 60 s left"


def test_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "say", said.append)
    bars = Bars()
    with bars.fleet("nag", 1, 2) as show:
        show(at(0.9))  # In the first seconds it says nothing.
        now[0] = 20.0
        show(at(0.95))
        show(at(0.96))
    now[0] = 40.0
    with bars.fleet("hf", 2, 2) as show:
        show(at(0.5))
    assert said == [
        "48% of 2 fleets trained, about 22 s left.",
        "75% of 2 fleets trained, about 13 s left.",
    ]


def test_a_terminal_has_a_bar_of_all_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    total = Total()
    terminal = module._Terminal(total)
    out = io.StringIO()
    terminal._rich.live.console = Console(file=out, width=120)
    total.begin(1, 2)
    with terminal.fleet("nag s0", 1, 2) as show:
        total.move(1, 0.5)
        show(at(0.5))
        names = [task.description for task in terminal._rich.tasks]
        assert names == ["[1/2] nag s0", "all fleets"]
        assert [task.completed for task in terminal._rich.tasks] == [0.5, 0.25]
        assert terminal._rich.tasks[0].fields["loss"] == "batch loss 0.5"
    assert not terminal._rich.tasks
