from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil, sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.core.errors import Infrastructure, Usage
from bench.harness.core.spec import Budget, TrialSpec
from bench.harness.planning import fleets as module
from bench.harness.planning.fleets import (
    MAX_CPU_OPERATIONS,
    MAX_CPU_ROWS,
    Trial,
    group_into_fleets,
    label_methods,
    make_methods,
    make_protocol,
    make_trials,
    max_useful_rows,
    split_by_seed,
)
from bench.harness.training.cases import DeviceData
from bench.harness.training.memory import MemoryModel
from bench.models.built_in import PROBLEMS
from bench.models.problem import DataSource
from bench.optim.text import parse, split
from tests.harness.small import make

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = make("quick")
UPDATES = Budget("updates", 3_000.0)
PROTOCOL = make_protocol(SMALL, SMALL.data(DataSource(())), UPDATES, "fp32")


def candidates(text, problem=SMALL, budget=UPDATES):
    return label_methods(
        [m for each in split(text) for m in make_methods(parse(each), problem, budget, "cpu")]
    )


def test_protocol_has_what_all_trials_share():
    data = SMALL.data(DataSource(()))
    assert (PROTOCOL.problem, PROTOCOL.preset, PROTOCOL.data) == ("small", "quick", data.name)
    assert (PROTOCOL.data_digest, PROTOCOL.evaluations) == (data.digest, SMALL.evaluations)
    assert (PROTOCOL.metric, PROTOCOL.direction) == ("train_squared_error", "lower")
    assert PROTOCOL.budget == UPDATES
    assert replace(PROTOCOL, precision="fp64").differences(PROTOCOL) == ["precision"]


def test_labels_have_values_of_every_kind():
    grid = "betas=(0.9,0.95)|(0.9, 0.99),amsgrad=true|false"
    assert [each.label for each in candidates(f"torch.optim.Adam[{grid}]")] == [
        "torch.optim.Adam[betas=(0.9,0.95),amsgrad=True]",
        "torch.optim.Adam[betas=(0.9,0.95),amsgrad=False]",
        "torch.optim.Adam[betas=(0.9,0.99),amsgrad=True]",
        "torch.optim.Adam[betas=(0.9,0.99),amsgrad=False]",
    ]
    assert [each.label for each in candidates("torch.optim.LBFGS[max_eval=none|9]")] == [
        "torch.optim.LBFGS[max_eval=none]",
        "torch.optim.LBFGS[max_eval=9]",
    ]


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_schedule_follows_the_budget_below_paper(preset):
    curves = PROBLEMS["curves"](preset)
    for budget in (UPDATES, Budget("gradients", 600_000.0), Budget("examples", 600_000.0)):
        (nag,) = make_methods(parse("nag"), curves, budget, "cpu")
        assert nag.hyperparameters["batch"] == 200
        share = sqrt(3_000 / 750_000)
        assert nag.hyperparameters["period"] == round(250 * share) == 16
        assert nag.hyperparameters["final"] == round(1_000 * share) == 63


def test_schedule_of_paper_is_the_published_one():
    curves = PROBLEMS["curves"]("paper")
    for budget in (UPDATES, Budget("gradients", curves.budget)):
        (nag,) = make_methods(parse("nag"), curves, budget, "cpu")
        assert (nag.hyperparameters["period"], nag.hyperparameters["final"]) == (250, 1_000)


def test_what_is_written_is_not_scaled():
    (nag,) = make_methods(parse("nag[period=7]"), SMALL, UPDATES, "cpu")
    assert (nag.hyperparameters["period"], nag.hyperparameters["final"]) == (7, 63)


def test_schedule_without_an_end_is_not_scaled():
    (nag,) = make_methods(parse("nag"), SMALL, Budget("seconds", 5.0), "cpu")
    assert nag.hyperparameters["period"] == 250


def test_no_final_phase_is_promised_where_nobody_knows_the_end():
    """With a budget in seconds it was printed and recorded, and never made."""
    seconds = Budget("seconds", 5.0)
    for text in ("nag", "cm", "nag[final=0]"):
        (method,) = make_methods(parse(text), SMALL, seconds, "cpu")
        assert method.hyperparameters["final"] == 0
    for text in ("nag[final=100]", "cm[final=1]"):
        with pytest.raises(Usage, match=r"final=\d+ asks for low momentum .*Write final=0"):
            make_methods(parse(text), SMALL, seconds, "cpu")
    for text in ("sgd", "hf", "torch.optim.AdamW"):
        (method,) = make_methods(parse(text), SMALL, seconds, "cpu")
        assert "final" not in method.hyperparameters


