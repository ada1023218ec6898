"""The time of an update beside a reference kernel: on scripted clocks, so that all is known."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from bench.harness.analysis.noise import Scatter, scatter, threshold
from bench.harness.core.errors import Infrastructure
from bench.harness.nightly import timing, timing_process
from bench.harness.nightly.suite import TimePlan
from bench.harness.nightly.timing import make_blocks, make_kernel, night_times, relative_times
from bench.harness.nightly.timing_process import measure_in_process
from bench.harness.planning.preparation import prepare
from bench.harness.training import ledger
from bench.harness.training.fleet import Fleet
from tests.harness.small import request

FAMILY = 8
"""Metrics of the suite: four times, and as many errors."""
BLOCKS = 15
METHODS = {"sgd": 1.0, "nag": 1.2, "hf": 40.0, "mine": 3.0}
"""Seconds of an update on a machine of speed 1."""


class Machine:
    """A machine on which everything takes a known time.

    Its speed is another one every night, up to a factor of 2 away; within a night it drifts, and
    each block is off by 2.5 %.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.slow = 0.0

    def takes(self, seconds: float) -> Callable[[], float]:
        def run() -> float:
            self.slow += self.rng.normal(0, 0.02)
            return seconds * math.exp(self.slow + self.rng.normal(0, 0.025))

        return run

    def night(self, **methods: float) -> dict[str, float]:
        self.slow = self.rng.uniform(-math.log(2), math.log(2))
        blocks = {label: self.takes(seconds) for label, seconds in methods.items()}
        logs = relative_times(self.takes(0.5), blocks, BLOCKS)
        return {label: float(np.median(values)) for label, values in logs.items()}

    def noise(self) -> dict[str, Scatter]:
        nights = [self.night(**METHODS) for _ in range(20)]
        return {label: scatter([night[label] for night in nights], "plain") for label in METHODS}


def found(noise: dict[str, Scatter], night: dict[str, float], first: dict[str, float]) -> set[str]:
    """Methods whose time is another than in the first night."""
    return {
        label
        for label, each in noise.items()
        if abs(night[label] - first[label]) > threshold(each.sd or 0.0, each.df, FAMILY)
    }


def test_twenty_clean_nights_raise_nothing_and_a_slower_update_is_caught() -> None:
    """On 50 machines, each with its noise: in 1,000 nights chance may raise one."""
    alarms = 0
    for seed in range(50):
        machine = Machine(seed)
        noise, first = machine.noise(), machine.night(**METHODS)
        alarms += sum(bool(found(noise, machine.night(**METHODS), first)) for _ in range(20))
        slower = machine.night(**{**METHODS, "nag": 1.15 * METHODS["nag"]})
        assert found(noise, slower, first) == {"nag"}
    assert alarms <= 1


def test_a_machine_that_is_slower_throughout_is_no_news() -> None:
    def clocked(factor: float) -> dict[str, list[float]]:
        methods = {label: lambda s=s: factor * s for label, s in METHODS.items()}
        return relative_times(lambda: 0.5 * factor, methods, 3)

    slow, fast = clocked(2.0), clocked(1.0)
    for label, seconds in METHODS.items():
        assert slow[label] == pytest.approx(fast[label])
        assert fast[label] == pytest.approx([math.log(seconds / 0.5)] * 3)


def test_a_steady_drift_cancels() -> None:
    calls = count()
    methods = {label: lambda s=s: s * 1.1 ** next(calls) for label, s in METHODS.items()}
    logs = relative_times(lambda: 0.5 * 1.1 ** next(calls), methods, 4)
    for label, seconds in METHODS.items():
        assert logs[label] == pytest.approx([math.log(seconds / 0.5)] * 4)


