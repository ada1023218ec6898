"""One fleet on several ranks is the fleet on one, at the same global batch."""

import pytest
import torch

from bench.harness.check.small_problems import Network
from bench.harness.check.thread_ranks import run_on_ranks
from bench.harness.core.spec import Budget
from bench.harness.distributed.ranks import SINGLE_PROCESS
from bench.harness.training.bound_objective import BoundObjective, evaluate
from bench.harness.training.cases import DeviceData
from bench.harness.training.ledger import Account, Clock
from bench.models.problem import DataSource
from bench.optim.objective import FULL
from tests.harness.ranked import on_ranks, trained, worst
from tests.harness.small import PROBLEM

CPU = torch.device("cpu")
NAG = "nag[lr=0.05,mu_max=0.99,batch=7,l2=1e-4]"
THREE = [NAG, "cm[lr=0.1,mu_max=0.9,batch=7]", "sgd[lr=0.2,batch=7]"]
HF = "hf[lam=1,chunks=2,cg_max=30,cg_tolerance=0.02]"

# λ is so large, and CG so short, that rounding is not amplified: elsewhere a start that differs in
# its last bit soon leads somewhere else, on one process too.
RUNS = {
    "nag": (PROBLEM, [NAG], 200, 8),
    "three rows": (PROBLEM, THREE, 200, 8),
    "fewer cases than ranks": ("network", ["nag[lr=0.05,batch=2]"], 200, 8),
    "hf": ("network", [HF], 10, 60),
    "hf on a sample": ("network", ["hf[lam=1,batch=20,chunks=3,cg_max=8]"], 10, 60),
    "hfm": (PROBLEM, ["hfm[lam=3,part=2,cg_steps=10]"], 10, 60),
    "recurrent": ("add[T=20]", ["nag[lr=0.01,batch=7]"], 50, 5),
    "recurrent hf": (
        "add[T=20]",
        ["hf[lam=1,batch=13,chunks=2,cg_max=6,structural=0.03]"],
        2,
        10,
    ),
}


def compare_with_one(several, one):
    """All ranks have the same bits; they are those of one but for rounding."""
    first, *others = several
    for other in others:
        assert first["theta"].equal(other["theta"])
        assert first["counts"] == other["counts"]
        assert all(a.equal(b) for a, b in zip(first["values"], other["values"], strict=True))
    assert first["counts"] == one["counts"]
    assert worst(first, one) <= 1e-10


@pytest.fixture(scope="module")
def alone():
    """Each run on one process, once."""
    made = {}

    def run(name):
        if name not in made:
            made[name] = trained(SINGLE_PROCESS, *RUNS[name])
        return made[name]

    return run


@pytest.mark.parametrize("name", RUNS)
def test_three_ranks_train_as_one(name, alone):
    several = run_on_ranks(3, lambda ranks: trained(ranks, *RUNS[name]))
    compare_with_one(several, alone(name))


@pytest.mark.parametrize(
    ("size", "names"),
    [(2, ("three rows", "hf")), pytest.param(4, tuple(RUNS), marks=pytest.mark.slow)],
)
def test_processes_train_as_one(size, names, alone, tmp_path):
    found = on_ranks(size, tmp_path, "all_trained", *(RUNS[name] for name in names))
    for name, several in zip(names, zip(*found, strict=True), strict=True):
        compare_with_one(several, alone(name))


@pytest.mark.slow
def test_curves_on_two_processes_is_curves_on_one(tmp_path):
    runs = [
        ("curves", ["nag[lr=0.01,batch=201]"] * 3, 30, 4),
        ("curves", [HF], 3, 10),
    ]
    for run, several in zip(
        runs, zip(*on_ranks(2, tmp_path, "all_trained", *runs), strict=True), strict=True
    ):
        compare_with_one(several, trained(SINGLE_PROCESS, *run))


def test_each_iteration_of_hf_is_measured():
    """What makes the comparison of CG steps one of each iteration."""
    counts = trained(SINGLE_PROCESS, *RUNS["hf"])["counts"]
    assert [count[1] for count in counts] == list(range(11))
    steps = [after[4] - before[4] for before, after in zip(counts, counts[1:], strict=False)]
    # The rule that stops CG has been asked: the limit was not met.
    assert 10 < min(steps) < max(steps) < 30


