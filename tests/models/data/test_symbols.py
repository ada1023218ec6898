"""Sequences of symbols, read back step by step against what each task says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from bench.models.data.sequences import Task, data
from bench.models.data.symbols import Memory, Permutation, Symbols, TemporalOrder
from bench.models.recurrent_tasks import WINDOWS

CASES = 400
TASKS = [
    Memory(12, True, 5, 2),
    Memory(1, True, 10, 5),
    TemporalOrder(30, True, WINDOWS[2]),
    TemporalOrder(10, True, WINDOWS[3]),
    Permutation(25, True, 100),
    Permutation(25, True, 8),
]


def plain(task: Symbols) -> Symbols:
    """The same without centring."""
    return type(task)(**{**vars(task), "centred": False})


def drawn(task: Task, cases: int = CASES) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = task.draw(np.random.default_rng(11), cases)
    assert inputs.dtype == targets.dtype == np.float32
    extra = 0 if task.every_step else 1
    assert inputs.shape == (cases, task.steps, task.features + extra)
    assert targets.shape == ((cases, task.steps) if task.every_step else (cases,)) + (task.outputs,)
    assert (targets.sum(-1) == 1).all()
    return inputs, targets


@pytest.mark.parametrize(("n", "alphabet", "length"), [(5, 2, 12), (10, 5, 30), (5, 2, 1)])
def test_memory_asks_for_the_same_symbols_after_the_trigger(
    n: int, alphabet: int, length: int
) -> None:
    inputs, targets = drawn(Memory(length, False, n, alphabet))
    assert inputs.shape[1] == length + 2 * n
    assert set(np.unique(inputs)) == {0.0, 1.0}
    blank, trigger = alphabet, alphabet + 1
    for seen, asked in zip(inputs.argmax(-1), targets.argmax(-1), strict=True):
        symbols = seen[:n]
        assert (symbols < alphabet).all()
        assert (seen[n : n + length - 1] == blank).all()
        assert seen[n + length - 1] == trigger
        assert (seen[n + length :] == blank).all()
        assert (asked[: n + length] == blank).all()
        assert np.array_equal(asked[n + length :], symbols)
    counts = np.bincount(inputs.argmax(-1)[:, :n].ravel(), minlength=alphabet)
    expected = CASES * n / alphabet
    assert (np.abs(counts - expected) < 5 * expected**0.5).all()


@pytest.mark.parametrize("relevant", [2, 3])
@pytest.mark.parametrize("length", [10, 33, 100])
def test_order_asks_for_the_class_of_what_the_windows_hold(relevant: int, length: int) -> None:
    task = TemporalOrder(length, False, WINDOWS[relevant])
    inputs, targets = drawn(task)
    assert task.outputs == 2**relevant
    ends = inputs[..., -1].argmax(1)
    assert set(ends + 1) == set(range(length, length + length // 10 + 1))
    for case, end, target in zip(inputs[..., :-1], ends, targets.argmax(-1), strict=True):
        assert not case[end + 1 :].any()
        seen = case[: end + 1].argmax(-1)
        assert (seen[0], seen[end]) == (6, 7)
        at = np.flatnonzero((seen == 4) | (seen == 5))
        assert len(at) == relevant
        for step, (low, high) in zip(at, WINDOWS[relevant], strict=True):
            assert length * low // 100 <= step <= length * high // 100
        bits = "".join("01"[symbol - 4] for symbol in seen[at])
        assert target == int(bits, 2)
        others = np.delete(seen, [0, end, *at])
        assert (others < 4).all()
    counts = np.bincount(targets.argmax(-1), minlength=2**relevant)
    assert (np.abs(counts - CASES / 2**relevant) < 5 * (CASES / 2**relevant) ** 0.5).all()


def test_the_windows_at_a_hundred_steps_are_the_published_ones() -> None:
    assert WINDOWS == {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}


@pytest.mark.parametrize(("length", "alphabet"), [(25, 100), (25, 8), (99, 100)])
def test_permutation_shows_no_other_symbol_twice_in_a_round(length: int, alphabet: int) -> None:
    inputs, targets = drawn(Permutation(length, False, alphabet))
    assert (inputs[..., -1].argmax(1) == length - 1).all()
    for seen, target in zip(inputs[..., :-1].argmax(-1), targets.argmax(-1), strict=True):
        assert seen[0] == target
        rest = seen[1:]
        assert (rest >= 2).all()
        for start in range(0, len(rest), alphabet - 2):
            part = rest[start : start + alphabet - 2]
            assert len(set(part)) == len(part)
    assert abs(targets[:, 0].mean() - 0.5) < 5 * 0.5 / CASES**0.5
    assert len(np.unique(inputs.argmax(-1), axis=0)) == CASES


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_frequencies_are_those_of_the_sequences(task: Symbols) -> None:
    inputs, targets = drawn(plain(task), 4_000)
    shown = inputs[..., : task.features].sum((0, 1)) / inputs[..., : task.features].sum()
    assert task.frequencies.sum() == pytest.approx(1)
    assert np.abs(shown - task.frequencies).max() < 5 * 0.5 / 4_000**0.5
    asked = targets.reshape(-1, task.outputs).mean(0)
    assert task.mean_target.sum() == pytest.approx(1)
    assert np.abs(asked - task.mean_target).max() < 5 * 0.5 / 4_000**0.5


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_centring_takes_each_symbols_frequency_away(task: Symbols) -> None:
    (centred, targets), (inputs, same) = drawn(task), drawn(plain(task))
    assert np.array_equal(targets, same)
    symbols = inputs[..., : task.features]
    within = symbols.any(-1)
    taken = (symbols - centred[..., : task.features])[within]
    assert np.abs(taken - task.frequencies).max() <= 2.0**-16
    assert not centred[~within].any()
    scaled = centred.astype(np.float64) * 2**16
    assert (scaled == np.round(scaled)).all()


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_evaluation_sets_are_fixed(task: Symbols) -> None:
    assert data("one", task, 20).digest == data("one", task, 20).digest
    assert data("one", task, 20).digest != data("one", plain(task), 20).digest
