"""Whole nights on a problem that takes moments: clean ones, and ones with a fault put in."""

from __future__ import annotations

import math
import random
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from bench.harness.analysis.noise import Noise, threshold
from bench.harness.core import context
from bench.harness.nightly import night as module
from bench.harness.nightly.baseline import accept
from bench.harness.nightly.suite import DigestPlan, Part, StorageOptions, Suite, TimePlan
from bench.harness.nightly.timing import relative_times
from bench.harness.planning.preparation import prepare
from bench.harness.store.owner import process_name
from bench.harness.store.results import Store
from bench.optim.hyperparameters import UsageError
from bench.optim.text import split
from tests.harness.seeded import FAULTS
from tests.harness.small import BUDGET, PROBLEM

pytestmark = pytest.mark.usefixtures("no_pictures")

METHODS = "sgd[batch=20],cm[batch=20],nag[batch=20],hf[lam=1,chunks=2,cg_max=20]"
SUITE = Suite(
    "small",
    (Part(PROBLEM, METHODS, budget=BUDGET),),
    seeds=2,
    digest=DigestPlan(8),
    time=TimePlan(blocks=1, updates=1),
)
ONE = replace(SUITE, parts=(Part(PROBLEM, "nag[batch=20]", budget=BUDGET),))


@pytest.fixture
def place(store_url):
    return StorageOptions(store_url, no_mlflow=True)


@pytest.fixture
def steady(monkeypatch):
    """Every update takes as long as the kernel."""
    monkeypatch.setattr(
        module,
        "measure_in_process",
        lambda request, plan: {method.name: 0.0 for method in prepare(request).methods},
    )


def put_noise(place, night, sd=0.01):
    """Put on record that every metric of a night scatters by so much."""
    metrics = [
        Noise(
            kind=m.kind,
            protocol_key=m.protocol_key,
            problem=m.problem,
            method=m.method,
            metric=m.metric,
            context_digest=m.context_digest,
            scale=m.scale,
            sd=sd,
            df=19,
            n=20,
            seeds=2,
            false_alarms=None,
            reason="",
        ).as_dict()
        for m in night.metrics
        if m.kind != "digest"
    ]
    with Store.open(place.store) as store:
        store.save_noise(night.suite, {"metrics": metrics})


def accept_night(place, night):
    ids = dict.fromkeys(m.comparison_id for m in night.metrics if m.comparison_id)
    with Store.open(place.store) as store:
        accept(store, list(ids), night.baseline, None)


def begun(place, suite=SUITE, sd=0.01):
    """Run a first night, and accept it."""
    night = module.run(suite, place)
    put_noise(place, night, sd)
    accept_night(place, night)
    return night


def states(night, kind):
    return {m.method: m.state for m in night.metrics if m.kind == kind}


@pytest.mark.usefixtures("steady")
def test_the_first_night_can_only_be_accepted(place):
    night = module.run(SUITE, place)
    assert (night.status, module.exit_code(night)) == ("failed", 4)
    assert set(states(night, "digest").values()) == {"new"}
    assert set(states(night, "quality").values()) == {"not judged"}
    assert list(states(night, "time")) == ["sgd", "cm", "nag", "hf"]


@pytest.mark.usefixtures("steady")
def test_a_night_in_which_nothing_has_changed_is_clean(place):
    first = begun(place)
    night = module.run(SUITE, place)
    assert (night.status, module.exit_code(night), night.reason) == ("clean", 0, None)
    assert {m.state for m in night.metrics} == {"same"} and len(night.metrics) == 12
    assert night.suite_digest == SUITE.key and night.uuid != first.uuid
    for metric in night.metrics:
        assert metric.kind == "digest" or metric.value == metric.reference
    with Store.open(place.store) as store:
        (ran,) = {m.comparison_id for m in night.metrics if m.kind == "quality"}
        # Nothing is taken over from the night before.
        assert store.comparison(ran).reused == frozenset()