def bound(ranks, seeds=(0, 1)):
    problem = Network()
    data = DeviceData.from_data(problem.data(DataSource(())), CPU, torch.float64)
    account = Account(Budget("updates", 1), Clock(CPU))
    return BoundObjective(problem, data, seeds, account, ranks), data


@pytest.mark.parametrize("size", [7, 2, FULL])
def test_a_rank_sees_its_part_of_the_batch_and_the_method_the_whole(size):
    whole = bound(SINGLE_PROCESS)[0].next_batch(size)
    parts = run_on_ranks(3, lambda ranks: bound(ranks)[0].next_batch(size))
    assert [part.cases for part in parts] == [whole.cases] * 3
    assert torch.cat([part.inputs for part in parts], 1).equal(whole.inputs)
    assert torch.cat([part.targets for part in parts], 1).equal(whole.targets)
    sizes = [part.inputs.shape[1] for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_rank_computes_nothing_but_its_part(monkeypatch):
    seen = []
    problem = type(Network().passes())
    gradient = problem.gradient

    def counted(self, theta, inputs, targets, out):
        seen.append(inputs.shape[1])
        return gradient(self, theta, inputs, targets, out)

    monkeypatch.setattr(problem, "gradient", counted)
    theta = torch.zeros(2, Network().layout.size, dtype=torch.float64)

    def work(ranks):
        objective, _ = bound(ranks)
        return objective.gradient(theta, objective.next_batch(2))

    run_on_ranks(3, work)
    assert sorted(seen) == [1, 1]


@pytest.mark.parametrize("slice_", [2, 100])
def test_slices_of_a_part_add_up(slice_, monkeypatch):
    theta = torch.linspace(-1, 1, 2 * Network().layout.size, dtype=torch.float64).view(2, -1)

    def everything(ranks):
        objective, data = bound(ranks)
        batch = objective.next_batch(17)
        loss, gradient = objective.gradient(theta, batch)
        product = objective.curvature(theta, batch)
        return [
            loss,
            gradient.clone(),
            objective.loss(theta, batch),
            objective.squared_gradient(theta, batch),
            product(theta).clone(),
            # A second product must not be the sum of both.
            product(theta).clone(),
            *evaluate(Network(), theta, data.train, ranks),
        ]

    one = everything(SINGLE_PROCESS)
    monkeypatch.setattr("bench.harness.training.bound_objective.SLICE_CASES", slice_)
    for several in run_on_ranks(5, everything):
        for found, expected in zip(several, one, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_rows_that_go_on_stay_on_their_ranks():
    def work(ranks):
        objective, _ = bound(ranks, seeds=(3, 4))
        return objective.for_seeds([4]).next_batch(7).inputs

    assert torch.cat(run_on_ranks(2, work), 1).equal(
        bound(SINGLE_PROCESS, (4,))[0].next_batch(7).inputs
    )


def test_inner_products_are_the_same_bits_whatever_a_machine_does(tmp_path):
    first, second = on_ranks(2, tmp_path, "odd_dots")
    assert first == second
    a, b = torch.randn(2, 1, 1_001, generator=torch.Generator().manual_seed(0)).double()
    assert first == pytest.approx([float((a * b).sum()), float((a * a).sum())], rel=1e-12)


def test_inner_products_alone_are_torchs():
    objective, _ = bound(SINGLE_PROCESS)
    a, b = torch.randn(2, 1, 1_001, generator=torch.Generator().manual_seed(0))
    assert [x.item() for x in objective.dots((a, b), (b, b))] == [
        torch.dot(a[0], b[0]).item(),
        torch.dot(b[0], b[0]).item(),
    ]


def test_what_waits_for_other_ranks_is_not_captured(monkeypatch):
    monkeypatch.setattr("bench.harness.training.bound_objective.can_capture", lambda device: True)
    capturable = [bound(ranks)[0].capturable for ranks in (SINGLE_PROCESS,)]
    capturable += run_on_ranks(2, lambda ranks: bound(ranks)[0].capturable)
    assert capturable[1:] == [False, False]
    assert capturable[0] == Network().passes().capturable
