"""Every comparison tries the quick laws on optimizers of somebody's own, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harness.comparison import method_laws
from bench.harness.comparison.compare import compare
from bench.harness.comparison.method_laws import law_notes
from bench.optim.registry import resolve
from tests.harness.small import request


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path))


class Zeroed:
    """Reports a loss that the objective has not returned."""

    name, reference, backends, fleet_key, space = "zeroed", "a test", ("torch",), None, ()
    cost_of_a_step = 20.0

    def __init__(self, backend="torch", **given):
        self.backend, self.hyperparameters = backend, {}

    def init(self, theta, seed, budget):
        return None

    def step(self, theta, objective, state):
        loss, gradient = objective.gradient(theta, on=objective.next_batch(20))
        theta.sub_(gradient, alpha=0.05)
        return {"loss": 0 * loss}

    def iterate(self, theta, state):
        return theta

    def state_dict(self, state):
        return {}

    def load_state_dict(self, state, saved):
        assert saved == {}


def test_a_broken_law_is_named_and_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = law_notes([Zeroed(), Zeroed()])
    assert note.startswith("zeroed breaks 1 of the ")
    assert "reports the loss" in note

    def again(make: object) -> None:
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(method_laws, "quick_laws", again)
    assert law_notes([Zeroed()]) == [note]


def test_built_in_methods_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_laws, "quick_laws", None)
    assert law_notes([resolve("nag"), resolve("torch.optim.AdamW"), resolve("hf")]) == []


@pytest.mark.parametrize("text", ["", "{", "3", '["no law"]'])
def test_a_damaged_cache_is_tried_anew(text: str, tmp_path: Path) -> None:
    (note,) = law_notes([Zeroed()])
    (file,) = (tmp_path / "laws").iterdir()
    file.write_text(text)
    assert law_notes([Zeroed()]) == [note]


def test_it_stands_beside_the_verdict(store_url: str) -> None:
    found = compare(request(store_url, f"nag[batch=20],{__name__}:Zeroed", budget="updates=5"))
    assert found is not None
    assert any(note.startswith("zeroed breaks") for note in found["notes"])