@pytest.mark.slow
@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("what", FAULTS)
def test_a_seeded_fault_is_found_and_told_until_it_is_accepted(what, place, monkeypatch):
    method, put_in = FAULTS[what]
    text = next(each for each in split(METHODS) if each.startswith(method))
    suite = replace(SUITE, parts=(replace(SUITE.parts[0], optimizers=text),))
    begun(place, suite)
    put_in(monkeypatch)
    night = module.run(suite, place)
    assert (night.status, module.exit_code(night)) == ("changed", 1)
    assert states(night, "digest") == {method: "changed"}
    accept_night(place, night)
    assert module.run(suite, place).status == "clean"


@pytest.mark.usefixtures("steady")
def test_a_fault_shows_in_the_errors_alone(place, monkeypatch):
    """In a context that is new there is no digest to hold against."""
    begun(place, sd=1e-4)
    monkeypatch.setattr(module, "digests", lambda request, updates: [])
    FAULTS["NAG without look-ahead"][1](monkeypatch)
    night = module.run(SUITE, place)
    found = states(night, "quality")
    assert night.status == "changed" and found.pop("nag") in ("worse", "better")
    assert set(found.values()) == {"same"}


@pytest.mark.usefixtures("steady")
def test_a_gain_that_nobody_has_explained_is_a_finding_as_well(place, monkeypatch):
    begun(place, ONE)
    right = module.final_values

    def halved(row):
        of = right(row)
        return replace(of, values={seed: value / 2 for seed, value in of.values.items()})

    measured = module._qualities

    def better(part):
        with monkeypatch.context() as patch:
            patch.setattr(module, "final_values", halved)
            return measured(part)

    monkeypatch.setattr(module, "_qualities", better)
    night = module.run(ONE, place)
    assert states(night, "quality") == {"nag": "better"} and module.exit_code(night) == 1


@pytest.mark.usefixtures("steady")
def test_a_part_that_fails_is_told_and_the_others_are_judged(place):
    failing = Part(PROBLEM, "tests.harness.plugins:Failing", budget="updates=30")
    suite = replace(SUITE, parts=(failing, *ONE.parts))
    begun(place, ONE)
    night = module.run(replace(suite, name=ONE.name), place)
    assert (night.status, module.exit_code(night)) == ("failed", 4)
    assert "a comparison: ZeroDivisionError: at ten" in night.reason
    assert states(night, "quality")["nag"] == "same"


@pytest.mark.usefixtures("steady")
def test_a_finding_says_more_than_a_failure(place, monkeypatch):
    begun(place, ONE)
    FAULTS["NAG without look-ahead"][1](monkeypatch)
    monkeypatch.setattr(module, "_times", lambda suite, part: 1 / 0)
    night = module.run(ONE, place)
    assert (night.status, module.exit_code(night)) == ("changed", 1)
    assert "the time of an update: ZeroDivisionError" in night.reason


@pytest.mark.usefixtures("steady")
def test_an_interrupted_night_is_on_record_with_what_it_found(place, monkeypatch):
    begun(place, ONE)

    def interrupted(part):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_qualities", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module.run(ONE, place)
    with Store.open(place.store) as store:
        night = store.nights()[0]
    assert (night.status, night.reason) == ("failed", "The night was interrupted.")
    assert states(night, "digest") == {"nag": "same"} and module.final_values is not None


@pytest.mark.usefixtures("steady")
def test_a_method_that_is_left_out_is_told(place):
    begun(place)
    fewer = replace(SUITE, parts=(replace(SUITE.parts[0], optimizers="nag[batch=20]"),))
    night = module.run(fewer, place)
    assert states(night, "quality") == {
        "nag": "same",
        **dict.fromkeys(("sgd", "cm", "hf"), "not judged"),
    }
    assert module.exit_code(night) == 4


@pytest.mark.usefixtures("steady")
def test_without_noise_an_error_that_differs_is_not_judged(place, monkeypatch):
    accept_night(place, module.run(ONE, place))
    assert module.run(ONE, place).status == "clean"
    monkeypatch.setattr(module, "digests", lambda request, updates: [])
    FAULTS["NAG without look-ahead"][1](monkeypatch)
    night = module.run(ONE, place)
    assert states(night, "quality") == {"nag": "not judged"} and module.exit_code(night) == 4


