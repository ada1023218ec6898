"""Which memory is kept, and for how long."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from bench.models.workspace import KEPT, Workspace

LIKE = torch.zeros(1, dtype=torch.float64)


def take(workspace: Workspace, size: int, role: str = "forward") -> Tensor:
    (memory,) = workspace.take(role, ((size, 2),), LIKE)
    assert memory.shape == (size, 2)
    assert memory.dtype == LIKE.dtype
    return memory


def test_one_shape_has_one_memory_in_each_role() -> None:
    workspace = Workspace()
    first = take(workspace, 3)
    assert take(workspace, 3) is first
    assert take(workspace, 4) is not first
    assert take(workspace, 3, "back") is not first
    assert take(workspace, 3) is first


def test_only_the_last_few_shapes_of_a_role_are_kept() -> None:
    workspace = Workspace()
    other = take(workspace, 1, "back")
    kept = [weakref.ref(take(workspace, size)) for size in range(KEPT)]
    assert all(each() is not None for each in kept)
    take(workspace, KEPT)
    assert kept[0]() is None
    assert all(each() is not None for each in kept[1:])
    assert take(workspace, 1, "back") is other


def test_memory_that_a_graph_was_captured_with_is_never_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = Workspace()
    before = take(workspace, 100)
    with monkeypatch.context() as while_capturing:
        while_capturing.setattr("bench.models.workspace._capturing", lambda like: True)
        captured = [take(workspace, 100), take(workspace, 200)]
    assert captured[0] is before
    for size in range(3 * KEPT):
        take(workspace, size)
    assert take(workspace, 100) is captured[0]
    assert take(workspace, 200) is captured[1]
