import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numba import cuda
from torch import Tensor

from bench.optim.hyperparameters import Unavailable
from bench.optim.momentum import update_cuda
from bench.optim.momentum.update_cuda import (
    BLOCK,
    EACH,
    compile_for,
    fused_update,
    obstacle,
    source,
)
from tests.optim.momentum.one_update import assert_agrees_with_torch, copied, drawn

ROOT = Path(__file__).parents[3]
DTYPES = [torch.float32, torch.float64]


def simulated(*arguments: str) -> None:
    """Run tests in a process in which Numba-CUDA's simulator stands in for a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_the_simulator() -> None:
    simulated("tests/optim/momentum/simulated.py")


@pytest.mark.slow
def test_all_laws_in_the_simulator() -> None:
    simulated("tests/laws/test_methods.py", "-k", "numba-cuda")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_what_the_kernel_is_compiled_to(capability: tuple[int, int], dtype: torch.dtype) -> None:
    """Every load of a thread before its first store, registers alone, and one precision."""
    function, signature = source(dtype, BLOCK)
    ptx, _ = cuda.compile(function, signature, device=False, abi="numba", cc=capability)
    assert len(re.findall(r"\.visible \.entry", ptx)) == 1
    assert f".target sm_{capability[0]}{capability[1]}" in ptx
    kind = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    loads = [found.start() for found in re.finditer(rf"\bld\.global\.{kind}\b", ptx)]
    stores = [found.start() for found in re.finditer(rf"\bst\.global\.{kind}\b", ptx)]
    columns, written = 4, 2
    assert len(loads) == columns + 3 * EACH == len(re.findall(r"\bld\.(?!param)", ptx))
    assert len(stores) == written * EACH == len(re.findall(r"\bst\.", ptx))
    assert max(loads) < min(stores)
    assert not re.search(r"\.local\b|\bcall\b|\bdiv\b", ptx)
    other = {"f32": "f64", "f64": "f32"}[kind]
    assert not re.search(rf"\.{other}\b", ptx)


def test_without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_cuda, "find_spec", lambda name: None)
    for device in ("cpu", "cuda"):
        found = obstacle(device)
        assert found is not None
        assert found.reason == "numba-cuda is not installed"
        assert found.remedy == "`pip install 'bench-harness[cuda]'`"


def test_with_a_broken_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("no bindings")

    monkeypatch.setattr(update_cuda, "_import", fail)
    found = obstacle("cuda")
    assert found is not None
    assert found.reason == "numba-cuda cannot be imported (no bindings)"


@pytest.mark.parametrize(
    ("device", "available", "error", "reason"),
    [
        ("cuda", False, "no driver", "numba-cuda finds no CUDA device here"),
        ("cpu", False, "no driver", "numba-cuda finds no CUDA device here"),
        ("cuda", False, None, "numba-cuda finds no NVVM to compile with"),
        ("cpu", True, None, "the parameters are on the CPU"),
        ("cuda", True, None, None),
    ],
)
def test_what_stands_in_the_way(
    device: str,
    available: bool,
    error: str | None,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda, "is_available", lambda: available)
    monkeypatch.setattr(cuda, "cuda_error", lambda: error)
    found = obstacle(device)
    assert (found and found.reason) == reason


def test_a_driver_that_does_not_take_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("PTX of a later CUDA")

    monkeypatch.setattr(update_cuda, "fused_update", refuse)
    with pytest.raises(Unavailable, match=r"RuntimeError: PTX of a later CUDA\).*write @torch"):
        compile_for(torch.zeros(1, 1))


@pytest.fixture
def gpu() -> str:
    if found := obstacle("cuda"):
        pytest.skip(found.reason)
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return "cuda"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 2_000), (70_000, 33), (1, 3_000_001)])
def test_an_update_on_a_gpu_is_that_of_torch(
    rows: int, width: int, dtype: torch.dtype, gpu: str
) -> None:
    tensors = drawn(rows, width, dtype, gpu)
    compile_for(tensors[0])
    assert_agrees_with_torch(fused_update, tensors)


def test_a_captured_update_reads_its_coefficients_when_it_is_replayed(gpu: str) -> None:
    tensors = drawn(3, 2_000, torch.float32, gpu)
    compile_for(tensors[0])
    replayed, plain = copied(tensors), copied(tensors)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fused_update(*replayed)
    assert torch.equal(replayed[0], tensors[0])
    for mu in (0.5, 0.9, 0.0):
        for each in (replayed, plain):
            each[4].fill_(mu)
            each[3].mul_(0.5)
        graph.replay()
        fused_update(*plain)
        for made, expected in zip(replayed[:2], plain[:2], strict=True):
            assert torch.equal(made, expected)


def test_an_update_runs_on_the_current_stream(gpu: str) -> None:
    """What the stream is still at is waited for; on another one the update would be too early."""
    tensors = drawn(2, 100_000, torch.float32, gpu)
    compile_for(tensors[0])
    expected: list[Tensor] = copied(tensors)
    expected[2].zero_()
    fused_update(*expected)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        tensors[2].zero_()
        fused_update(*tensors)
    stream.synchronize()
    assert torch.equal(tensors[0], expected[0])