def test_written_over_tuned_over_declared(monkeypatch):
    values = {"lr": 0.3, "mu_max": 0.95, "period": 9, "not_its_own": 1}
    monkeypatch.setattr(module, "tuned_values", lambda *asked: values)
    (nag,) = make_methods(parse("nag[lr=0.2]"), SMALL, UPDATES, "cpu")
    h = nag.hyperparameters
    assert (h["lr"], h["mu_max"], h["period"], h["batch"]) == (0.2, 0.95, 9, 200)


def test_a_grid_is_a_method_a_point():
    made = make_methods(parse("nag[lr=0.1|0.2,batch=10|20]"), SMALL, UPDATES, "cpu")
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


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (
            "sgd[lr_schedule=cosine,lr_warmup=0.1],hf",
            ["sgd[lr_schedule=cosine,lr_warmup=0.1]", "hf"],
        ),
        ("sgd,sgd[lr_schedule=wsd]", ["sgd", "sgd[lr_schedule=wsd]"]),
        ("sgd,sgd[clip_norm=1]", ["sgd", "sgd[clip_norm=1.0]"]),
        # Clipping and averages do something at their defaults too, accumulation=1 does not.
        ("sgd[clip_norm=1],hf[polyak=0]", ["sgd[clip_norm=1.0]", "hf[polyak=0.0]"]),
        ("nag[accumulation=1],torch.optim.SGD[ema=0.999]", ["nag", "torch.optim.SGD[ema=0.999]"]),
        (
            "sgd,sgd[lr_schedule=constant]",
            [
                "sgd",
                "sgd[lr_schedule=constant,lr_warmup=0.0,lr_cooldown=0.2,lr_floor=0.0]",
            ],
        ),
        (
            "sgd[ema=0.9,lr_floor=0],sgd[ema=0.9,lr=0.1,lr_floor=0]",
            ["sgd[lr=0.01,ema=0.9]", "sgd[lr=0.1,ema=0.9]"],
        ),
        (
            "torch.optim.AdamW,torch.optim.AdamW[weight_decay.biases=0]",
            ["torch.optim.AdamW", "torch.optim.AdamW[weight_decay.biases=0.0]"],
        ),
    ],
)
def test_labels_show_a_recipe(text, labels, monkeypatch):
    monkeypatch.setattr(module, "tuned_values", lambda *asked: {})
    assert [c.label for c in candidates(text)] == labels


def test_the_same_method_twice():
    with pytest.raises(Usage, match="nag is listed twice with the same hyperparameters"):
        candidates("nag[lr=.01],nag[lr=1e-2]")


def test_methods_take_turns_under_every_seed():
    planned = make_trials(candidates("nag,hf"), PROTOCOL, range(2), "reported")
    turns = [(t.candidate.label, t.spec.seed, t.purpose) for t in planned]
    assert turns == [(label, seed, "reported") for seed in (0, 1) for label in ("nag", "hf")]
    assert len({t.spec.key for t in planned}) == 4


@dataclass
class Fits:
    """A memory in which so many rows fit, on a problem whose gradients take so many operations."""

    most: int = 10**6
    operations_of_a_case: float = 1e3
    device: torch.device = CPU

    def rows_that_fit(self, methods, wanted):
        if not self.most:
            raise Infrastructure("it does not fit")
        # A memory counts down from them.
        assert 1 <= wanted <= len(methods)
        return min(wanted, self.most)

    def operations(self, method):
        return self.operations_of_a_case * (method.hyperparameters["batch"] or 60)


def labels(planned, memory, timed=False):
    groups = group_into_fleets(planned, memory, timed)
    assert sorted(map(id, planned)) == sorted(id(t) for group in groups for t in group)
    return [[t.candidate.label for t in group] for group in groups]


def test_rows_that_can_be_joined_go_together():
    planned = make_trials(candidates("nag,sgd,hf"), PROTOCOL, range(2), "reported")
    assert labels(planned, Fits()) == [["nag", "sgd"] * 2, ["hf"], ["hf"]]


def test_timed_trials_go_alone_and_take_turns():
    planned = make_trials(candidates("nag,sgd,hf"), PROTOCOL, range(2), "reported")
    assert labels(planned, Fits(device=CUDA), timed=True) == [["nag"], ["sgd"], ["hf"]] * 2


def test_fleets_take_turns_as_their_first_trials_do():
    planned = make_trials(candidates("nag,hf"), PROTOCOL, range(4), "reported")
    assert labels(planned, Fits(2)) == [["nag"] * 2, ["hf"], ["hf"], ["nag"] * 2, ["hf"], ["hf"]]


