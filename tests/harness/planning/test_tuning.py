import math

import pytest

from bench.harness.core.errors import Usage
from bench.harness.core.seeds import FIRST_TUNING_SEED
from bench.harness.planning.tuning import tuning_points, tuning_seeds
from bench.optim.registry import BUILT_IN, make
from bench.optim.text import parse


def points(text, tune):
    return [written.values for written in tuning_points(parse(text), tune)]


def test_tuning_seeds_are_never_reported():
    assert min(tuning_seeds(2)) >= FIRST_TUNING_SEED == 1_000_000


def test_without_tuning_it_is_what_was_written():
    written = parse("nag[lr=0.1|0.2]")
    assert tuning_points(written, "none") == [written]


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("count", [2, 3, 5, 8, 13])
def test_points_are_the_first_of_more_points(name, count):
    few, many = points(name, str(count)), points(name, "16")
    assert len(few) == count
    assert many[:count] == few
    assert len({str(point) for point in many}) == 16


@pytest.mark.parametrize("name", BUILT_IN)
def test_points_are_within_the_declared_ranges(name):
    ranges = {h.name: h for h in BUILT_IN[name].space if h.tune}
    for written in tuning_points(parse(name), "64"):
        (method,) = make(written)
        assert written.values.keys() == ranges.keys()
        for key, h in ranges.items():
            low, high = h.tune
            assert low <= method.hyperparameters[key] <= high


def test_points_are_spread_by_scale():
    tried = [{k: float(v) for k, (v,) in point.items()} for point in points("nag", "64")]
    lr, mu = [p["lr"] for p in tried], [p["mu_max"] for p in tried]
    # On log x: a third of them in each of the three decades. On log(1 − x): half on each side.
    assert sum(x < 1e-2 for x in lr) in (21, 22)
    assert sum(x > 1e-1 for x in lr) in (21, 22)
    assert sum(x > 0.99 for x in mu) == 32
    assert all(len(f"{math.log10(1 - x) % 1:.9f}") for x in mu)


def test_whole_numbers_stay_whole():
    assert {float(p["chunks"][0]) % 1 for p in points("hf", "16")} == {0.0}


def test_what_is_written_stays_fixed():
    tried = points("nag[mu_max=0.9]", "4")
    assert {p["mu_max"] for p in tried} == {("0.9",)}
    assert len({p["lr"] for p in tried}) == 4


def test_points_depend_on_the_name_alone():
    assert points("nag@torch", "4") == points("nag", "4")
    assert points("cm", "4") != points("nag", "4")


def test_the_declared_grid():
    (written,) = tuning_points(parse("nag"), "grid")
    assert [m.hyperparameters["lr"] for m in make(written)] == [
        0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001,
    ]  # fmt: skip
    (written,) = tuning_points(parse("nag[lr=0.3]"), "grid")
    assert [m.hyperparameters["mu_max"] for m in make(written)] == [0.9, 0.99, 0.995, 0.999]


def test_every_method_has_a_grid_of_the_same_size():
    assert {len(make(*tuning_points(parse(name), "grid"))) for name in BUILT_IN} == {6}


@pytest.mark.parametrize("tune", ["grid", "3"])
def test_a_method_that_declares_nothing(tune):
    with pytest.raises(Usage, match=r"--tune .*AdamW declares no (grid|range).*a\|b\|c"):
        tuning_points(parse("torch.optim.AdamW"), tune)


def test_more_points_than_a_range_holds():
    with pytest.raises(Usage, match="too narrow for so many different points"):
        tuning_points(parse("hf[lam=1]"), "64")
