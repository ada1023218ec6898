"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

CPU = torch.device("cpu")


def machine(device: torch.device = CPU) -> dict[str, object]:
    """Return processor or GPU, cores, threads, versions, commit and date."""
    gpu = device.type == "cuda"
    return {
        "processor": torch.cuda.get_device_name(device) if gpu else _processor(),
        "cores": torch.multiprocessing.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def ran_on(content: Mapping[str, Any]) -> list[str]:
    """Return the lines of a section that say on what, with what and how its result was made."""
    machine = content["machine"]
    peers = "".join(f", {name} {version}" for name, version in content["peers"].items())
    return [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"torch {machine['torch']}{peers}; commit {machine['commit']}, {machine['date']}; "
        f"load average before the run {content['load']}.",
        f"Again: `{content['command']}`",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit, or what BENCH_COMMIT says where a copy has no history."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except OSError:
        found = ""
    return found or os.environ.get("BENCH_COMMIT")
