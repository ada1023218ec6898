"""What identifies a machine, a process and a source."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from bench.harness.core import context as context_module
from bench.harness.core.context import context, info
from bench.harness.core.errors import Usage
from bench.harness.core.sources import source_digest
from bench.harness.core.spec import canonical_json, key_of
from bench.models.problem import Problem
from bench.optim.hyperparameters import Hyperparameter


def test_the_context_tells_what_may_change_a_time() -> None:
    given = (torch.device("cpu"), 2, "fp32", 1, 4, 0)
    found = context(*given)
    assert found["device"]["kind"] == "cpu" and found["device"]["name"]
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["torch"] == torch.__version__
    assert found["device"]["cores"] and found["flags"]["vector_instructions"]
    assert {"torch", "numpy", "numba", "bench"} < found["versions"].keys()
    assert (found["threads"], found["world_size"], found["fleet_rows"]) == (2, 1, 4)
    assert key_of(found) == key_of(context(*given))
    for i, other in ((1, 1), (2, "fp64"), (3, 2), (4, 1), (5, 1)):
        assert key_of(context(*given[:i], other, *given[i + 1 :])) != key_of(found)


def test_the_settings_that_decide_how_numbers_are_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_float32_matmul_precision()
    found = []
    try:
        for precision, deterministic in (("highest", False), ("high", False), ("highest", True)):
            torch.set_float32_matmul_precision(precision)
            torch.use_deterministic_algorithms(deterministic)
            found.append(context(torch.device("cpu"), 1, "fp32", 1, 1, 0))
            flags = found[-1]["flags"]
            assert flags["float32_matmul_precision"] == precision
            assert flags["deterministic_algorithms"] == deterministic
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision(before)
    assert len({key_of(each) for each in found}) == 3


def test_settings_that_are_not_as_usual_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def flags() -> dict[str, object]:
        return dict(context(torch.device("cpu"), 1, "fp32", 1, 1, 0)["flags"])

    def products(available: bool, enabled: bool, strategy: str | None) -> None:
        there = SimpleNamespace(is_available=lambda: available, enabled=enabled, strategy=strategy)
        monkeypatch.setattr(torch.backends, "opt_einsum", there)

    products(False, False, None)
    usual = flags()
    assert usual.keys() == {
        "float32_matmul_precision",
        "deterministic_algorithms",
        "vector_instructions",
    }
    version = context_module._version("opt_einsum")
    for strategy in ("auto", "optimal"):
        products(True, True, strategy)
        assert flags() == {**usual, "opt_einsum": f"{version} {strategy}"}
    products(True, False, "auto")
    assert flags() == usual
    before = torch.backends.mkldnn.enabled
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_flush_denormal(True)
        torch.backends.mkldnn.enabled = False
        assert flags() == {
            **usual,
            "default_dtype": "float64",
            "flush_denormal": True,
            "mkldnn": False,
        }
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(False)
        torch.backends.mkldnn.enabled = before
    assert flags() == usual


def test_info_has_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "--store=postgresql://me:secret@host/db"])
    found = info()
    assert found["argv"] == ["bench", "--store=postgresql://me:***@host/db"]
    assert found["path"] == str(tmp_path) and found["host"]
    assert "secret" not in canonical_json(found)


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_edited_file_is_another_source(tmp_path: Path) -> None:
    text = "class Mine:\n    def step(self):\n        return {{}}, {}\n"
    (tmp_path / "a").mkdir()
    one, other = tmp_path / "mine.py", tmp_path / "a" / "mine.py"
    one.write_text(text.format(1))
    other.write_text(text.format(1))
    first = source_digest(load(one, "unregistered").Mine)
    assert len(first) == 64
    assert source_digest(load(other, "elsewhere").Mine()) == first
    assert source_digest(load(one, "unregistered")) == first
    one.write_text(text.format(2))
    assert source_digest(load(one, "unregistered").Mine) != first


def test_built_in_sources_are_their_whole_package() -> None:
    import bench.models.losses

    assert source_digest(Problem) == source_digest(bench.models.losses)
    assert source_digest(Problem) != source_digest(Hyperparameter)
    both = source_digest(Hyperparameter, Problem)
    assert both == source_digest(Problem, Hyperparameter, Problem)

    class Derived(Problem):
        pass

    assert source_digest(Derived) not in (source_digest(Problem), both)


def test_a_source_that_cannot_be_found() -> None:
    with pytest.raises(Usage, match="define it in a .py file"):
        source_digest(type("Made", (), {"__module__": "nowhere"}))
