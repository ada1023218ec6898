"""Interleaving and pairing; what time it is does not matter here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import ratios
from benchmarks.figures import figure, rates
from benchmarks.ratios import Timed, interleaved, spread


def test_candidates_take_turns_in_an_order_that_turns_round() -> None:
    calls: list[str] = []
    candidates = {
        "a": Timed(lambda: calls.append("a")),
        "b": Timed(lambda: calls.append("b"), repeat=2),
    }
    seconds = interleaved(candidates, 2)
    # The first round is the warm-up.
    assert "".join(calls) == "abb" + "bba" + "abb"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_seconds_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[int] = iter(range(0, 1000, 6))
    monkeypatch.setattr(ratios.time, "perf_counter", lambda: float(next(ticks)))
    assert interleaved({"a": Timed(lambda: None, repeat=3)}, 2) == {"a": [2.0, 2.0]}


def test_what_a_call_makes_is_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[int] = iter(range(0, 1000, 6))
    monkeypatch.setattr(ratios.time, "perf_counter", lambda: float(next(ticks)))
    assert interleaved({"a": Timed(lambda: None, repeat=3, makes=2)}, 1) == {"a": [1.0]}


def test_what_comes_before_each_call_is_off_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], list[str]()

    def pass_time(name: str, seconds: float) -> None:
        calls.append(name)
        now[0] += seconds

    monkeypatch.setattr(ratios.time, "perf_counter", lambda: now[0])
    timed = Timed(lambda: pass_time("call", 2.0), 2, before=lambda: pass_time("before", 50.0))
    assert interleaved({"a": timed}, 1) == {"a": [2.0]}
    assert calls == ["before", "call"] * 4


def test_no_round_begins_after_the_limit_once_there_are_a_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ratios, "LIMIT", 0.0)
    assert len(interleaved({"a": Timed(lambda: None)}, 50)["a"]) == ratios.LEAST


def test_a_ratio_is_taken_within_a_round_and_not_of_the_medians() -> None:
    # The machine is ten times slower in one round, for both.
    found = figure("c", ("a", [1.0, 10.0, 1.0]), ("b", [2.0, 20.0, 4.0]))
    assert found.ratio["median"] == 0.5
    assert (found.seconds, found.against_seconds) == (1.0, 4.0)


def test_a_ratio_of_rates_is_one_of_work_in_a_second() -> None:
    found = rates("c", ("a", [1.0, 2.0, 4.0], 8.0), ("b", [1.0, 1.0, 1.0], 2.0), "GB/s", goal=2.0)
    assert (found.ratio["min"], found.ratio["median"], found.ratio["max"]) == (1.0, 2.0, 4.0)
    assert (found.rate, found.against_rate, found.unit) == (4.0, 2.0, "GB/s")
    assert (found.seconds, found.against_seconds, found.goal) == (2.0, 1.0, 2.0)


def test_spread_of_a_single_value_is_that_value() -> None:
    assert spread([7.0]) == {
        "median": 7.0, "low_quartile": 7.0, "high_quartile": 7.0, "min": 7.0, "max": 7.0, "n": 1,
    }  # fmt: skip
