"""The built-in autoencoder problems: protocol, initial parameters, the two forms of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.models.autodiff import AutodiffPasses
from bench.models.autoencoder import AutoencoderPasses
from bench.models.built_in import PROBLEMS
from bench.models.problem import PRESETS, digest_of, to_tensor


def test_the_paper_preset_is_the_published_protocol() -> None:
    counts = {"curves": 842_340, "mnist": 2_837_314, "faces": 7_537_655}
    for name, count in counts.items():
        problem = PROBLEMS[name]("paper")
        assert problem.layout.count == count
        assert problem.budget == 750_000 * 200
        assert problem.metric.name == "squared_error"
        assert problem.metric.direction == "lower"


@pytest.mark.parametrize("name", ["curves", "mnist", "faces"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_is(name: str, preset: str) -> None:
    problem = PROBLEMS[name](preset)
    assert (problem.name, problem.preset) == (name, preset)
    assert problem.notes
    assert list(problem.targets) == sorted(problem.targets, reverse=True)
    assert problem.budget > 0
    assert problem.evaluations >= 2
    assert isinstance(problem.passes(), AutoencoderPasses)


@pytest.mark.parametrize("name", ["curves", "mnist", "faces"])
def test_passes_compute_the_plain_model(name: str) -> None:
    problem = PROBLEMS[name]("quick")
    theta = problem.initialize(np.random.default_rng(0)).repeat(2, 1)
    theta[1] *= 0.5
    x = torch.rand(1, 4, problem.architecture.sizes[0], dtype=torch.float64)
    by_hand, plain = problem.passes(), AutodiffPasses(problem)
    z = problem.logits(problem.layout.views(theta), x)
    torch.testing.assert_close(by_hand.logits(theta, x), z, rtol=1e-12, atol=1e-13)
    one, other = torch.zeros_like(theta), torch.zeros_like(theta)
    by_hand.gradient(theta, x, x, one)
    plain.gradient(theta, x, x, other)
    assert (one - other).norm() <= 1e-12 * other.norm()
    v = torch.ones_like(theta)
    product, oracle = (p.curvature(theta, x, x)(v) for p in (by_hand, plain))
    assert (product - oracle).norm() <= 1e-12 * oracle.norm()


def test_every_layer_starts_sparse_with_biases_and_padding_zero() -> None:
    problem = PROBLEMS["curves"]("quick")
    theta = problem.initialize(np.random.default_rng(0))
    views, count = problem.layout.views(theta), 0
    for name, view in views.items():
        if name.startswith("W"):
            expected = min(15, view.shape[0])
            assert ((view != 0).sum(0) == expected).all(), name
            count += expected * view.shape[1]
        else:
            assert not view.any(), name
    assert theta.shape == (problem.layout.size,)
    assert theta.dtype == torch.float64
    assert (theta != 0).sum() == count


def test_metric_is_the_squared_error_summed_over_pixels() -> None:
    problem, rng = PROBLEMS["curves"]("quick"), np.random.default_rng(0)
    z, t = rng.standard_normal((2, 3, 5)), rng.random((1, 3, 5))
    expected = ((1 / (1 + np.exp(-z)) - t) ** 2).sum(-1)
    got = problem.metric.per_case(torch.tensor(z), torch.tensor(t))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(problem.outputs(torch.tensor(z)), 1 / (1 + np.exp(-z)), rtol=1e-13)


def test_another_start_is_said_in_the_notes() -> None:
    usual, other = PROBLEMS["curves"]("paper"), PROBLEMS["curves"]("paper", scale="0.5")
    assert other.notes == f"{usual.notes}; another start"


def test_faces_has_linear_outputs_under_squared_error() -> None:
    problem = PROBLEMS["faces"]("paper")
    assert problem.loss.name.startswith("half squared error")
    z = torch.tensor([[[-3.0, 4.0]]])
    torch.testing.assert_close(problem.outputs(z), z)
    assert problem.metric.per_case(z, torch.zeros(1, 1, 2)).item() == 25


def test_digest_is_of_values_shape_and_type_whatever_the_byte_order() -> None:
    a = np.arange(6, dtype="<f4").reshape(2, 3)
    assert digest_of(a) == digest_of(a.astype(">f4")) == digest_of(np.asfortranarray(a))
    others = [a.T, a.astype("<f8"), a + 1, a.ravel()]
    assert len({digest_of(each) for each in (a, *others)}) == 5
    assert digest_of(a, a) != digest_of(a)
    assert digest_of(a) == "3378efc20f15f0e870a04920ebd06243767f44dd6de3dfc84997ea2f41bc964c"


def test_a_tensor_has_memory_of_its_own() -> None:
    array = np.zeros(3)
    array.flags.writeable = False
    to_tensor(array, torch.float64).add_(1)
    assert not array.any()
