"""How much memory a device has left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

MARGIN = 0.1
"""This part of what is free is left alone: others use the machine, and allocators lose some."""
LIBRARIES = 2**29
"""Bytes on a GPU for what its libraries and captured graphs take besides tensors."""

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


def available(device: torch.device) -> int | None:
    """Return bytes that may be used on a device from now on; None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # torch keeps what was given back to it.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(0, int(free * (1 - MARGIN)) - LIBRARIES)
    known = [*_of_machine(), *_of_cgroups()]
    return int(min(known) * (1 - MARGIN)) if known else None


def _of_machine() -> Iterator[int]:
    """Yield what Linux says can be had without swapping."""
    for line in _lines(MEMINFO):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            yield int(rest.split()[0]) * 1024


def _of_cgroups() -> Iterator[int]:
    """Yield what is left to this process's control group and to each above it, of version 2."""
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
    """Return bytes of files that are cached and not in use."""
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
