"""The context of a trial: everything that may change its measured time or its last bits."""

from __future__ import annotations

import getpass
import importlib
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness.core.invocation import argv
from bench.harness.core.secrets import redacted_words

if TYPE_CHECKING:
    import torch

_LIBRARIES = {"torch": "torch", "numpy": "numpy", "numba": "numba", "bench": "bench-harness"}
_GPU_LIBRARIES = {"numba-cuda": "numba-cuda"}
_USUAL = {
    "default_dtype": "float32",
    "mkldnn": True,
    "flush_denormal": False,
    "opt_einsum": None,
}
"""Settings as torch has them until a program or a package changes one."""


def context(
    device: torch.device,
    threads: int,
    precision: str,
    world_size: int,
    fleet_rows: int,
    fleets_beside: int,
) -> dict[str, Any]:
    """Return everything that may change a measured time, as plain values for JSON.

    `fleet_rows` is K. `fleets_beside` is the number of other fleets that run on the machine at
    the same time. `bench.harness.core.spec.key_of` computes the digest of a context.
    """
    libraries = _LIBRARIES | (_GPU_LIBRARIES if device.type == "cuda" else {})
    versions = {name: _version(package) for name, package in libraries.items()}
    return {
        "device": _device(device),
        "threads": threads,
        "precision": precision,
        "world_size": world_size,
        "fleet_rows": fleet_rows,
        "fleets_beside": fleets_beside,
        "versions": {"python": platform.python_version(), **versions},
        "flags": _flags(device),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def stable_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a context that must be equal for two nights to be compared.

    It leaves out the version of bench, which is the program under test, and the release of the
    system's kernel, which changes every few weeks. The rest decides bits and relative times.
    """
    versions = {name: v for name, v in context["versions"].items() if name != "bench"}
    system, *_, machine = str(context["system"]).split()
    return {**context, "versions": versions, "system": f"{system} {machine}"}


def info() -> dict[str, Any]:
    """Return who runs which command on which machine. None of this may change a measured time."""
    return {
        "user": _user(),
        "host": socket.gethostname(),
        "path": os.getcwd(),
        "argv": redacted_words(argv()),
        "commit": _commit(),
    }


def _device(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"kind": device.type, "name": _processor(), "cores": _cores()}
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "kind": "cuda",
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "processor": _processor(),
        "cores": _cores(),
    }


def _flags(device: torch.device) -> dict[str, Any]:
    """Return the settings of this process that change how numbers are computed."""
    import torch

    flags: dict[str, Any] = {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }
    settings = {
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "mkldnn": torch.backends.mkldnn.enabled,
        # The least number above 0, doubled.
        "flush_denormal": not torch.tensor([1e-45], dtype=torch.float32).mul(2).any().item(),
        "opt_einsum": _order_of_products(),
    }
    # What is as usual is left out, as earlier versions did: those contexts are equal ones.
    flags |= {name: value for name, value in settings.items() if value != _USUAL[name]}
    if device.type == "cpu":
        flags["vector_instructions"] = torch.backends.cpu.get_cpu_capability()
    if device.type == "cuda":
        flags |= {
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        }
    return flags


def _order_of_products() -> str | None:
    """Return what chooses the order in which `torch.einsum` multiplies; None for left to right."""
    import torch

    chosen = torch.backends.opt_einsum
    if not (chosen.is_available() and chosen.enabled):
        return None
    return f"{_version('opt_einsum')} {chosen.strategy}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _driver() -> str | None:
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # The user of a container may have no name.
        return None


def _commit() -> str | None:
    """Return the git commit of the working folder; None if it is not in a git repository."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
