"""Two marked values: lengths, markers, targets, centring, and that all of it is exact."""

from __future__ import annotations

import numpy as np
import pytest

from bench.models.data.marked import Adding, Marked, Multiplying, Xor
from bench.models.data.sequences import RESOLUTION, data


@pytest.fixture(params=[20, 30, 80], ids="T={}".format)
def drawn(request: pytest.FixtureRequest) -> tuple[Adding, np.ndarray, np.ndarray]:
    task = Adding(request.param, True)
    return task, *task.draw(np.random.default_rng(3), 4_000)


def test_lengths_are_uniform_from_t_to_a_tenth_more(
    drawn: tuple[Adding, np.ndarray, np.ndarray],
) -> None:
    task, inputs, _ = drawn
    assert inputs.shape == (4_000, task.steps, 3)
    assert task.steps == task.length + task.length // 10
    ends = inputs[..., 2]
    assert set(np.unique(ends)) == {0.0, 1.0}
    assert (ends.sum(1) == 1).all()
    lengths, counts = np.unique(ends.argmax(1) + 1, return_counts=True)
    assert list(lengths) == list(range(task.length, task.steps + 1))
    expected = 4_000 / len(lengths)
    assert (np.abs(counts - expected) < 5 * expected**0.5).all()
    beyond = np.arange(task.steps) > ends.argmax(1)[:, None]
    assert not inputs[beyond].any()


def test_the_target_is_half_the_sum_of_the_marked_values(
    drawn: tuple[Adding, np.ndarray, np.ndarray],
) -> None:
    _, inputs, targets = drawn
    low = inputs[0, 0, 1].min() if inputs[0, 0, 1] < 0.5 else inputs[0, 0, 1] - 1
    for case, (target,) in zip(inputs[:500], targets[:500], strict=True):
        length = int(case[:, 2].argmax()) + 1
        marked = np.flatnonzero(case[:length, 1] > 0.5)
        first, second = marked
        assert 0 <= first < length // 10 <= second < length // 2
        assert target == (case[first, 0] + case[second, 0] + 1) / 2
        rest = np.setdiff1d(np.arange(length), marked)
        assert (case[rest, 1] == low).all()
        assert (case[marked, 1] == low + 1).all()


def test_values_are_exact_in_float32_and_inputs_are_centred(
    drawn: tuple[Adding, np.ndarray, np.ndarray],
) -> None:
    _, inputs, targets = drawn
    assert inputs.dtype == targets.dtype == np.float32
    for array in (inputs, targets):
        scaled = array.astype(np.float64) * 2 * RESOLUTION
        assert (scaled == np.round(scaled)).all()
    within = np.arange(inputs.shape[1]) <= inputs[..., 2].argmax(1)[:, None]
    steps = within.sum()
    assert abs(inputs[..., 0][within].mean()) < 5 / (12 * steps) ** 0.5
    assert abs(inputs[..., 1][within].mean()) < 2e-3
    assert abs(targets.mean() - 0.5) < 5 * targets.std() / len(targets) ** 0.5


def test_a_constant_guess_errs_on_the_published_share() -> None:
    """P(|½(u₁ + u₂) − ½| > 0.04) = (1 − 0.08)² = 0.8464."""
    _, targets = Adding(80, True).draw(np.random.default_rng(0), 40_000)
    wrong = (np.abs(targets - 0.5) > 0.04).mean()
    assert wrong == pytest.approx(0.8464, abs=5 * (0.8464 * 0.1536 / 40_000) ** 0.5)


def test_the_evaluation_sets_are_fixed() -> None:
    found = data("adding", Adding(30, True), 50)
    assert found.digest == "6291345835e108d5b4966a370d35bcac81f25fb1e31f40e08b719c44e17583a1"
    again = data("adding", Adding(30, True), 50)
    assert np.array_equal(found.train_inputs, again.train_inputs)
    assert not np.array_equal(found.train_inputs, found.test_inputs)
    assert data("adding", Adding(31, True), 50).digest != found.digest


@pytest.mark.parametrize("task", [Adding(20, False), Multiplying(20, False), Xor(20, False)])
def test_the_target_is_what_is_asked_of_the_marked_values(task: Marked) -> None:
    """Without centring the inputs are the values and the markers themselves."""
    inputs, targets = task.draw(np.random.default_rng(7), 300)
    for case, (target,) in zip(inputs.astype(np.float64), targets, strict=True):
        (first, one), (second, other) = case[case[:, 1] != 0, :2]
        assert one == other == 1
        if isinstance(task, Xor):
            assert {first, second} <= {0, 1}
            assert target == (first != second)
        elif isinstance(task, Multiplying):
            assert abs(target - first * second) <= 0.5 / RESOLUTION
            assert target * RESOLUTION == round(target * RESOLUTION)
        else:
            assert target == (first + second) / 2
    values = inputs[..., 0][inputs[..., 1] != 0]
    assert abs(values.mean() - 0.5) < 5 * 0.5 / len(values) ** 0.5
    assert abs(targets.mean() - task.mean_target) < 5 * 0.5 / len(targets) ** 0.5


@pytest.mark.parametrize("of", [Adding, Multiplying, Xor])
def test_centring_takes_the_same_from_every_step_up_to_the_end(of: type[Marked]) -> None:
    centred, plain = (of(40, c).draw(np.random.default_rng(1), 50) for c in (True, False))
    assert np.array_equal(centred[1], plain[1])
    assert np.array_equal(centred[0][..., 2], plain[0][..., 2])
    within = np.arange(44) <= plain[0][..., 2].argmax(1)[:, None]
    taken = (plain[0] - centred[0])[within]
    assert len(np.unique(taken, axis=0)) == 1
    assert not centred[0][~within].any()
