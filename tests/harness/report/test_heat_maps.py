import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from bench.harness.analysis.sensitivity import Point, grid
from bench.harness.report.heat_maps import Colors, heat_maps, ink
from tests.harness.report.test_plots import pixels

SHARE = st.floats(0, 1)


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return np.dot((0.2126, 0.7152, 0.0722), linear)


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@given(st.tuples(SHARE, SHARE, SHARE))
def test_ink_is_legible_on_any_colour(background):
    assert contrast(background, ink(background)) >= 4.5


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_better_the_lighter(direction):
    points = [Point({}, value) for value in (0.1, None, 1.0, 10.0)]
    colors = Colors.of(points, direction, log=True)
    light = [luminance(colors(value)[0]) for value in (0.1, 1.0, 10.0)]
    assert light == sorted(light, reverse=direction == "lower")
    # Half-way on the logarithm.
    halfway = Colors.of(points, direction, log=False)(5.05)[0]
    assert to_rgb(colors(1.0)[0]) == pytest.approx(to_rgb(halfway), abs=0.01)
    assert all(contrast(*colors(value)) >= 4.5 for value in (0.1, None, 1.0, 10.0))


def test_one_value_and_none_at_all_have_a_colour():
    assert Colors.of([Point({}, 2.0)], "lower", log=True)(2.0)[0] == "#fde725"
    assert contrast(*Colors.of([Point({}, None)], "lower", log=True)(None)) >= 4.5


@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_picture(tmp_path, ending):
    points = [
        Point({"lr": lr, "mu_max": mu}, None if (lr, mu) == (0.1, 0.9) else lr * mu)
        for lr in (0.1, 0.01) for mu in (0.9, 0.99)
    ]  # fmt: skip
    path = tmp_path / f"heat{ending}"
    heat_maps([("nag $x$", grid(points)), ("cm", grid(points))], "lower", True, path)
    if ending == ".svg":
        assert path.read_text().count("#fde725") >= 2
    else:
        best = np.abs(pixels(path) - to_rgb("#fde725")).max(axis=-1) < 0.01
        assert best.sum() > 1000
