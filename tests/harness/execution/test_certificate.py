"""What a trial was made from: the same for whoever starts alike, another where that is other."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.harness.comparison.compare import compare, run_one
from bench.harness.core.records import Certificate, TrialRecord
from bench.harness.core.seeds import generator, seed_plan
from bench.harness.execution.certificate import theta_digest
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.planning import placement
from bench.harness.planning.commands import trial_command
from bench.harness.planning.fleets import label_methods, make_trials
from bench.harness.planning.plan import method_source, problem_source
from bench.harness.planning.preparation import prepare
from bench.harness.planning.problems import resolve
from bench.harness.store.results import Store
from bench.harness.training import machine
from bench.harness.training.case_order import CaseOrder
from bench.harness.training.case_stream import BLOCK, CaseStream
from bench.harness.training.method_stream import with_random_stream
from bench.models.layout import Layout
from bench.optim.objective import Method
from tests.harness.execution.test_resumed_fleet import stopped
from tests.harness.execution.test_run import OWN, Runs
from tests.harness.execution.test_trainer import go, prepared
from tests.harness.small import QUICK_HF, make, request

pytestmark = pytest.mark.usefixtures("no_pictures")

THREE = "nag[batch=20],cm[batch=20],sgd[batch=20,lr=0.05]"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


def start(seed: int, dtype: str = "<f4", problem: Any = None) -> str:
    """The digest of the initial parameters by hand: names, shapes, type, and values in order."""
    problem = problem or make("quick")
    theta = problem.initialize(generator(seed, "initialization")).numpy()
    found, at = hashlib.sha256(), 0
    name = {"<f4": "float32", "<f8": "float64"}[dtype]
    for parameter, shape in problem.layout.shapes.items():
        found.update(json.dumps([parameter, list(shape), name]).encode())
        found.update(theta[at : at + math.prod(shape)].astype(dtype).tobytes())
        at += -(-math.prod(shape) // 16) * 16
    return found.hexdigest()


def made(trial: TrialRecord) -> Certificate:
    assert trial.certificate is not None
    return trial.certificate


def starts(store: Store) -> dict[int, set[str]]:
    """The digests of the initial parameters under each seed."""
    found: dict[int, set[str]] = {}
    for trial in store.trials():
        found.setdefault(trial.seed, set()).add(made(trial).theta)
    return found


def test_padding_is_no_part_of_the_start_and_all_else_is() -> None:
    layout = Layout({"W": (3, 2), "b": (2,)})
    theta = torch.arange(float(layout.size))
    first = theta_digest(layout, theta)
    poisoned = theta.clone()
    poisoned[6:16] = poisoned[18:] = math.nan
    assert theta_digest(layout, poisoned) == first
    # A row of a fleet, and one that autograd watches, is the row alone.
    assert theta_digest(layout, torch.stack([-theta, theta]).requires_grad_()[1]) == first
    others = [theta.double(), theta.index_fill(0, torch.tensor(17), -1.0)]
    found = {theta_digest(layout, other) for other in others}
    for weights, bias in (({"W": (2, 3)}, (2,)), ({"V": (3, 2)}, (2,)), ({"W": (3, 2)}, (1, 2))):
        found.add(theta_digest(Layout({**weights, "b": bias}), theta))
    assert len(found - {first}) == 5
    # The sign of zero is part of a number.
    assert theta_digest(layout, 0 * theta) != theta_digest(layout, -0.0 * theta)


def test_methods_under_a_seed_start_alike_alone_and_in_a_fleet(
    store: Store, store_url: str
) -> None:
    compare(request(store_url, f"{THREE},{QUICK_HF}", budget="updates=3"))
    rows = [trial.fleet_rows for trial in store.trials()]
    assert sorted(rows) == [1, 1] + [6] * 6
    assert starts(store) == {seed: {start(seed)} for seed in (0, 1)}
    assert start(0) != start(1)
    compare(request(store_url, THREE, timed=True, budget="updates=3"))
    assert {trial.fleet_rows for trial in store.trials()[8:]} == {1}
    assert starts(store) == {seed: {start(seed)} for seed in (0, 1)}


def test_another_precision_is_another_start(store: Store, store_url: str) -> None:
    run_one(request(store_url, budget="updates=3", precision="fp64"), 3)
    assert starts(store) == {3: {start(3, "<f8")}}


def test_another_initialisation_is_another_start(store: Store, store_url: str) -> None:
    names = ["curves", "curves[init=he]", "curves[scale=0.5]"]
    for name in names:
        asked = request(store_url, "sgd[batch=10]", problem=name, budget="updates=1")
        run_one(asked, 0)
    (found,) = starts(store).values()
    assert found == {start(0, problem=resolve(name, "quick")) for name in names}
    assert len(found) == 3


@pytest.mark.slow
def test_processes_of_their_own_certify_the_same(
    store: Store, store_url: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.harness.planning.preparation.os.cpu_count", lambda: 2)
    monkeypatch.setattr(placement, "MIN_SECONDS_FOR_PROCESSES", 0.0)
    both = f"nag[batch=20],{OWN}Watcher"
    compare(request(store_url, both, threads=2))
    spread = {(trial.method, trial.seed): trial for trial in store.trials()}
    contexts = [store.context_of(trial.context_digest) for trial in spread.values()]
    assert [(each["threads"], each["fleets_beside"]) for each in contexts] == [(1, 1)] * 4
    compare(request(store_url, both, threads=1, fresh=True))
    assert starts(store) == {seed: {start(seed)} for seed in (0, 1)}
    for here in store.trials()[4:]:
        there = made(spread[here.method, here.seed])
        # Threads are part of the command, and of nothing else.
        told = there.command.replace("--threads 2", "--threads 1")
        assert replace(there, command=told) == made(here)


@pytest.mark.slow
def test_ranks_certify_what_one_process_does(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    asked = request(store_url, "nag[batch=20]", budget="updates=3", threads=None)
    compare(replace(asked, nproc_per_node=2, mode="data"))
    alone = f"sqlite:///{tmp_path / 'alone.db'}"
    compare(replace(asked, store=alone))
    with Store.open(store_url) as store, Store.open(alone) as other:
        trials = store.trials()
        contexts = [store.context_of(trial.context_digest) for trial in trials]
        assert [each["world_size"] for each in contexts] == [2, 2]
        # Over how many ranks an update is spread changes its bits, so the command says it.
        assert [made(trial) for trial in trials] == [
            replace(of, command=f"{of.command} --nproc-per-node 2 --mode data")
            for of in map(made, other.trials())
        ]


def test_a_trial_gone_on_with_keeps_its_certificate_and_an_attempt_has_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(store)
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    first = stopped(run, planned)
    assert made(first).theta == start(0)
    asked: list[Any] = []
    monkeypatch.setattr(LeasedFleet, "_certificate", lambda *given: asked.append(given))
    (ended,) = go(run, planned)
    assert (ended.id, ended.status, asked) == (first.id, "budget", [])
    assert made(ended) == made(first)
    monkeypatch.undo()

    run, planned = prepared(runs, "cm[batch=20]", seeds=1)
    before = stopped(run, planned)
    here = machine.context
    monkeypatch.setattr(machine, "context", lambda *given: {**here(*given), "device": "other"})
    again = replace(run, command_of=lambda trial: "bench run, once more")
    (second,) = go(again, planned)
    assert (second.attempt, second.id != before.id) == (2, True)
    assert made(second) == replace(made(before), command="bench run, once more")


METHOD = """
from tests.harness.plugins import Watcher


