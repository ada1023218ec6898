"""Ranges in brackets: points that are spread over the logarithm, for any method."""

import math

import pytest

from bench.harness.core.errors import Usage
from bench.harness.planning.ranges import tuned
from bench.harness.planning.selection import TuningResult
from bench.harness.planning.tuning import axes, tuned_names, tuning_points
from bench.harness.planning.validation import check_effort
from bench.optim.hyperparameters import UsageError
from bench.optim.registry import make, resolve
from bench.optim.text import parse


def drawn(text, name, count=64):
    return [float(p.values[name][0]) for p in tuning_points(parse(text), str(count))]


@pytest.mark.parametrize("method", ["nag", "sgd", "torch.optim.AdamW"])
def test_values_are_spread_over_the_logarithm(method):
    values = drawn(f"{method}[lr=0.0001..1]", "lr")
    assert all(0.0001 <= value <= 1 for value in values)
    by_decade = [sum(10.0**k <= v < 10.0 ** (k + 1) for v in values) for k in range(-4, 0)]
    assert sum(by_decade) == 64 and all(14 <= count <= 18 for count in by_decade)


def test_more_points_begin_with_fewer_and_other_ranges_stay_declared():
    entry = parse("nag[lr=0.01..0.02]")
    some, more = tuning_points(entry, "4"), tuning_points(entry, "9")
    assert more[:4] == some and len({p.values["lr"] for p in more}) == 9
    assert tuned_names(entry, "4") == {"lr", "mu_max"}
    (axis, *_) = axes(entry, [m for p in more for m in make(p)], "9")
    assert (axis.name, axis.scale, axis.limits) == ("lr", "log", (0.01, 0.02))


def test_whole_numbers_and_momenta():
    chunks = drawn("hf[chunks=2..9]", "chunks", 8)
    assert all(value == int(value) and 2 <= value <= 9 for value in chunks)
    mu = drawn("nag[mu_max=0.9..0.999]", "mu_max")
    assert all(0.9 <= value <= 0.999 for value in mu)
    assert 28 <= sum(1 - value < math.sqrt(0.1 * 0.001) for value in mu) <= 36


def test_a_number_in_a_tuple_is_a_dimension():
    entry = parse("torch.optim.Adam[betas=(0.5..0.99, 0.9..0.9999),lr=1e-4..1e-1]")
    points = [m for p in tuning_points(entry, "64") for m in make(p)]
    betas = [m.hyperparameters["betas"] for m in points]
    for values, low, high in zip(zip(*betas, strict=True), (0.5, 0.9), (0.99, 0.9999), strict=True):
        assert all(low <= value <= high for value in values)
        middle = 1 - math.sqrt((1 - low) * (1 - high))
        assert 28 <= sum(value < middle for value in values) <= 36
    found = {axis.label: (axis.scale, axis.limits) for axis in axes(entry, points, "64")}
    assert found == {
        "lr": ("log", (1e-4, 1e-1)),
        "betas[0]": ("log from one", (0.5, 0.99)),
        "betas[1]": ("log from one", (0.9, 0.9999)),
    }
    assert tuned_names(entry, "64") == {"lr", "betas"}
    assert tuning_points(entry, "4") == tuning_points(entry, "9")[:4]


@pytest.mark.parametrize(
    ("text", "scales"),
    [
        ("torch.optim.Adam[betas=(0..0.99,0.999)]", ["log from one"]),  # The default is a weight.
        ("torch.optim.SGD[momentum=0.5..0.99]", ["log from one"]),
        ("torch.optim.SGD[momentum=0.1..0.99]", ["log"]),
        ("torch.optim.RMSprop[alpha=0.1..0.99]", ["log from one"]),
        ("torch.optim.Rprop[etas=(0.3..0.7,1.1..1.5)]", ["log from one", "log"]),
        ("torch.optim.Rprop[step_sizes=(1e-7..1e-5,50)]", ["log"]),
        ("torch.optim.LBFGS[max_eval=5..50]", ["log"]),
        ("nag[lr=0.5..0.9,mu_max=0.1]", ["log"]),
    ],
)
def test_the_scale_of_a_range(text, scales):
    assert [each.scale for one in tuned(parse(text)) for each in one.ranges] == scales


def test_words_and_what_is_beside_a_range_stay():
    (one,) = tuned(parse("torch.optim.Rprop[step_sizes=(1e-7..1e-5, 50)]"))
    assert one.text(iter([0.5])) == "(1e-06,50)"
    assert tuned(parse("torch.optim.LBFGS[line_search_fn=a..b]")) == []


