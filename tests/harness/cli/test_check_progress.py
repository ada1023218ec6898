"""What `bench check` says while it works, what a check may cost, and what an interrupt leaves."""

from __future__ import annotations

from typing import Any

import pytest

from bench.harness.check import laws
from bench.harness.check.derivatives import MAX_DIRECTIONS, directions, shared_directions
from bench.harness.check.laws import CheckInterrupted, check_laws
from bench.harness.check.small_problems import CASES, Network


def interrupt() -> str:
    raise KeyboardInterrupt


def test_each_law_is_named_before_it_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(laws, "say", said.append)
    check_laws({"one": lambda: "", "two": lambda: ""})
    assert said == ["[1/2] one", "[2/2] two"]


def test_an_interrupt_keeps_what_was_found() -> None:
    with pytest.raises(CheckInterrupted) as stopped:
        check_laws({"one": lambda: "1", "two": interrupt, "three": lambda: ""})
    assert [finding.law for finding in stopped.value.findings] == ["one"]
    assert stopped.value.total == 3


def test_the_command_shows_what_was_found(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"one": lambda: "figure of one", "two": interrupt}
    monkeypatch.setattr("bench.harness.check.method_laws.MethodLaws.laws", lambda laws: made)
    said = bench("check", "nag")
    assert said.code == 130
    assert "figure of one" in said.out
    assert "1 of 2 laws were checked before the interrupt" in said.err


def test_a_batch_is_no_larger_than_the_small_problems(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        "bench.harness.check.method_laws.MethodLaws.laws",
        lambda laws: made.append(laws.make().hyperparameters["batch"]) or {},
    )
    assert bench("check", "nag[batch=1000000]").code == 0
    assert made == [CASES]


def test_directions_cover_every_parameter_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Network()
    assert MAX_DIRECTIONS >= len(shared_directions(problem, 2)) == 4
    monkeypatch.setattr("bench.harness.check.derivatives.MAX_DIRECTIONS", 2)
    shared = shared_directions(problem, 2)
    assert [name for name, _ in shared] == ["W1 to b1", "W2 to b2"]
    assert (sum(v for _, v in shared) - sum(v for _, v in directions(problem, 2))).abs().max() == 0
