"""What tests of benchmarks share: graphs without a GPU, and tables small enough to be trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks.paper.grids import TABLES
from tests.harness.conftest import taped as taped


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A benchmark sets torch's threads for its process; the next test has them as before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One learning rate and one seed of each column, on batches of 5."""
    for number, table in TABLES.items():
        small = replace(table, lrs=table.lrs[-1:], seeds=(0,), batch=5)
        monkeypatch.setitem(TABLES, number, small)
