"""The recurrent problems: protocol, initial parameters, scores, and the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from bench.models.autodiff import AutodiffPasses
from bench.models.built_in import PROBLEMS
from bench.models.problem import PRESETS, DataSource
from bench.models.recurrent import SequenceProblem, biases_only
from bench.models.recurrent_tasks import KINDS
from bench.models.rnn import RecurrentPasses

every_task = pytest.mark.parametrize("name", KINDS)


@every_task
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_is(name: str, preset: str) -> None:
    problem = PROBLEMS[name](preset)
    assert (problem.name, problem.preset) == (name, preset)
    assert f"T = {problem.parameters['T']}" in problem.notes
    assert list(problem.targets) == sorted(problem.targets, reverse=True)
    assert isinstance(problem.passes(), RecurrentPasses)
    assert f"{problem.budget // 100:,} updates of 100" in problem.notes


@every_task
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_differ_only_in_length_cases_budget_and_evaluations(name: str, preset: str) -> None:
    problem, paper = PROBLEMS[name](preset), PROBLEMS[name]("paper")
    for fact in ("layout", "initialization", "margin", "log_scale", "targets", "loss", "metric"):
        if fact == "layout":
            assert problem.layout.shapes == paper.layout.shapes
        else:
            assert getattr(problem, fact) == getattr(paper, fact)
    assert set(problem.parameters) == {"T"}


@pytest.mark.parametrize(
    ("name", "length", "features", "outputs"),
    [("add", 80, 2, 1), ("mul", 80, 2, 1), ("mem5", 200, 4, 3), ("mem20", 80, 7, 6)],
)
def test_the_paper_preset_is_the_published_protocol(
    name: str, length: int, features: int, outputs: int
) -> None:
    problem = PROBLEMS[name]("paper")
    assert problem.parameters == {"T": length}
    assert problem.budget == 50_000 * 100
    hidden = 100 * 100 + 100 + 100
    assert problem.layout.count == features * 100 + hidden + 100 * outputs + outputs


def test_the_notes_are_of_the_t_that_is_used() -> None:
    quick = PROBLEMS["add"]("quick", T="30")
    assert quick.notes == "T = 30, 8,000 updates of 100"
    assert PROBLEMS["add"]("paper").notes == "as published: T = 80, 50,000 updates of 100"
    other = PROBLEMS["add"]("paper", T="40")
    assert other.notes == "T = 40, 50,000 updates of 100; at T = 80 as published"


def test_sequences_that_fit_into_no_memory_are_refused() -> None:
    with pytest.raises(ValueError, match=r"T=1000 and 1000 input .* 14\.9 GiB"):
        PROBLEMS["permutation"]("quick", T="1000", alphabet="1000")
    assert PROBLEMS["permutation"]("paper").layout.count


def test_t_is_a_parameter() -> None:
    problem = PROBLEMS["add"]("quick", T="45")
    assert problem.parameters == {"T": 45}
    assert problem.data(DataSource(())).train_inputs.shape[1] == 49


def test_what_is_as_published_is_not_a_parameter_of_the_protocol() -> None:
    same = {"radius": "1.10", "centred_inputs": "True", "centred_outputs": "true"}
    plain, written = PROBLEMS["mem5"]("quick"), PROBLEMS["mem5"]("quick", alphabet="2", **same)
    assert written.parameters == plain.parameters
    assert written.initialization == plain.initialization
    other = PROBLEMS["mem5"]("quick", radius="0.5", centred_outputs="false", alphabet="3")
    assert other.parameters == {"T": 20, "radius": 0.5, "centred_outputs": False, "alphabet": 3}
    assert "spectral radius 0.5" in other.initialization
    assert "output bias 0;" in other.initialization
    assert "not centred" in PROBLEMS["add"]("quick", centred_inputs="false").initialization


@pytest.mark.parametrize("wrong", ["0", "19", "1001", "many", "30.5"])
def test_a_length_out_of_range_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"T={wrong}: a whole number from 20 to 1,000"):
        PROBLEMS["add"]("quick", T=wrong)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("order2", "T", "9", "T=9: a whole number from 10 to 1,000 is allowed"),
        ("mem5", "T", "0", "T=0: a whole number from 1 to 1,000 is allowed"),
        ("mem5", "alphabet", "1", "alphabet=1: a whole number from 2 to 1,000 is allowed"),
        ("permutation", "alphabet", "1", "alphabet=1: a whole number from 4 to"),
        ("add", "radius", "0", "radius=0: a number greater than 0 is allowed"),
        ("add", "radius", "-1.1", "radius=-1.1: a number greater than 0 is allowed"),
        ("add", "radius", "inf", "radius=inf: a number greater than 0 is allowed"),
        ("add", "radius", "wide", "radius=wide: a number greater than 0 is allowed"),
        ("add", "input_scale", "nan", "input_scale=nan: a number greater than 0 is allowed"),
        ("add", "centred_inputs", "maybe", "centred_inputs=maybe: true or false is allowed"),
        ("add", "centred", "true", "add has no parameter centred; it has T, radius, input_scale"),
        ("add", "alphabet", "2", "add has no parameter alphabet"),
    ],
)
def test_what_cannot_be_set_is_refused_in_words(name: str, key: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PROBLEMS[name]("quick", **{key: value})


@every_task
@pytest.mark.parametrize("radius", [0.5, 1.1, 3.0])
def test_initialisation_is_the_published_one(name: str, radius: float) -> None:
    problem = PROBLEMS[name]("quick", radius=radius)
    views = problem.layout.views(problem.initialize(np.random.default_rng(int(10 * radius))))
    hidden = views["Wh"].numpy()
    assert (np.count_nonzero(hidden, 0) == 15).all()
    # By Arnoldi iteration, where the code has LAPACK's eigenvalues.
    largest = scipy.sparse.linalg.eigs(hidden, k=6, which="LM", return_eigenvectors=False)
    assert np.abs(largest).max() == pytest.approx(radius, abs=1e-5)
    scale = 0.001 if name in ("add", "mul") else 0.1
    for key, expected in (("Wx", scale), ("Wo", 0.1)):
        close = 5 / (2 * views[key].numel()) ** 0.5
        assert views[key].std().item() == pytest.approx(expected, rel=close)
    assert not views["bh"].any()
    assert not views["h0"].any()


@every_task
def test_the_output_bias_is_where_the_constant_output_is_the_average_target(name: str) -> None:
    problem = PROBLEMS[name]("quick")
    start = problem.layout.views(problem.initialize(np.random.default_rng(0)))["bo"]
    targets = problem.data(DataSource(())).train_targets.astype(np.float64)
    average = targets.reshape(-1, targets.shape[-1]).mean(0)
    sampling = 5 * 0.5 / len(targets) ** 0.5
    assert np.abs(problem.outputs(start).numpy() - average).max() < sampling
    without = PROBLEMS[name]("quick", centred_outputs=False)
    theta = without.initialize(np.random.default_rng(0))
    assert not without.layout.views(theta)["bo"].any()


def test_centred_outputs_are_targets_less_their_mean() -> None:
    """A bias that starts at the mean has the gradient of centred targets and a bias of 0."""
    centred = PROBLEMS["mul"]("quick")
    plain = PROBLEMS["mul"]("quick", centred_outputs=False)
    x, t = cases(centred, 8)
    gradients = []
    for problem, targets in ((centred, t), (plain, t - 0.25)):
        theta = problem.initialize(np.random.default_rng(0))[None]
        gradients.append(torch.zeros_like(theta))
        problem.passes().gradient(theta, x, targets, gradients[-1])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


def test_scoring_is_by_the_rule_of_four_hundredths() -> None:
    for name in ("add", "mul"):
        problem = PROBLEMS[name]("quick")
        z = torch.tensor([[[0.5], [0.5401], [0.5399], [0.4599]]], dtype=torch.float64)
        wrong = problem.metric.per_case(z, torch.full_like(z, 0.5))
        assert wrong.tolist() == [[0, 1, 0, 1]]


def test_memory_counts_wrong_recalled_symbols_and_no_others() -> None:
    problem = PROBLEMS["mem20"]("quick")
    _, targets = cases(problem, 3)
    z = targets.clone()
    z[:, 0, :20] = z[:, 0, :20].roll(1, -1)
    z[:, 1, -10:-7] = z[:, 1, -10:-7].roll(1, -1)
    z[:, 2, -10:] = torch.tensor([0, 0, 0, 0, 0, 1.0])
    assert problem.metric.name == "wrong_symbols"
    assert problem.metric.per_case(z, targets).tolist() == [[0, 3, 10]]


def test_the_others_count_wrong_classes() -> None:
    for name in ("xor", "order2", "order3", "permutation"):
        problem = PROBLEMS[name]("quick")
        _, targets = cases(problem, 40)
        z = 4 * targets - 2
        z[:, :10] = -z[:, :10]
        assert problem.metric.per_case(z, targets)[0, :10].mean() == 1
        assert not problem.metric.per_case(z, targets)[0, 10:].any()


@pytest.mark.parametrize(
    ("name", "expected", "deviation"),
    [
        # P(|(u + v)/2 − ½| > 0.04), and P(|uv − ¼| > 0.04) by P(uv < x) = x(1 − ln x).
        ("add", 0.92**2, 0.5),
        ("mul", 1 - (0.29 * (1 - np.log(0.29)) - 0.21 * (1 - np.log(0.21))), 0.5),
        ("xor", 0.5, 0.5),
        ("mem5", 2.5, (5 / 4) ** 0.5),
        ("mem20", 8.0, (10 * 0.16) ** 0.5),
        ("order2", 0.75, 0.5),
        ("order3", 0.875, 0.5),
        ("permutation", 0.5, 0.5),
    ],
)
def test_what_biases_alone_reach_is_computed(name: str, expected: float, deviation: float) -> None:
    problem = PROBLEMS[name]("quick")
    data = problem.data(DataSource(()))
    close = 4 * deviation / len(data.test_targets) ** 0.5
    assert biases_only(problem, data) == pytest.approx(expected, abs=close)


def cases(problem: SequenceProblem, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = problem.task.draw(np.random.default_rng(1), count)
    return torch.from_numpy(inputs).double()[None], torch.from_numpy(targets).double()[None]


@every_task
def test_passes_compute_the_plain_model(name: str) -> None:
    problem = PROBLEMS[name]("quick")
    theta = problem.initialize(np.random.default_rng(0)).repeat(2, 1)
    theta[1] *= 0.9
    x, t = cases(problem, 4)
    by_hand, plain = problem.passes(), AutodiffPasses(problem)
    z = problem.logits(problem.layout.views(theta), x)
    assert z.shape == (2, *t.shape[1:])
    torch.testing.assert_close(by_hand.logits(theta, x), z, rtol=1e-11, atol=1e-12)
    one, other = torch.zeros_like(theta), torch.zeros_like(theta)
    by_hand.gradient(theta, x, t, one)
    plain.gradient(theta, x, t, other)
    assert (one - other).norm() <= 1e-11 * other.norm()
    squares = [passes.squared_gradient(theta, x, t) for passes in (by_hand, plain)]
    torch.testing.assert_close(*squares, rtol=1e-9, atol=1e-18)
    v = problem.initialize(np.random.default_rng(2)).repeat(2, 1)
    for structural in (None, 0.1):
        product, oracle = (p.curvature(theta, x, t, structural)(v) for p in (by_hand, plain))
        assert (product - oracle).norm() <= 1e-11 * oracle.norm()
