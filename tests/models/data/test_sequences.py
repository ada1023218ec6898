"""Every task restated in words of its own, case by case, and what all tasks have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats

from bench.models.data.sequences import Task
from bench.models.problem import DataSource
from bench.models.recurrent import SequenceProblem
from bench.models.recurrent_tasks import KINDS

CASES = 3_000
CHANCE = 1e-4
"""A statistic that is less likely than this is no accident; the seeds are fixed."""

every_task = pytest.mark.parametrize("name", KINDS)


def task(name: str, length: int, centred: bool = False) -> Task:
    return SequenceProblem(name, "quick", T=length, centred_inputs=centred).task


def lengths(name: str) -> list[int]:
    return [KINDS[name].shortest, 47, KINDS[name].presets["paper"].length]


def uniform(found: Sequence[int], low: int, high: int) -> None:
    """See that whole numbers are uniform from `low` to `high`, both included."""
    counts = Counter(found)
    assert set(counts) <= set(range(low, high + 1))
    if low < high:
        observed = [counts[each] for each in range(low, high + 1)]
        assert scipy.stats.chisquare(observed).pvalue > CHANCE


def sequence(case: np.ndarray) -> np.ndarray:
    """The steps up to the one that the last channel marks, without that channel."""
    (end,) = np.flatnonzero(case[:, -1])
    assert case[end, -1] == 1
    assert not case[end + 1 :].any()
    return case[: end + 1, :-1]


def symbols(steps: np.ndarray) -> list[int]:
    """One-hot steps as the numbers of their symbols."""
    assert set(np.unique(steps)) <= {0, 1}
    assert (steps.sum(1) == 1).all()
    return [int(np.flatnonzero(step)[0]) for step in steps]


@pytest.mark.parametrize(
    ("name", "asked", "within"),
    [
        ("add", lambda u, v: (u + v) / 2, 0.0),
        # Rounded to a multiple of 2⁻¹⁶.
        ("mul", lambda u, v: u * v, 2.0**-17),
        ("xor", lambda u, v: (u + v) % 2, 0.0),
    ],
)
@pytest.mark.parametrize("which", range(3))
def test_two_marked_values(
    name: str, asked: Callable[[float, float], float], within: float, which: int
) -> None:
    """T' from T to 1.1 T; one mark in the first tenth, one after it in the first half."""
    length = lengths(name)[which]
    inputs, targets = task(name, length).draw(np.random.default_rng(1), CASES)
    every, places, values = [], [], []
    for case, (target,) in zip(inputs.astype(float), targets, strict=True):
        steps = sequence(case)
        total = len(steps)
        assert 10 * length <= 10 * total <= 11 * length
        # The I-th and the J-th step, I ≤ T'/10 < J ≤ T'/2.
        i, j = np.flatnonzero(steps[:, 1]) + 1
        assert 10 * i <= total and 10 * j > total - total % 10 and 2 * j <= total
        assert steps[i - 1, 1] == steps[j - 1, 1] == 1
        u, v = steps[i - 1, 0], steps[j - 1, 0]
        assert abs(target - asked(u, v)) <= within
        every.append(total)
        places.append((total, i, j))
        values += [u, v]
    uniform(every, length, 11 * length // 10)
    for total in set(every):
        firsts, seconds = zip(*((i, j) for t, i, j in places if t == total), strict=True)
        uniform(firsts, 1, total // 10)
        uniform(seconds, total // 10 + 1, total // 2)
    if name == "xor":
        uniform([int(value) for value in values], 0, 1)
    else:
        assert scipy.stats.kstest(values, "uniform").pvalue > CHANCE
        assert 0 <= min(values) < max(values) < 1


@pytest.mark.parametrize(("name", "count", "alphabet"), [("mem5", 5, 2), ("mem20", 10, 5)])
@pytest.mark.parametrize("which", range(3))
def test_memory(name: str, count: int, alphabet: int, which: int) -> None:
    """n symbols; blanks until T + n steps are over, the last of them the trigger; n blanks.

    T + 2n steps, asked for: T + n blanks, then the n symbols.
    """
    length = lengths(name)[which]
    inputs, targets = task(name, length).draw(np.random.default_rng(1), CASES // 3)
    blank, trigger = alphabet, alphabet + 1
    everything = []
    for case, wanted in zip(inputs, targets, strict=True):
        seen, asked = symbols(case), symbols(wanted)
        shown = seen[:count]
        assert seen == [*shown, *[blank] * (length - 1), trigger, *[blank] * count]
        assert asked == [*[blank] * (length + count), *shown]
        everything.append(shown)
    assert inputs.shape[1:] == (length + 2 * count, alphabet + 2)
    for place in zip(*everything, strict=True):
        uniform(place, 0, alphabet - 1)


@pytest.mark.parametrize(
    ("name", "windows"),
    [("order2", [(0.1, 0.2), (0.5, 0.6)]), ("order3", [(0.1, 0.2), (0.33, 0.43), (0.66, 0.76)])],
)
@pytest.mark.parametrize("which", range(3))
def test_temporal_order(name: str, windows: list[tuple[float, float]], which: int) -> None:
    """E, then distractors among which each window of T holds an X or a Y, then B."""
    length = lengths(name)[which]
    inputs, targets = task(name, length).draw(np.random.default_rng(1), CASES)
    every, places, classes, others = [], [], [], []
    for case, target in zip(inputs, targets, strict=True):
        text = "".join("abcdXYEB"[symbol] for symbol in symbols(sequence(case)))
        assert text[0] == "E" and text[-1] == "B"
        at = [step for step, symbol in enumerate(text) if symbol in "XY"]
        for step, (low, high) in zip(at, windows, strict=True):
            assert int(low * length + 1e-9) <= step <= int(high * length + 1e-9)
        order = "".join(text[step] for step in at)
        assert target[int(order.translate(str.maketrans("XY", "01")), 2)] == target.sum() == 1
        rest = [symbol for symbol in text[1:-1] if symbol not in "XY"]
        assert len(rest) == len(text) - 2 - len(windows)
        every.append(len(text))
        places.append(at)
        classes.append(int(target.argmax()))
        others += ["abcd".index(symbol) for symbol in rest]
    uniform(every, length, 11 * length // 10)
    uniform(classes, 0, 2 ** len(windows) - 1)
    uniform(others, 0, 3)
    for column, (low, high) in zip(zip(*places, strict=True), windows, strict=True):
        uniform(column, int(low * length + 1e-9), int(high * length + 1e-9))


@pytest.mark.parametrize("which", range(3))
def test_permutation(which: int) -> None:
    """One of two symbols, then the other 98 in random order, over again where T is longer."""
    length = lengths("permutation")[which]
    inputs, targets = task("permutation", length).draw(np.random.default_rng(1), CASES // 3)
    firsts, seconds = [], []
    for case, target in zip(inputs, targets, strict=True):
        first, *rest = symbols(sequence(case))
        assert target.tolist() == [first == 0, first == 1]
        assert len(rest) == length - 1
        for start in range(0, len(rest), 98):
            part = rest[start : start + 98]
            assert len(set(part)) == len(part) and set(part) <= set(range(2, 100))
        firsts.append(first)
        seconds.append(rest[0])
    uniform(firsts, 0, 1)
    uniform(seconds, 2, 99)


@every_task
@pytest.mark.parametrize("which", range(2))
def test_the_expected_mean_of_every_channel_is_0(name: str, which: int) -> None:
    """Over all steps up to the ends: the expected sum over a sequence is 0.

    What is taken away is rounded to a multiple of 2⁻¹⁶.
    """
    of = task(name, lengths(name)[which], centred=True)
    inputs, targets = of.draw(np.random.default_rng(2), CASES)
    sums = inputs[..., : of.features].astype(float).sum(1)
    error = sums.std(0) / CASES**0.5
    assert (np.abs(sums.mean(0)) <= 5 * error + of.steps * 2.0**-16).all()
    asked = targets.astype(float).reshape(CASES, -1, of.outputs).mean(1)
    error = asked.std(0) / CASES**0.5
    assert (np.abs(asked.mean(0) - of.mean_target) <= 5 * error + 1e-12).all()


DIGESTS = {
    "add": "fe43fd1c1d202cf24ac3bc80c8392b8b5e9c455429aead7720f9dadb21a72803",
    "mul": "ed6d14c690af4d7e806185a95ccaa8dbe447d7091d9f58087a56ca86d3258134",
    "xor": "1411e3c3ed4f83b90b897784b90283298db65216c5b9edb1a1aa1f07f412a369",
    "mem5": "bc3bffe94522c9285092f95a95fc18b316f37552b62e5b62065150e8e764995f",
    "mem20": "76aad202ae1c5d99fd5df1a341d257f20f5ed43d1453fd00e2b8c406733147cb",
    "order2": "5efb4ebb73c23893584e881414066568aaa93702613b95ca53698aeb1d7987c0",
    "order3": "d9d8fbb5146d2e5d958b080eaab36f0b9cccedbadfa4b1fc401a0f336e736f6d",
    "permutation": "67bd866c4c073f0c397d244eb3a9b88dce6bd7d7b7042046dcbe1e9937b7ab9a",
}


@every_task
def test_what_trials_are_evaluated_on_is_fixed(name: str) -> None:
    """Change it together with RECIPE, or results before and after would be taken for comparable."""
    data = SequenceProblem(name, "quick").data(DataSource(()))
    assert data.digest == DIGESTS[name]
