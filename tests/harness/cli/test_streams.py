"""Standard streams that close, are full or cannot encode: files and exit code are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.small import PROBLEM

ROOT = Path(__file__).parents[3]
# A child of the shell, so that redirections are those of a person.
BENCH = f"{sys.executable} -m bench"
SUITE = f"""
name = "nightly"
seeds = 2
[digest]
updates = 2
[[compare]]
problem = "{PROBLEM}"
optimizers = "nag[batch=20]"
budget = "updates=5"
"""


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in bash; its exit code is that of the first command of a pipe."""
    return subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
    )


LOST = ["| true", "| head -c 1 >/dev/null", ">&-", ">&- 2>&-", "2>&-", "2>/dev/full", "<&-"]


@pytest.mark.parametrize("redirected", LOST)
@pytest.mark.parametrize(("words", "code"), [("compare --help", 0), ("shwo", 2)])
def test_a_lost_stream_changes_no_exit_code(
    tmp_path: Path, words: str, code: int, redirected: str
) -> None:
    done = shell(f"{BENCH} {words} {redirected}", tmp_path)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    done = shell(f"{BENCH} compare --help >/dev/full", tmp_path)
    assert done.returncode == 4
    assert b"bench: the output could not be written: No space left on device" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_an_encoding_without_the_characters(tmp_path: Path, encoding: str) -> None:
    script = (
        "from bench.harness.core.streams import secure_streams; secure_streams();"
        "from bench.harness.cli.console import console; console(80).print('ε → μ 漢')"
    )
    done = shell(f'{sys.executable} -c "{script}"', tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == b""
    shown = done.stdout.decode(encoding).rstrip()
    assert shown == ("ε → μ 漢" if encoding == "utf-16" else r"eps -> mu \u6f22")


def test_a_closed_number_is_given_to_no_file(tmp_path: Path) -> None:
    script = (
        "import os; from bench.harness.core.streams import secure_streams; secure_streams();"
        "assert os.open('x', os.O_CREAT | os.O_WRONLY) > 2; print('θ')"
    )
    assert shell(f'{sys.executable} -c "{script}" <&- >&- 2>&-', tmp_path).returncode == 0
    assert (tmp_path / "x").read_bytes() == b""


def test_json_is_utf_8_whatever_the_stream_has(tmp_path: Path) -> None:
    script = (
        "from bench.harness.core.streams import secure_streams; secure_streams();"
        "from bench.harness.cli.output import print_data; print_data('[\\\"θ\\\"]')"
    )
    done = shell(f'{sys.executable} -c "{script}"', tmp_path, PYTHONIOENCODING="latin-1")
    assert json.loads(done.stdout) == ["θ"]


@pytest.mark.slow
@pytest.mark.parametrize("redirected", ["| true", ">/dev/full"])
def test_files_and_exit_code_of_a_changed_night(tmp_path: Path, redirected: str) -> None:
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "nightly.toml").write_text(SUITE)
    files = "--no-mlflow --junit junit.xml --markdown night.md --json night.json"
    done = shell(f"{BENCH} nightly run nightly.toml {files} {redirected}", tmp_path)
    assert done.returncode == 4  # There is no baseline yet, so nothing can be judged.
    assert json.loads((tmp_path / "night.json").read_text())["schema_version"] == 1
    assert "<testsuite" in (tmp_path / "junit.xml").read_text()
    assert (tmp_path / "night.md").read_text().startswith("## ")


@pytest.mark.slow
@pytest.mark.parametrize("redirected", [">&- 2>&-", "2>&1 | true"])
def test_files_of_a_comparison(tmp_path: Path, redirected: str) -> None:
    options = f"--optimizers 'nag[batch=20],cm[batch=20]' --problem {PROBLEM} --seeds 2"
    files = "--budget updates=5 --threads 2 --no-mlflow --json a.json --html a.html"
    done = shell(f"{BENCH} compare {options} {files} {redirected}", tmp_path)
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["methods"]) == 2
    assert "<html" in (tmp_path / "a.html").read_text()