class Mine(Watcher):
    name = "mine"
"""


def test_sources_of_method_and_problem_change_each_on_its_own(
    store_url: str, workdir: Path
) -> None:
    method, problem = workdir / "mine.py", workdir / "own.py"
    method.write_text(METHOD)
    problem.write_text(
        "from tests.harness.small import make as small\n\nmake = lambda p: small(p)\n"
    )

    def sources() -> tuple[str, str, str]:
        asked = request(store_url, "./mine.py:Mine", problem="./own.py:make", budget="updates=2")
        run_one(asked, 0)
        with Store.open(store_url) as store:
            trial = store.trials()[-1]
        return made(trial).method_source, made(trial).problem_source, trial.source_digest

    first = sources()
    method.write_text(METHOD + "# edited\n")
    second = sources()
    assert [a == b for a, b in zip(first, second, strict=True)] == [False, True, False]
    problem.write_text(problem.read_text() + "# edited\n")
    third = sources()
    assert [a == b for a, b in zip(second, third, strict=True)] == [True, False, False]
    method.write_text(METHOD)
    assert sources()[0] == first[0]


def test_built_in_sources_are_two(store_url: str) -> None:
    run = prepare(request(store_url, "nag[batch=20]", problem="curves", budget=None))
    own = prepare(request(store_url, "nag[batch=20]"))
    # The function that made it is part of a problem of one's own.
    assert problem_source(run.problem) != problem_source(own.problem)
    (method,) = run.methods
    trial: Any = type("Trial", (), {"candidate": type("Candidate", (), {"method": method})})
    assert method_source(trial) != problem_source(run.problem)


# The seed plan


def by_rule(name: str) -> np.random.Generator:
    """A stream's generator, by the rule as it stands in the plan, and by nothing else."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