def test_methods_take_turns_between_kernels_and_each_begins_a_round() -> None:
    order: list[str] = []

    def named(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or 1.0  # type: ignore[func-returns-value]

    relative_times(named("k"), {name: named(name) for name in "abc"}, 4)
    assert "".join(order) == "kk" + "akbkck" + "bkckak" + "ckakbk" + "akbkck"


def test_a_night_records_the_median_over_blocks(monkeypatch) -> None:
    spoilt = iter([1.0, 9.0, 2.0, 8.0, 1.5])
    monkeypatch.setattr(timing, "make_kernel", lambda prepared: lambda: 1.0)
    monkeypatch.setattr(
        timing, "make_blocks", lambda prepared, n: {"nag": lambda: next(spoilt) * n}
    )
    assert night_times(None, TimePlan(blocks=5, updates=3)) == {"nag": math.log(2.0 * 3)}  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The clock of training, which stands still until a test moves it."""
    hand = SimpleNamespace(now=0.0)
    monkeypatch.setattr(ledger.time, "perf_counter", lambda: hand.now)
    return hand


def test_a_block_times_its_updates_and_neither_what_sets_up_nor_what_evaluates(
    monkeypatch, clock, store_url
) -> None:
    trained: list[tuple[int, int]] = []
    advance = Fleet.advance

    def slow(fleet: Fleet, due: float = math.inf) -> bool:
        made = fleet.account.updates
        trained.append((id(fleet.theta), made))
        clock.now += 100.0 if made < 2 else 3.0
        return advance(fleet, due)

    def evaluate(fleet: Fleet, observer: object) -> None:
        raise AssertionError("nothing is evaluated")

    monkeypatch.setattr(Fleet, "advance", slow)
    monkeypatch.setattr(Fleet, "_evaluate", evaluate)
    # A budget that ends before the block does.
    prepared = prepare(request(store_url, "sgd[batch=20],nag[batch=20]", budget="gradients=40"))
    blocks = make_blocks(prepared, 5)
    assert list(blocks) == ["sgd", "nag"]
    assert [blocks["nag"](), blocks["nag"](), blocks["sgd"]()] == [3.0, 3.0, 3.0]
    # Each from the start.
    assert [made for _, made in trained] == 3 * list(range(2 + 5))


def test_a_pass_of_the_kernel_is_a_fixed_share_of_its_block(monkeypatch, clock, store_url) -> None:
    prepared = prepare(request(store_url))

    class Clock(ledger.Clock):
        def stop(self) -> None:
            clock.now += 6.0
            super().stop()

    monkeypatch.setattr(timing, "Clock", Clock)
    monkeypatch.setattr(timing, "WORK", {"cpu": 6e7})
    small = make_kernel(prepared)()
    monkeypatch.setattr(timing, "WORK", {"cpu": 12e7})
    # Six layers, three products each; two calls more.
    layers = 16 * 8 + 8 * 3 + 3 * 8 + 8 * 16
    operations = 6 * timing.CASES * layers + 4 * prepared.problem.layout.size
    passes = math.ceil(12e7 / (operations + (3 * 4 + 2) * timing.CALL))
    assert make_kernel(prepared)() == pytest.approx(6.0 / passes)
    assert small == pytest.approx(12.0 / passes, rel=0.05)


def answer(monkeypatch, code: int, out: str) -> list[dict]:
    """Stand in for the other process; what it is given."""
    given: list[dict] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        given.append({"command": command, **json.loads(str(options["input"]))})
        return subprocess.CompletedProcess(command, code, stdout=out)

    monkeypatch.setattr(timing_process.subprocess, "run", run)
    return given


def test_times_are_measured_in_another_process(monkeypatch, store_url) -> None:
    asked, plan = request(store_url, "sgd[batch=20],nag[batch=20]"), TimePlan(blocks=2, updates=3)
    given = answer(monkeypatch, 0, '{"nag": 0.5}\n')
    assert measure_in_process(asked, plan) == {"nag": 0.5}
    (there,) = given
    assert there["command"][-1] == "bench.harness.nightly.timing_process"
    assert there["request"] == asdict(asked)

    # What the other process makes of it.
    monkeypatch.setattr(timing, "WORK", {"cpu": 1e6})
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(there)))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    answered = sys.stdout
    timing_process.main()
    # What a module of the user's prints is kept out.
    print("a module says hello")
    measured = json.loads(answered.getvalue())
    assert list(measured) == ["sgd", "nag"]
    assert all(math.isfinite(value) for value in measured.values())


def test_a_process_that_fails_is_told_of(monkeypatch, store_url) -> None:
    answer(monkeypatch, 3, "")
    with pytest.raises(Infrastructure, match="ended with exit code 3"):
        measure_in_process(request(store_url), TimePlan())


@pytest.mark.slow
def test_a_real_process_measures_what_this_one_does(store_url) -> None:
    asked, plan = request(store_url, "sgd[batch=20],nag[batch=20]"), TimePlan(blocks=2, updates=3)
    there, here = measure_in_process(asked, plan), night_times(prepare(asked), plan)
    assert list(there) == list(here)
    # Of one kernel and one unit; this is no place to hold seconds against each other.
    assert all(abs(there[label] - here[label]) < math.log(100) for label in here)
