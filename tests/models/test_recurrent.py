"""The recurrent problems: protocol, initial parameters, and the plain model beside the passes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from models.autodiff import AutodiffPasses
from models.problem import PRESETS, DataSource
from models.problems import PROBLEMS
from models.recurrent import UNITS
from models.rnn import RecurrentPasses


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_is(preset: str) -> None:
    problem = PROBLEMS["add"](preset)
    assert (problem.name, problem.preset) == ("add", preset)
    assert problem.notes
    assert list(problem.targets) == sorted(problem.targets, reverse=True)
    assert isinstance(problem.passes(), RecurrentPasses)


def test_the_paper_preset_is_the_published_protocol() -> None:
    problem = PROBLEMS["add"]("paper")
    assert problem.task.length == problem.parameters["T"] == 80
    assert problem.budget == 50_000 * 100
    assert problem.layout.count == 2 * 100 + 100 * 100 + 100 + 100 + 100 + 1
    assert problem.metric.name == "zero_one_loss"


def test_t_is_a_parameter() -> None:
    problem = PROBLEMS["add"]("quick", T="45")
    assert problem.parameters == {"T": 45}
    assert problem.data(DataSource(())).train_inputs.shape[1] == 49


@pytest.mark.parametrize("wrong", ["0", "19", "1001", "many", "30.5"])
def test_a_length_out_of_range_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"T={wrong}: a whole number from 20 to 1,000"):
        PROBLEMS["add"]("quick", T=wrong)


@pytest.mark.parametrize("seed", range(3))
def test_initialisation_is_the_published_one(seed: int) -> None:
    problem = PROBLEMS["add"]("quick")
    views = problem.layout.views(problem.initialize(np.random.default_rng(seed)))
    hidden = views["Wh"].numpy()
    assert (np.count_nonzero(hidden, 0) == 15).all()
    # By Arnoldi iteration, where the code has LAPACK's eigenvalues.
    largest = scipy.sparse.linalg.eigs(hidden, k=4, which="LM", return_eigenvectors=False)
    assert np.abs(largest).max() == pytest.approx(1.1, abs=1e-5)
    assert views["Wx"].std().item() == pytest.approx(0.001, rel=5 / (2 * 200) ** 0.5)
    assert views["Wo"].std().item() == pytest.approx(0.1, rel=5 / (2 * UNITS) ** 0.5)
    assert not views["bh"].any()
    assert not views["h0"].any()
    assert views["bo"].item() == 0.5


def test_scoring_is_by_the_rule_of_four_hundredths() -> None:
    problem = PROBLEMS["add"]("quick")
    z = torch.tensor([[[0.5], [0.5401], [0.5399], [0.4599], [torch.nan]]], dtype=torch.float64)
    wrong = problem.metric.per_case(z, torch.full_like(z, 0.5))
    assert wrong.tolist()[0][:4] == [0, 1, 0, 1]


def test_passes_compute_the_plain_model() -> None:
    problem = PROBLEMS["add"]("quick", T=20)
    theta = problem.initialize(np.random.default_rng(0)).repeat(2, 1)
    theta[1] *= 0.9
    inputs, targets = problem.task.draw(np.random.default_rng(1), 4)
    x, t = (torch.from_numpy(each).double()[None] for each in (inputs, targets))
    by_hand, plain = problem.passes(), AutodiffPasses(problem)
    z = problem.logits(problem.layout.views(theta), x)
    torch.testing.assert_close(by_hand.logits(theta, x), z, rtol=1e-12, atol=1e-13)
    one, other = torch.zeros_like(theta), torch.zeros_like(theta)
    by_hand.gradient(theta, x, t, one)
    plain.gradient(theta, x, t, other)
    assert (one - other).norm() <= 1e-11 * other.norm()
    v = problem.initialize(np.random.default_rng(2)).repeat(2, 1)
    for structural in (None, 0.1):
        product, oracle = (p.curvature(theta, x, t, structural)(v) for p in (by_hand, plain))
        assert (product - oracle).norm() <= 1e-11 * oracle.norm()
