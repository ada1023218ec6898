"""Fingerprints: equal for equal bits, also in copies of objects that say nothing of themselves."""

import copy
import math
from typing import Any

import torch

from bench.harness.training.method_contract import fingerprint


class Preconditioner:
    """What an optimizer of somebody's own may keep in its state."""

    def __init__(self, value: float) -> None:
        self.statistics = [torch.full((3, 3), value)]
        self.inner: Any = None


def test_a_copy_of_an_object_has_its_fingerprint() -> None:
    state = {"preconditioner": Preconditioner(math.nan), "step": 1}
    state["preconditioner"].inner = Preconditioner(2.0)  # type: ignore[attr-defined]
    before = fingerprint(state)
    assert fingerprint(copy.deepcopy(state)) == before
    other = copy.deepcopy(state)
    other["preconditioner"].inner.statistics[0][1, 2] = 3.0  # type: ignore[attr-defined]
    assert fingerprint(other) != before


def test_objects_that_hold_each_other_have_one() -> None:
    one, other = Preconditioner(1.0), Preconditioner(2.0)
    one.inner, other.inner = other, one
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    assert fingerprint(one) != fingerprint(other)


def test_other_values_are_told_apart_by_their_text() -> None:
    assert fingerprint({"a": 1.0, "b": (1, None)}) == fingerprint({"a": 1.0, "b": (1, None)})
    assert fingerprint(math.nan) == fingerprint(float("nan"))
    assert fingerprint(1) != fingerprint(1.0)
