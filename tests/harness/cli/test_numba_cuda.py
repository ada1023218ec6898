"""`@numba-cuda` where there is nothing to run it on: exit code 4 before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from numba import cuda

from bench.optim.momentum import update_cuda
from tests.harness.cli.conftest import Said

Bench = Callable[..., Said]
COMPARE = ("compare", "--device", "cpu", "--optimizers")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "cuda_error", lambda: "no driver")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    "command",
    [
        (*COMPARE, "nag@numba-cuda,hf"),
        (*COMPARE, "hf,nag@numba-cuda[lr=0.1|0.2]", "--tune", "none"),
        (*COMPARE, "nag@numba-cuda,hf", "--dry-run"),
        ("run", "--device", "cpu", "--optimizer", "nag@numba-cuda"),
        ("check", "nag@numba-cuda"),
    ],
)
def test_without_a_gpu_nothing_is_trained_or_written(
    command: tuple[str, ...], bench: Bench, workdir: Path
) -> None:
    said = bench(*command)
    assert said.code == 4
    assert said.out == ""
    assert said.err == (
        "bench: nag@numba-cuda cannot run: numba-cuda finds no CUDA device here. Use a machine "
        "with an NVIDIA GPU and its driver, or write nag@torch or nag@numba.\n"
    )
    assert list(workdir.iterdir()) == []


def test_without_the_package(bench: Bench, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_cuda, "find_spec", lambda name: None)
    said = bench(*COMPARE, "cm@numba-cuda,hf")
    assert said.code == 4
    assert said.err == (
        "bench: cm@numba-cuda cannot run: numba-cuda is not installed. "
        "`pip install 'bench-harness[cuda]'`, or write cm@torch or cm@numba.\n"
    )
    assert list(workdir.iterdir()) == []


def test_on_the_cpu_of_a_machine_with_a_gpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    said = bench(*COMPARE, "sgd@numba-cuda,hf")
    assert said.code == 4
    assert "the parameters are on the CPU. Give --device cuda, or write sgd@torch" in said.err


def test_what_the_doctor_says(bench: Bench, no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> str:
        said = bench("doctor")
        assert said.code == 0
        (line,) = [line for line in said.out.splitlines() if " numba-cuda " in line[:20]]
        return line

    assert row().startswith("missing  numba-cuda")
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    assert row().startswith("ok       numba-cuda")