@pytest.mark.usefixtures("steady")
def test_a_change_is_found_under_another_kernel_and_another_version(place, monkeypatch):
    begun(place, ONE)
    monkeypatch.setattr("bench.harness.core.context.platform.release", lambda: "99.1")
    version = context._version
    monkeypatch.setattr(
        context, "_version", lambda name: "9.9" if name == "bench-harness" else version(name)
    )
    assert {m.state for m in module.run(ONE, place).metrics} == {"same"}
    FAULTS["NAG without look-ahead"][1](monkeypatch)
    assert states(module.run(ONE, place), "digest") == {"nag": "changed"}


@pytest.mark.usefixtures("steady")
def test_nights_whose_process_is_gone_are_ended_and_others_told_of(place, capsys):
    with Store.open(place.store) as store:
        child = subprocess.Popen(["true"])
        child.wait()
        owners = {"process": process_name(child.pid)}, {"process": "elsewhere:1"}
        dead, alive = (store.begin_night("small", "5" * 64, "main", None, of) for of in owners)
    module.run(ONE, place)
    with Store.open(place.store) as store:
        found = {night.uuid: night for night in store.nights()}
    assert (found[dead].status, found[dead].ended) == ("failed", found[dead].created)
    assert found[alive].status == "running"
    told = capsys.readouterr().err
    assert f"Night {alive[:8]} of small" in told and dead[:8] not in told


def test_a_suite_that_cannot_be_run_is_refused_before_anything_is_recorded(place):
    with pytest.raises(UsageError, match="nagg"):
        module.run(replace(ONE, parts=(Part(PROBLEM, "nagg"),)), place)
    with Store.open(place.store) as store:
        assert store.nights() == []


class Machine:
    """A machine with seconds that are made up: they drift, jitter, and have bursts."""

    def __init__(self, seed):
        self._random, self.update, self._speed = random.Random(seed), 3.0, 1.0

    def tonight(self):
        """Be another machine of the same kind, up to twice as slow."""
        self._speed = self._random.uniform(1, 2)

    def times(self, request, plan):
        blocks = {"nag": lambda: self.seconds(self.update)}
        logs = relative_times(lambda: self.seconds(1.0), blocks, plan.blocks)
        return {label: float(np.median(values)) for label, values in logs.items()}

    def seconds(self, work):
        self._speed *= math.exp(self._random.gauss(0, 0.01))
        burst = 1.5 if self._random.random() < 0.05 else 1.0
        return work * self._speed * burst * math.exp(self._random.gauss(0, 0.02))


@pytest.fixture
def machine(monkeypatch):
    made = Machine(7)
    monkeypatch.setattr(module, "measure_in_process", made.times)
    return made


@pytest.mark.slow
def test_twenty_clean_nights_and_then_an_update_that_is_slower_by_15_percent(place, machine):
    suite = replace(ONE, seeds=1, time=TimePlan(blocks=9, updates=1))
    night = module.run(suite, place)
    accept_night(place, night)
    times = []
    for _ in range(20):
        machine.tonight()
        times.append(machine.times(None, suite.time)["nag"])
    sd = float(np.std(times, ddof=1))
    put_noise(place, night, sd)
    assert threshold(sd, 19, 2) < 0.15
    for _ in range(20):
        machine.tonight()
        assert module.run(suite, place).status == "clean"
    machine.update *= 1.15
    machine.tonight()
    night = module.run(suite, place)
    assert states(night, "time") == {"nag": "worse"} and module.exit_code(night) == 1
    assert {*states(night, "quality").values(), *states(night, "digest").values()} == {"same"}
    machine.update /= 1.15**2
    night = module.run(suite, place)
    assert states(night, "time") == {"nag": "better"} and module.exit_code(night) == 1


def test_a_burst_of_other_work_is_no_finding(place, monkeypatch):
    logs = [1.0]
    monkeypatch.setattr(module, "measure_in_process", lambda request, plan: {"nag": logs.pop(0)})
    begun(place, ONE)
    logs += [2.0, 1.01]
    night = module.run(ONE, place)
    assert states(night, "time") == {"nag": "same"} and logs == []
    logs += [2.0, 2.1]
    assert states(module.run(ONE, place), "time") == {"nag": "worse"}
    logs += [1.0]
    assert states(module.run(ONE, place), "time") == {"nag": "same"}
