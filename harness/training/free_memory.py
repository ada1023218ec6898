"""The free memory of a device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

RESERVED_SHARE = 0.1
"""Share of the free memory that stays unused, for other programs and for losses of allocators."""
LIBRARY_BYTES = 2**29
"""Bytes on a GPU for libraries and captured graphs, besides tensors."""

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that fleets may use on a device; None if the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # torch keeps freed memory for itself, and can use it again.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(0, int(free * (1 - RESERVED_SHARE)) - LIBRARY_BYTES)
    known = [*_of_machine(), *_of_cgroups()]
    return int(min(known) * (1 - RESERVED_SHARE)) if known else None


def _of_machine() -> Iterator[int]:
    """Yield the memory that Linux can provide without swapping, if it says so."""
    for line in _lines(MEMINFO):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            yield int(rest.split()[0]) * 1024


def _of_cgroups() -> Iterator[int]:
    """Yield the free memory of this process's control group (version 2) and of each parent."""
    for line in _lines(CGROUP):
        if not line.startswith("0::"):
            continue
        folder = CGROUPS / line.removeprefix("0::").strip().lstrip("/")
        for group in (folder, *folder.parents):
            limit = "".join(_lines(group / "memory.max")).strip()
            used = "".join(_lines(group / "memory.current")).strip()
            if limit.isdecimal() and used.isdecimal():
                yield max(0, int(limit) - int(used) + _reclaimable(group))
            if group == CGROUPS:
                break


def _reclaimable(group: Path) -> int:
    """Return the bytes of cached files that are not in use."""
    for line in _lines(group / "memory.stat"):
        name, _, size = line.partition(" ")
        if name == "inactive_file":
            return int(size)
    return 0


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