def test_the_edge_of_a_range_in_a_tuple_has_its_place():
    entry = parse("torch.optim.Adam[betas=(0.9,0.9..0.999)]")
    points = [m for p in tuning_points(entry, "64") for m in make(p)]
    least = min(range(64), key=lambda i: points[i].hyperparameters["betas"])
    values = [[float(i != least)] for i in range(64)]
    (edge,) = TuningResult(entry, points, values, "64", "lower").edges
    assert (edge.name, edge.side) == ("betas[1]", "smallest")
    assert edge.value == points[least].hyperparameters["betas"][1]


def test_grids_of_tuples_words_and_none_have_no_axis():
    for grid in ("betas=(0.9,0.95)|(0.9,0.99)", "amsgrad=true|false"):
        entry = parse(f"torch.optim.Adam[{grid}]")
        assert axes(entry, make(entry), "none") == []
    entry = parse("torch.optim.LBFGS[max_eval=none|5|10,lr=1|0.1]")
    assert [axis.label for axis in axes(entry, make(entry), "none")] == ["lr"]


def test_a_narrow_range_is_not_left_by_rounding():
    assert all(0.0123456 <= v <= 0.0234567 for v in drawn("sgd[lr=0.0123456..0.0234567]", "lr", 16))


@pytest.mark.parametrize(
    ("text", "tune", "why"),
    [
        ("nag[lr=0.001..0.1]", "none", "Use `bench compare --tune N`"),
        ("nag[lr=0.001..0.1]", "grid", "With --tune grid nothing is drawn"),
        ("torch.optim.SGD[lr=0..0.1]", "8", "both its ends must be above 0"),
        ("nag[lr=0.1..0.001]", "8", "first end of a range must be below"),
        ("nag[lr=0.1..0.1]", "8", "first end of a range must be below"),
        ("nag[lr=0.1..]", "8", "write a range as LOW..HIGH"),
        ("nag[lr=..0.1]", "8", "write a range as LOW..HIGH"),
        ("nag[lr=1e-3..0.1|0.5]", "8", "either one range"),
        ("torch.optim.SGD[lr=1e-300..1e300]", "8", "too wide"),
        ("torch.optim.AdamW[lr=0.01]", "8", "as in|for example torch.optim.AdamW"),
        ("torch.optim.Adam[betas=(0.9,0.9..0.99)]", "none", "Without --tune nothing is drawn"),
        ("torch.optim.Adam[betas=(0.9,0.9..)]", "8", r"for example betas=\(0.9,0.9..0.999\)"),
        ("torch.optim.Adam[betas=(0.9..0.99,0.9)|(0.9,0.9)]", "8", "either one range"),
        ("torch.optim.Adam[betas=(0.9,0.99..0.9)]", "8", "first end of a range must be below"),
        ("torch.optim.Adam[amsgrad=true..false]", "8", "must be numbers"),
    ],
)
def test_what_is_refused(text, tune, why):
    with pytest.raises(Usage, match=why):
        tuning_points(parse(text), tune)


def test_ends_are_checked_as_values_are():
    for text in ("nag[lr=-1..0.1]", "nag[lr=low..0.1]"):
        with pytest.raises(UsageError, match="lr="):
            tuning_points(parse(text), "8")
    with pytest.raises(UsageError, match="has 1 element"):
        tuning_points(parse("torch.optim.Adam[betas=(0.9..0.99)]"), "8")


def test_a_range_where_one_value_is_needed():
    with pytest.raises(UsageError, match="only `bench compare --tune N` draws values"):
        resolve("nag[lr=0.001..0.1]")


def test_tune_grid_takes_a_written_grid():
    entry = parse("torch.optim.AdamW[lr=0.1|0.01]")
    assert tuning_points(entry, "grid") == [entry]
    assert tuned_names(entry, "grid") == {"lr"}
    with pytest.raises(Usage, match=r"declares no grid .* torch.optim.AdamW\[lr=a\|b\|c\]"):
        tuning_points(parse("torch.optim.AdamW"), "grid")


def test_unequal_effort_advises_what_can_be_done():
    entries = [parse("nag[lr=0.1|0.2]"), parse("torch.optim.AdamW")]
    points = [make(entry) for entry in entries]
    with pytest.raises(Usage, match="write a range for torch.optim.AdamW, as in lr=0.001..0.1"):
        check_effort(entries, points)
    entries[1] = parse("sgd")
    with pytest.raises(Usage, match=r"or use --tune N\."):
        check_effort(entries, [points[0], make(entries[1])])
