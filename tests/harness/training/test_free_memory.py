"""What is left of memory, as the kernel and control groups say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.harness.training import free_memory as module
from bench.harness.training.free_memory import LIBRARY_BYTES, RESERVED_SHARE, free_memory

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a test writes down what the kernel says; nothing is there yet."""
    monkeypatch.setattr(module, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "groups")
    return tmp_path


def grouped(machine: Path, path: str, limit: str, used: int, files: int = 0) -> None:
    folder = machine / "groups" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\nactive_file 7\n")


def left(size: int) -> int:
    return int(size * (1 - RESERVED_SHARE))


def test_what_nobody_tells_is_not_known(machine: Path) -> None:
    assert free_memory(CPU) is None


def test_what_can_be_had_without_swapping(machine: Path) -> None:
    (machine / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4194304 kB\nBuffers: 1 kB\n")
    assert free_memory(CPU) == left(4 * GIB)


def test_the_tightest_control_group_counts(machine: Path) -> None:
    (machine / "meminfo").write_text("MemAvailable: 8388608 kB\n")
    (machine / "cgroup").write_text("0::/job/step\n")
    grouped(machine, "job/step", "max", 2 * GIB)
    assert free_memory(CPU) == left(8 * GIB)
    grouped(machine, "job", str(6 * GIB), 3 * GIB)
    assert free_memory(CPU) == left(3 * GIB)
    grouped(machine, "", str(4 * GIB), 2 * GIB)
    assert free_memory(CPU) == left(2 * GIB)


def test_cached_files_make_room(machine: Path) -> None:
    (machine / "cgroup").write_text("1:name=systemd:/\n0::/\n")
    grouped(machine, "", str(4 * GIB), 3 * GIB, files=GIB)
    assert free_memory(CPU) == left(2 * GIB)


def test_a_group_over_its_limit_has_nothing_left(machine: Path) -> None:
    (machine / "cgroup").write_text("0::/\n")
    grouped(machine, "", str(GIB), 2 * GIB)
    assert free_memory(CPU) == 0


def test_this_machine_has_some() -> None:
    if not module.MEMINFO.exists():
        pytest.skip("no /proc/meminfo here")
    assert (free_memory(CPU) or 0) > 2**20


def test_a_gpu_has_what_is_free_and_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6 * GIB, 10 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB)
    assert free_memory(torch.device("cuda")) == left(8 * GIB) - LIBRARY_BYTES
