"""The command that runs the benchmarks."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import render, run, start
from benchmarks.figures import Part, figure
from benchmarks.run import GPU_ONLY, ON_GPU, PARTS, main
from benchmarks.updates import rows

ROOT = Path(__file__).parents[2]


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


def test_without_a_gpu_the_other_parts_are_run_and_it_is_said(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(run, "_run", lambda name, smoke, device: ran.append(name) or True)
    done = CliRunner().invoke(main, [], catch_exceptions=False)
    assert done.exit_code == 0 and set(ran) == PARTS.keys() - set(GPU_ONLY)
    assert "need a CUDA device and --gpu: momentum, mnist, add, projection." in done.stdout
    ran.clear()
    CliRunner().invoke(main, ["--smoke"], catch_exceptions=False)
    assert set(ran) == PARTS.keys()


def test_a_part_for_a_gpu_is_refused_without_one(results: Path) -> None:
    done = CliRunner().invoke(main, ["start", "mnist"])
    assert done.exit_code == 2 and "mnist: only on a CUDA device; add --gpu" in done.stderr
    assert list(results.iterdir()) == []


def test_a_part_that_fails_is_told_and_the_others_go_on(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(smoke: bool, device: torch.device) -> Part:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(rows, "measure", fail)
    done = CliRunner().invoke(main, ["rows", "start"])
    assert done.exit_code == 1 and "**0.5**" in done.stdout
    assert "Failed: rows." in done.stderr
    assert [path.name for path in (results / "results").iterdir()] == ["start.json"]


def test_a_machine_with_a_gpu_needs_neither_store_nor_mlflow() -> None:
    """Such machines are lent bare; what is measured there is recorded as files."""
    modules = ["run", "render", "paper.table", *(PARTS[name] for name in ON_GPU)]
    imported = ", ".join(f"benchmarks.{name}" for name in modules)
    heavy = "{'sqlalchemy', 'alembic', 'mlflow', 'platformdirs'}"
    code = f"import sys, {imported}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_an_unknown_part_is_a_usage_error(results: Path) -> None:
    done = CliRunner().invoke(main, ["rowz"])
    assert done.exit_code == 2 and "'rowz' is not one of" in done.stderr


def test_every_part_has_its_module_and_its_sections() -> None:
    for module in PARTS.values():
        assert callable(import_module(f"benchmarks.{module}").measure)
    on_cpu = PARTS.keys() - set(GPU_ONLY)
    assert {*on_cpu, *(f"{name}_cuda" for name in ON_GPU)} <= render.SECTIONS.keys()
    assert set(ON_GPU) <= PARTS.keys()
