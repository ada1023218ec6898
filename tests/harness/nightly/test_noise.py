"""What `bench noise` measures, and in which order; times are scripted, comparisons are run."""

from __future__ import annotations

from typing import Any

import pytest

from bench.harness.analysis.noise import Noise, threshold
from bench.harness.core.context import stable_context
from bench.harness.core.errors import Infrastructure
from bench.harness.core.spec import key_of
from bench.harness.nightly import noise as module
from bench.harness.nightly.noise import measure_noise
from bench.harness.nightly.suite import NoisePlan, Part, StorageOptions, Suite, TimePlan
from bench.harness.nightly.timing import time_metric_name
from bench.harness.planning.preparation import prepare
from bench.harness.planning.request import Request
from bench.harness.store.results import Store
from tests.harness.small import PROBLEM


def suite(*budgets: str, seeds: int = 4, times: int = 4) -> Suite:
    parts = tuple(Part(PROBLEM, "sgd[batch=20],nag[batch=20]", budget=b) for b in budgets)
    return Suite("tiny", parts, seeds=2, noise=NoisePlan(seeds, times))


class Script:
    """Times that are 0, 0.01, 0.02, … for sgd and ten times that for nag; notes what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def times(self, request: Request, plan: TimePlan) -> dict[str, float]:
        n = self.events.count("time")
        self.events.append("time")
        return {"sgd": 0.01 * n, "nag": 0.1 * n}

    def compared(self, request: Request) -> dict[str, Any]:
        """Stand in for a comparison in which nag's third trial diverged."""
        self.events.append(request.budget or "")
        assert request.fresh and request.seeds == 4
        sgd = [{"train": value, "status": "budget"} for value in (1.0, 2.0, 4.0, 8.0)]
        nag = [*sgd[:2], {"train": None, "status": "diverged"}, sgd[3]]
        rows = [{"method": "sgd", "trials": sgd}, {"method": "nag", "trials": nag}]
        return {"comparison": f"c{len(self.events)}", "scale": "log", "methods": rows}


@pytest.fixture
def script(monkeypatch) -> Script:
    made = Script()
    monkeypatch.setattr(module, "compare", made.compared)
    return made


def test_times_are_measured_before_between_and_after_comparisons(script, store_url) -> None:
    body = measure_noise(
        suite("updates=2", "updates=3", times=7), StorageOptions(store_url), measure=script.times
    )
    told = [{"time": "t"}.get(event, event) for event in script.events]
    # Once for each of the two.
    assert told == [*"tttttt", "updates=2", *"tttt", "updates=3", *"tttt"]
    assert body["comparisons"] == ["c7", "c12"]
    assert body["family"] == len(body["metrics"]) == 8


def test_the_scatter_of_every_metric_is_recorded_for_nights(script, store_url) -> None:
    asked = suite("updates=2")
    body = measure_noise(asked, StorageOptions(store_url), measure=script.times)
    with Store.open(store_url) as store:
        (record,) = store.noises("tiny")
    assert record.body == body
    assert body["suite"] == asked.key
    found = {(n.kind, n.method): n for n in map(Noise.from_dict, record.body["metrics"])}
    prepared = prepare(asked.request(asked.parts[0], StorageOptions(store_url)))
    for each in found.values():
        assert each.protocol_key == prepared.protocol.key
        assert each.context_digest == key_of(stable_context(prepared.machine.context(1)))
        assert (each.problem, each.scale) == ("small / quick, updates=2", "log")
    time = found["time", "nag"]
    # 0, 0.1, 0.2 and 0.3 are one measurement a night.
    assert (time.metric, time.df, time.n) == (time_metric_name(asked.time), 3, 4)
    assert time.sd == pytest.approx(0.12909944)
    assert found["time", "sgd"].sd == pytest.approx(0.012909944)
    quality = found["quality", "sgd"]
    # Of the logarithms of 1, 2, 4 and 8, as the mean of two seeds.
    assert (quality.metric, quality.df) == ("train_squared_error", 3)
    assert quality.sd == pytest.approx(0.69314718 * 1.2909944 / 2**0.5)
    assert found["quality", "nag"].sd is None
    assert "1 of 4 trials have no final value" in found["quality", "nag"].reason
    assert body["false_alarm_rate"]["at"] == 0.05
    assert body["false_alarm_rate"]["time"] == pytest.approx(
        (time.false_alarms + found["time", "sgd"].false_alarms) / 2
    )
    assert body["false_alarm_rate"]["quality"] is None


def test_comparisons_are_run_on_seeds_of_their_own_number(store_url, no_pictures) -> None:
    asked, place = suite("updates=3", seeds=3, times=3), StorageOptions(store_url, no_mlflow=True)
    bodies = [measure_noise(asked, place, measure=Script().times) for _ in range(2)]
    with Store.open(store_url) as store:
        for body in bodies:
            comparison = store.comparison(body["comparisons"][0])
            assert [row["n"] for row in comparison.summary["methods"]] == [3, 3]
            assert not comparison.reused
    first, second = ([Noise.from_dict(m) for m in body["metrics"]] for body in bodies)
    assert [each.sd for each in first] == [each.sd for each in second]
    quality = first[0]
    assert quality.kind == "quality" and quality.sd is not None
    assert 0 < threshold(quality.sd, quality.df, bodies[0]["family"])


def test_a_store_that_cannot_be_used_is_told_of_before_anything_is_measured(script, tmp_path):
    (tmp_path / "file").write_text("")
    place = StorageOptions(f"sqlite:///{tmp_path}/file/bench.db")
    with pytest.raises(Infrastructure):
        measure_noise(suite("updates=2"), place, measure=script.times)
    assert script.events == []
