"""How long a person waits for `bench --help`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.figures import Part, figure
from benchmarks.ratios import Timed, interleaved

ROOT = Path(__file__).parents[1]
HELP = "bench --help"
PYTHON = "python -c pass"
COMMANDS = {
    # What the installed script `bench` runs.
    HELP: ["-c", "from bench.harness.cli.main import main; main()", "--help"],
    PYTHON: ["-c", "pass"],
}


def measure(smoke: bool, device: torch.device) -> Part:
    """Time fresh processes."""
    torch.set_num_threads(1)
    candidates = {
        name: Timed(lambda arguments=arguments: run_python(arguments))  # type: ignore[misc]
        for name, arguments in COMMANDS.items()
    }
    seconds = interleaved(candidates, 3 if smoke else 40)
    return Part(
        "Starting the command line",
        [
            figure(
                "a fresh process",
                (HELP, seconds[HELP]),
                (PYTHON, seconds[PYTHON]),
                goal_seconds=0.3,
            )
        ],  # fmt: skip
        ("Wall time from starting the interpreter to its end, files in the system's cache.",),
    )


def run_python(arguments: list[str]) -> None:
    """Run a Python process to its end."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