def test_on_a_cpu_a_fleet_has_only_so_many_rows():
    planned = make_trials(candidates("nag"), PROTOCOL, range(MAX_CPU_ROWS + 3), "reported")
    assert [len(group) for group in labels(planned, Fits())] == [9, 10]
    assert [len(group) for group in labels(planned, Fits(device=CUDA))] == [MAX_CPU_ROWS + 3]


def test_on_a_cpu_rows_are_joined_where_a_gradient_is_small():
    planned = make_trials(
        candidates("nag[batch=10],nag[batch=100]"), PROTOCOL, range(2), "reported"
    )
    each = MAX_CPU_OPERATIONS / 50
    assert [len(group) for group in labels(planned, Fits(10, each))] == [2, 1, 1]
    assert [len(group) for group in labels(planned, Fits(10, each, CUDA))] == [2, 2]


@pytest.mark.parametrize(
    ("name", "brackets", "preset", "batch", "pays"),
    [
        ("curves", {}, "quick", 200, True),
        ("curves", {}, "standard", 100, False),
        ("add", {"T": 20}, "quick", 20, True),
        ("add", {"T": 20}, "quick", 100, False),
        ("add", {"T": 80}, "quick", 4, True),
        ("add", {"T": 80}, "quick", 20, True),
        ("add", {"T": 80}, "quick", 100, False),
    ],
)
def test_rows_go_together_where_that_was_measured_to_pay(name, brackets, preset, batch, pays):
    problem = PROBLEMS[name](preset, **brackets)
    data = problem.data(DataSource(()))
    some = replace(data, **{part: getattr(data, part)[:8] for part in ARRAYS})
    memory = MemoryModel(problem, DeviceData.from_data(some, CPU, torch.float32))
    (method,) = make_methods(parse(f"nag[batch={batch}]"), problem, UPDATES, "cpu")
    assert max_useful_rows(memory, method) == (MAX_CPU_ROWS if pays else 1)


ARRAYS = ("train_inputs", "test_inputs", "train_targets", "test_targets")


def test_on_a_gpu_as_many_rows_go_together_as_fit():
    planned = make_trials(candidates("nag"), PROTOCOL, range(200), "reported")
    sizes = [len(group) for group in labels(planned, Fits(60, 1e12, CUDA))]
    assert sizes == [50, 50, 50, 50]


def test_what_does_not_fit_is_refused_before_anything_is_planned():
    planned = make_trials(candidates("nag,hf"), PROTOCOL, range(2), "reported")
    for timed in (False, True):
        with pytest.raises(Infrastructure):
            group_into_fleets(planned, Fits(0), timed)


def test_batches_of_different_sizes_go_apart():
    planned = make_trials(candidates("nag[batch=10],nag[batch=20]"), PROTOCOL, range(2), "reported")
    assert [len(group) for group in labels(planned, Fits())] == [2, 2]


def seeds_of(fleets):
    return [[trial.spec.seed for trial in fleet] for fleet in fleets]


def grid(points, seeds):
    rates = "|".join(f"{0.01 * (i + 1):g}" for i in range(points))
    return make_trials(candidates(f"nag[lr={rates}]"), PROTOCOL, range(seeds), "reported")


@pytest.mark.parametrize(
    ("points", "seeds", "most", "cut"),
    [
        (9, 6, 54, [[9] * 6]),
        (9, 6, 40, [[9] * 3] * 2),
        (9, 6, 20, [[9] * 2] * 3),
        (9, 6, 17, [[9]] * 6),
        (9, 5, 40, [[9] * 2, [9] * 3]),
        (54, 1, 40, [[27], [27]]),
        (9, 2, 4, [[3], [3], [3]] * 2),
        (1, 7, 3, [[1] * 2, [1] * 2, [1] * 3]),
    ],
)
def test_seeds_stay_whole_where_they_fit(points, seeds, most, cut):
    """Of each fleet, how many rows each of its seeds has."""
    fleets = split_by_seed(grid(points, seeds), most)
    assert [[len(list(same)) for _, same in groupby(s)] for s in seeds_of(fleets)] == cut


SMALL_SETS = st.lists(st.integers(0, 5), min_size=1, max_size=24)


