"""The command that runs the benchmarks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import render, start
from benchmarks.figures import Part, figure
from benchmarks.run import ON_GPU, PARTS, main


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page and a folder of results of the test's own, and a part that takes no time."""
    monkeypatch.setattr(render, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(render, "PAGE", tmp_path / "RESULTS.md")
    part = Part("Start", [figure("c", ("a", [1.0]), ("b", [2.0]))], ["Quick."])
    monkeypatch.setattr(start, "measure", lambda smoke, device: part)
    return tmp_path


def test_a_run_writes_json_and_the_page(results: Path) -> None:
    done = CliRunner().invoke(main, ["start"], catch_exceptions=False)
    assert done.exit_code == 0 and "**0.5**" in done.stdout
    assert [path.name for path in (results / "results").iterdir()] == ["start.json"]
    assert "**0.5**" in (results / "RESULTS.md").read_text()


def test_smoke_writes_nothing(results: Path) -> None:
    done = CliRunner().invoke(main, ["--smoke", "start"], catch_exceptions=False)
    assert done.exit_code == 0 and "**0.5**" in done.stdout
    assert list(results.iterdir()) == []


def test_gpu_without_cuda_says_so_and_ends_well(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(main, ["--gpu"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "no CUDA device" in done.stdout
    assert list(results.iterdir()) == []


def test_an_unknown_part_is_a_usage_error(results: Path) -> None:
    done = CliRunner().invoke(main, ["rowz"])
    assert done.exit_code == 2 and "'rowz' is not one of" in done.stderr


def test_every_part_has_its_module_and_its_sections() -> None:
    for module in PARTS.values():
        assert callable(import_module(f"benchmarks.{module}").measure)
    assert {*PARTS, *(f"{name}_cuda" for name in ON_GPU)} <= render.SECTIONS.keys()
    assert set(ON_GPU) <= PARTS.keys()
