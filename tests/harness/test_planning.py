from dataclasses import replace
from math import sqrt

import pytest
import torch

from harness import planning
from harness.errors import Usage
from harness.planning import CPU_ROWS, fleets, labelled, methods, protocol_of, trials
from harness.spec import Budget
from models.problem import DataSource
from models.problems import PROBLEMS
from optim.text import parse, split
from tests.harness.small import make

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = make("quick")
UPDATES = Budget("updates", 3_000.0)
PROTOCOL = protocol_of(SMALL, SMALL.data(DataSource(())), UPDATES, "fp32")


def candidates(text, problem=SMALL, budget=UPDATES):
    return labelled(
        [m for each in split(text) for m in methods(parse(each), problem, budget, "cpu")]
    )


def test_protocol_has_what_all_trials_share():
    data = SMALL.data(DataSource(()))
    assert (PROTOCOL.problem, PROTOCOL.preset, PROTOCOL.data) == ("small", "quick", data.name)
    assert (PROTOCOL.data_digest, PROTOCOL.evaluations) == (data.digest, SMALL.evaluations)
    assert (PROTOCOL.metric, PROTOCOL.direction) == ("train_squared_error", "lower")
    assert PROTOCOL.budget == UPDATES
    assert replace(PROTOCOL, precision="fp64").differences(PROTOCOL) == ["precision"]


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_schedule_follows_the_budget_below_paper(preset):
    curves = PROBLEMS["curves"](preset)
    for budget in (UPDATES, Budget("gradients", 600_000.0), Budget("examples", 600_000.0)):
        (nag,) = methods(parse("nag"), curves, budget, "cpu")
        assert nag.hyperparameters["batch"] == 200
        share = sqrt(3_000 / 750_000)
        assert nag.hyperparameters["period"] == round(250 * share) == 16
        assert nag.hyperparameters["final"] == round(1_000 * share) == 63


def test_schedule_of_paper_is_the_published_one():
    curves = PROBLEMS["curves"]("paper")
    for budget in (UPDATES, Budget("gradients", curves.budget)):
        (nag,) = methods(parse("nag"), curves, budget, "cpu")
        assert (nag.hyperparameters["period"], nag.hyperparameters["final"]) == (250, 1_000)


def test_what_is_written_is_not_scaled():
    (nag,) = methods(parse("nag[period=7]"), SMALL, UPDATES, "cpu")
    assert (nag.hyperparameters["period"], nag.hyperparameters["final"]) == (7, 63)


def test_schedule_without_an_end_is_not_scaled():
    (nag,) = methods(parse("nag"), SMALL, Budget("seconds", 5.0), "cpu")
    assert nag.hyperparameters["period"] == 250


def test_written_over_tuned_over_declared(monkeypatch):
    values = {"lr": 0.3, "mu_max": 0.95, "period": 9, "not_its_own": 1}
    monkeypatch.setattr(planning, "tuned", lambda *asked: values)
    (nag,) = methods(parse("nag[lr=0.2]"), SMALL, UPDATES, "cpu")
    h = nag.hyperparameters
    assert (h["lr"], h["mu_max"], h["period"], h["batch"]) == (0.2, 0.95, 9, 200)


def test_a_grid_is_a_method_a_point():
    made = methods(parse("nag[lr=0.1|0.2,batch=10|20]"), SMALL, UPDATES, "cpu")
    points = [(m.hyperparameters["lr"], m.hyperparameters["batch"]) for m in made]
    assert points == [(0.1, 10), (0.1, 20), (0.2, 10), (0.2, 20)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("nag,hf", ["nag", "hf"]),
        ("nag[lr=.1],hf,nag[lr=.2]", ["nag[lr=0.1]", "hf", "nag[lr=0.2]"]),
        ("nag@torch,nag@numba", ["nag@torch", "nag@numba"]),
        ("nag@torch[lr=1],nag@numba[lr=2]", ["nag@torch[lr=1.0]", "nag@numba[lr=2.0]"]),
        ("torch.optim.AdamW[lr=1e-3]", ["torch.optim.AdamW"]),
    ],
)
def test_labels_tell_methods_apart(text, labels):
    assert [c.label for c in candidates(text)] == labels


def test_the_same_method_twice():
    with pytest.raises(Usage, match="nag is there twice, with the same hyperparameters"):
        candidates("nag[lr=.01],nag[lr=1e-2]")


def test_methods_take_turns_under_every_seed():
    planned = trials(candidates("nag,hf"), PROTOCOL, range(2), "reported")
    turns = [(t.candidate.label, t.spec.seed, t.purpose) for t in planned]
    assert turns == [(label, seed, "reported") for seed in (0, 1) for label in ("nag", "hf")]
    assert len({t.spec.key for t in planned}) == 4


def sizes(planned, problem, device, timed=False):
    groups = fleets(planned, problem, device, timed)
    assert sorted(map(id, planned)) == sorted(id(t) for group in groups for t in group)
    return [[t.candidate.label for t in group] for group in groups]


def test_rows_of_a_small_network_go_together():
    planned = trials(candidates("nag,sgd,hf"), PROTOCOL, range(2), "reported")
    assert sizes(planned, SMALL, CPU) == [["nag", "sgd"] * 2, ["hf"], ["hf"]]
    assert sizes(planned, SMALL, CPU, timed=True) == [["nag"], ["sgd"], ["hf"]] * 2


def test_a_fleet_has_so_many_rows():
    planned = trials(candidates("nag"), PROTOCOL, range(CPU_ROWS + 3), "reported")
    assert [len(group) for group in sizes(planned, SMALL, CPU)] == [CPU_ROWS, 3]
    assert [len(group) for group in sizes(planned, SMALL, CUDA)] == [CPU_ROWS + 3]


def test_rows_of_a_large_network_go_together_on_a_gpu_only():
    paper = PROBLEMS["curves"]("paper")
    planned = trials(candidates("nag"), PROTOCOL, range(200), "reported")
    assert sizes(planned, paper, CPU) == [["nag"]] * 200
    (first, *_) = sizes(planned, paper, CUDA)
    assert 1 < len(first) < 200


def test_batches_of_different_sizes_go_apart():
    planned = trials(candidates("nag[batch=10],nag[batch=20]"), PROTOCOL, range(2), "reported")
    assert [len(group) for group in sizes(planned, SMALL, CPU)] == [2, 2]