@given(SMALL_SETS, st.integers(1, 12))
def test_fleets_are_whole_seeds_or_part_of_one(drawn, most):
    nag = candidates("nag")[0]
    group = [Trial(nag, TrialSpec(PROTOCOL, nag.spec, seed), "reported") for seed in drawn]
    fleets = split_by_seed(group, most)
    assert seeds_of(fleets) == seeds_of(split_by_seed(group, most))
    assert sorted(id(t) for fleet in fleets for t in fleet) == sorted(map(id, group))
    count = Counter(drawn)
    for seeds in seeds_of(fleets):
        assert 1 <= len(seeds) <= most
        runs = [(seed, len(list(same))) for seed, same in groupby(seeds)]
        assert len({seed for seed, _ in runs}) == len(runs), "a seed stands together"
        assert len({rows for _, rows in runs}) == 1, "each seed has equally many rows"
        whole = all(rows == count[seed] for seed, rows in runs)
        assert whole or (len(runs) == 1 and count[runs[0][0]] > most)
    # As few fleets as there can be, and as equal as can be, of seeds with equally many trials.
    for rows in set(count.values()):
        alike = [seed for seed in count if count[seed] == rows]
        mine = [len(seeds) for seeds in seeds_of(fleets) if count[seeds[0]] == rows]
        if rows <= most:
            assert len(mine) == ceil(len(alike) / (most // rows))
            assert max(mine) - min(mine) <= rows
        else:
            assert len(mine) == len(alike) * ceil(rows / most)
            assert max(mine) - min(mine) <= 1


@given(SMALL_SETS, st.integers(1, 12), st.booleans())
def test_every_trial_is_in_one_fleet_of_its_own_kind(drawn, most, timed):
    kinds = candidates("nag[batch=10],sgd[batch=10],cm[batch=20],hf")
    planned = [
        Trial(kinds[i % 4], TrialSpec(PROTOCOL, kinds[i % 4].spec, seed), "reported")
        for i, seed in enumerate(drawn)
    ]
    fleets = group_into_fleets(planned, Fits(most, device=CUDA), timed)
    assert sorted(id(t) for fleet in fleets for t in fleet) == sorted(map(id, planned))
    place = {id(t): number for number, t in enumerate(planned)}
    first = [place[id(fleet[0])] for fleet in fleets]
    assert first == sorted(first)
    for fleet in fleets:
        keys = {t.candidate.method.fleet_key for t in fleet}
        assert len(keys) == 1 and len(fleet) <= most
        assert len(fleet) == 1 or not (timed or None in keys)


@given(SMALL_SETS, st.integers(1, 12), st.integers(1, 9), st.booleans())
def test_as_many_fleets_as_can_be_trained_at_once(drawn, most, min_fleets, joinable):
    """Of trials under these seeds, for so many ranks; and no more than those or memory ask for."""
    nag, hf = candidates("nag,hf")
    kinds = [nag] if joinable else [nag, hf]
    planned = [
        Trial(
            kinds[i % len(kinds)], TrialSpec(PROTOCOL, kinds[i % len(kinds)].spec, seed), "tuning"
        )
        for i, seed in enumerate(drawn)
    ]
    fleets = group_into_fleets(planned, Fits(most, device=CUDA), False, min_fleets)
    assert sorted(id(t) for fleet in fleets for t in fleet) == sorted(map(id, planned))
    assert len(fleets) >= min(min_fleets, len(planned))
    assert max(len(fleet) for fleet in fleets) <= most
    if min_fleets == 1:
        assert fleets == group_into_fleets(planned, Fits(most, device=CUDA), False)
    count = Counter(drawn)
    if not joinable or len(set(count.values())) > 1:
        return
    ((rows, _),) = Counter(count.values()).items()
    whole = all(
        Counter(t.spec.seed for t in fleet)[seed] == rows
        for fleet in fleets
        for seed in {t.spec.seed for t in fleet}
    )
    assert whole is (rows <= most and len(count) >= min(min_fleets, len(planned)))
    if whole:
        assert len(fleets) == max(ceil(len(count) / (most // rows)), min(min_fleets, len(planned)))


@pytest.mark.parametrize(
    ("points", "seeds", "min_fleets", "sizes"),
    [
        (1, 6, 4, [1, 2, 1, 2]),
        (1, 5, 4, [1, 1, 1, 2]),
        (1, 3, 4, [1, 1, 1]),
        (9, 6, 2, [27, 27]),
        (9, 6, 4, [9, 18, 9, 18]),
        (9, 2, 4, [4, 5, 4, 5]),
        (9, 2, 3, [4, 5, 4, 5]),
    ],
)
def test_ranks_get_whole_seeds_where_there_are_enough(points, seeds, min_fleets, sizes):
    fleets = group_into_fleets(grid(points, seeds), Fits(device=CUDA), False, min_fleets)
    assert [len(fleet) for fleet in fleets] == sizes
