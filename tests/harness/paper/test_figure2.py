import json

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from bench.harness.paper.figure2 import METHODS, draw, figure2
from bench.optim.momentum.reference import momentum, nesterov

DATA = figure2()
CURVATURES = torch.tensor(DATA.curvatures, dtype=torch.float64)
STEPS = len(DATA.values["nag"]) - 1


def reference(rule, mu):
    """The trajectory of one of the paper's update rules."""
    theta = torch.tensor(DATA.start, dtype=torch.float64)
    path, v = [theta], torch.zeros_like(theta)
    for _ in range(STEPS):
        theta, v = rule(theta, v, lambda x: CURVATURES * x, DATA.epsilon, mu)
        path.append(theta)
    return torch.stack(path).numpy()


@pytest.mark.parametrize(
    ("method", "rule", "mu"),
    [("gd", momentum, 0.0), ("cm", momentum, DATA.mu), ("nag", nesterov, DATA.mu)],
)
def test_the_paths_are_those_of_the_update_rules(method, rule, mu):
    assert np.abs(DATA.paths[method] - reference(rule, mu)).max() <= 1e-12
    f = 0.5 * DATA.paths[method] ** 2 @ np.array(DATA.curvatures)
    np.testing.assert_allclose(DATA.values[method], f, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_theorem_2_1(axis):
    mu = DATA.mu * (1 - DATA.curvatures[axis] * DATA.epsilon)
    as_cm = reference(momentum, mu)[:, axis]
    assert np.abs(DATA.paths["nag"][:, axis] - as_cm).max() <= 1e-12


def test_what_the_figure_shows():
    """CM oscillates along the steep axis, NAG hardly, and both leave gradient descent behind."""
    turns = {m: int((np.diff(np.sign(DATA.paths[m][:, 1])) != 0).sum()) for m in METHODS}
    assert DATA.travelled("cm") >= 2 * DATA.travelled("nag")
    assert DATA.travelled("nag") <= 1.25 * abs(DATA.start[1])
    assert turns["gd"] == 0 and turns["cm"] >= 15
    assert DATA.values["nag"][-1] < DATA.values["cm"][-1] < DATA.values["gd"][-1]


def test_numbers_can_be_chosen():
    other = figure2(curvatures=(0.5, 8.0), start=(2.0, 1.0), mu=0.95, epsilon=0.1, steps=7)
    assert other.paths["nag"].shape == (8, 2)
    assert other.paths["gd"][1] == pytest.approx([2.0 * 0.95, 1.0 * 0.2])


def test_picture_and_plain_values(tmp_path):
    draw(DATA, tmp_path / "figure2.png")
    image = imread(tmp_path / "figure2.png")[..., :3]
    assert image.shape == (506, 1430, 3)
    for shade in ("#e69f00", "#56b4e9", "#0072b2"):
        wanted = [int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (np.abs(image - wanted).max(axis=-1) < 0.01).sum() > 50
    plain = json.loads(json.dumps(DATA.as_dict(), allow_nan=False))
    assert plain["paths"]["cm"][0] == list(DATA.start)
    assert plain["steep_total_variation"]["cm"] == DATA.travelled("cm")