@pytest.mark.parametrize("root", [0, 7, 1_000_003])
def test_the_streams_of_a_seed_give_the_numbers_that_trials_see(root: int) -> None:
    plan = seed_plan(root)
    assert plan["root"] == root
    assert plan["rule"] == "PCG64 seeded by the first 16 bytes of the SHA-256 of a stream's name"
    streams = dict(plan["streams"])
    theta = make("quick").initialize(by_rule(streams.pop("initialization")))
    assert theta.equal(make("quick").initialize(generator(root, "initialization")))

    gradient = streams.pop("gradient batches")
    order = CaseOrder(30, root, "gradient")
    for epoch in range(3):
        named = by_rule(gradient.replace("EPOCH", str(epoch)))
        assert order.take(30).tolist() == named.permutation(30).tolist()
    curvature = by_rule(streams.pop("curvature batches")).permutation(30)
    assert CaseOrder(30, root, "curvature").take(60).tolist() == [*curvature, *curvature]

    def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.standard_normal(size), rng.standard_normal(size)

    fresh = streams.pop("cases drawn anew")
    for stream in ("gradient", "curvature"):
        name = fresh.replace("gradient|curvature", stream)
        expected = [draw(by_rule(name.replace("BLOCK", str(b))), BLOCK)[0] for b in range(2)]
        drawn, _ = CaseStream(draw, root, stream).take(2 * BLOCK)
        assert drawn.tolist() == np.concatenate(expected).tolist()

    own = streams.pop("draws of a method that is not bench's or torch's")
    seed = int.from_bytes(hashlib.sha256(own.encode()).digest()[:16], "big")
    method: Any = with_random_stream(Drawing("torch"), [root], torch.device("cpu"))  # type: ignore[abstract]
    found = method.init(torch.zeros(1, 3), root, None)
    expected_torch = torch.rand(3, generator=torch.Generator().manual_seed(seed % 2**64))
    numpy = np.random.RandomState(np.random.MT19937(seed))
    assert found == [expected_torch.tolist(), numpy.rand(), random.Random(seed).random()]
    assert streams == {}


class Drawing(Method):
    """Draws from every global stream."""

    name = "drawing"

    def __init__(self, backend: str, **given: object) -> None:
        pass

    def init(self, theta: torch.Tensor, seed: int, budget: int | None) -> Any:
        return [torch.rand(3).tolist(), np.random.rand(), random.random()]


def test_a_trial_records_the_plan_of_its_seed(store: Store, store_url: str) -> None:
    run_one(request(store_url, budget="updates=2"), 5)
    (trial,) = store.trials()
    assert made(trial).seeds == seed_plan(5)


def test_a_trial_records_where_it_begins_to_depend_on_its_end(store: Store, store_url: str) -> None:
    options = "final=4,period=1,final_mu=0.6,mu_max=0.9,batch=20"
    for text in (f"nag[{options}]", "sgd", f"cm[{options}]", "nag[final=0]"):
        run_one(request(store_url, text, budget="updates=10"), 0)
    run_one(request(store_url, f"nag[{options}]", budget="gradients=1e4"), 0)
    assert [t.anytime_updates for t in store.trials()] == [6, None, 6, None, 496]


# The command


def test_a_command_holds_no_password(store: Store) -> None:
    runs: Any = Runs(store)
    written = "bench run --problem 'p[from=http://me:secret@h/d]' --data-dir /data"
    run, planned = prepared(runs, "nag[batch=20]", seeds=1, command_of=lambda trial: written)
    (trial,) = go(run, planned)
    assert made(trial).command == written.replace("secret", "***")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("gradients=1234.0000000001234", "gradients=1234.0000000001235"),
        ("updates=9007199254740991", "updates=9007199254740991"),
        ("gradients=6e5", "gradients=600000"),
    ],
)
def test_a_command_has_the_budget_to_the_last_digit(
    store_url: str, budget: str, words: str
) -> None:
    ready = prepare(request(store_url, budget=budget))
    trial = make_trials(label_methods(ready.methods), ready.protocol, [0], "reported")[0]
    said = shlex.split(trial_command(ready, trial))
    assert said[said.index("--budget") + 1] == words
    assert prepare(request(store_url, budget=words)).protocol == ready.protocol


@pytest.mark.parametrize(
    "text",
    [
        "torch.optim.Adam[betas=(0.9, 0.95),amsgrad=true]",
        "torch.optim.Adafactor[eps=(none,1e-3)]",
        "torch.optim.Rprop[step_sizes=(1e-7,50)]",
    ],
)
def test_a_command_has_values_of_every_kind(store_url: str, text: str) -> None:
    ready = prepare(request(store_url, optimizers=text))
    trial = make_trials(label_methods(ready.methods), ready.protocol, [0], "reported")[0]
    said = shlex.split(trial_command(ready, trial))
    again = prepare(request(store_url, optimizers=said[said.index("--optimizer") + 1]))
    assert again.methods[0].hyperparameters == ready.methods[0].hyperparameters
    assert label_methods(again.methods)[0].spec.key == trial.spec.method.key


def test_a_command_says_over_how_many_ranks_each_update_was_spread(store_url: str) -> None:
    for mode, expected in (("data", ["--nproc-per-node", "2", "--mode", "data"]), ("trials", [])):
        ready = prepare(request(store_url, mode=mode, nproc_per_node=2))
        trial = make_trials(label_methods(ready.methods), ready.protocol, [0], "reported")[0]
        said = shlex.split(trial_command(ready, trial))
        assert said[said.index("--precision") + 2 :] == [
            *("--device", "cpu", "--threads", "1"),
            *expected,
        ]
