"""The examples of nightly runs do run: each line of a workflow, each command of a unit."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.harness.nightly.suite import Suite

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WORKFLOW = EXAMPLES / "nightly-workflow.yml"
UNITS = sorted((EXAMPLES / "systemd").iterdir())
BENCH = Path(sys.executable).with_name("bench")
TINY = """
name = "nightly"
seeds = 2
digest.updates = 1
time = {blocks = 2, updates = 2}
noise = {seeds = 3, times = 3}
[[compare]]
problem = "tests.harness.small:make"
optimizers = "nag@torch[batch=20]"
budget = "updates=5"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that stands for the clone, with a tiny suite in place of the example's."""
    folder = tmp_path / "clone"
    (folder / "examples").mkdir(parents=True)
    (folder / "examples" / "nightly.toml").write_text(TINY)
    (folder / "bench.toml").write_text("no-mlflow = true\n")
    return folder


def environment(stand_ins: Path, **given: str) -> dict[str, str]:
    path = f"{stand_ins}:{BENCH.parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **given}


def stand_in(folder: Path, *names: str) -> Path:
    """Make programs that note what they are told, on stdin too, in a file of their name."""
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/{name}.told\ncat >&2\n')
        program.chmod(0o755)
    return folder


class Workflow:
    """Runs the steps of the workflow's jobs as GitHub does; actions of others are left out."""

    def __init__(self, clone: Path, tmp_path: Path) -> None:
        # YAML 1.1 reads the key `on` as true.
        self.plain: Mapping[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
        self.clone = clone
        self.summary = tmp_path / "summary.md"
        self.stand_ins = stand_in(tmp_path / "stand_ins", "pip")
        self.ran: list[str] = []

    def run(self, job: str, *, cached: bool, **inputs: str) -> str:
        """Run a job; return its output, and the first step that failed, if one has, in `failed`."""
        self.failed: tuple[str, int] | None = None
        self.ran = []
        told = []
        holds = {
            "always()": True,
            "inputs.accept != ''": "accept" in inputs,
            "inputs.noise || steps.store.outputs.cache-matched-key == ''": not cached,
        }
        for step in self.plain["jobs"][job]["steps"]:
            condition = step.get("if")
            begins = holds[condition] if condition else True
            if "run" not in step or not begins or (self.failed and condition != "always()"):
                continue
            env = self.plain["env"] | {
                name: inputs.get(value.removeprefix("${{ inputs.").removesuffix(" }}"), "")
                for name, value in step.get("env", {}).items()
            }
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]],
                cwd=self.clone,
                env=environment(self.stand_ins, GITHUB_STEP_SUMMARY=str(self.summary), **env),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            self.ran.append(step["name"])
            told.append(done.stdout + done.stderr)
            if done.returncode and self.failed is None:
                self.failed = step["name"], done.returncode
        return "".join(told)


def steps() -> Iterator[Mapping[str, Any]]:
    for job in yaml.safe_load(WORKFLOW.read_text())["jobs"].values():
        yield from job["steps"]


def test_the_suite_can_be_read() -> None:
    suite = Suite.read(EXAMPLES / "nightly.toml")
    assert suite.baseline == "main" and suite.seeds >= 6


def test_no_input_is_pasted_into_a_shell() -> None:
    assert not any("${{" in step.get("run", "") for step in steps())
    assert sum("run" in step for step in steps()) == 7


def test_one_schedule_is_the_night_and_the_other_asks_whether_there_was_one() -> None:
    plain = yaml.safe_load(WORKFLOW.read_text())
    _, asks = (each["cron"] for each in plain[True]["schedule"])
    jobs = plain["jobs"]
    assert jobs["night"]["if"] == f"github.event.schedule != '{asks}'"
    assert jobs["heard"]["if"] == f"github.event.schedule == '{asks}'"


@pytest.mark.slow
def test_the_workflow_runs_from_the_first_night_to_a_clean_one(clone: Path, tmp_path: Path) -> None:
    workflow = Workflow(clone, tmp_path)
    told = workflow.run("heard", cached=False)
    assert workflow.failed == ("Ask when the last night ended", 4), told
    told = workflow.run("night", cached=False)
    assert workflow.failed == ("Run the night", 4), told
    assert workflow.ran == ["Install", "Measure the noise", "Run the night", "Show the history"]
    assert "not judged" in workflow.summary.read_text()
    assert "bench baseline accept " in workflow.summary.read_text()
    assert ET.parse(clone / "night" / "junit.xml").getroot().get("errors") == "1"
    (command,) = {line for line in told.splitlines() if line.startswith("bench baseline accept")}
    accept = shlex.split(command)[3]
    told = workflow.run("night", cached=True, accept=accept, note="the 'first' one; $(exit 1)")
    assert workflow.failed is None, told
    assert workflow.ran == ["Install", "Accept", "Run the night", "Show the history"]
    assert workflow.summary.read_text().startswith("## Nothing has changed")
    assert "nightly against main: 2 on record" in (clone / "night" / "history.txt").read_text()
    shown = subprocess.run(
        [BENCH, "baseline", "show", "main"], cwd=clone, capture_output=True, text=True
    )
    assert f"{accept}, accepted" in shown.stdout and "the 'first' one; $(exit 1)" in shown.stdout
    told = workflow.run("heard", cached=True)
    assert workflow.failed is None, told
    assert "nightly: the last night ended" in told
    assert "-c constraints.txt ." in (workflow.stand_ins / "pip.told").read_text()


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser


@pytest.fixture
def units(clone: Path, tmp_path: Path) -> Path:
    """A folder with the units, with this machine's paths in them."""
    folder = tmp_path / "units"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    for unit in UNITS:
        text = unit.read_text().replace("/srv/bench/.venv/bin/bench", str(BENCH))
        text = text.replace("/srv/bench", str(clone)).replace("/var/lib/bench", f"{tmp_path}/state")
        (folder / unit.name).write_text(text)
    return folder


def test_systemd_takes_the_units(units: Path) -> None:
    if shutil.which("systemd-analyze"):
        files = sorted(map(str, units.iterdir()))
        done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    for unit in units.iterdir():
        kind = {".service": "Service", ".timer": "Timer"}[unit.suffix]
        assert {"Unit", kind} <= set(read(unit).sections())


def test_every_timer_has_its_service_and_every_service_calls_the_alarm(units: Path) -> None:
    names = {unit.name for unit in units.iterdir()}
    timers = {name for name in names if name.endswith(".timer")}
    assert len(timers) == 2
    for timer in timers:
        service = timer.replace(".timer", ".service")
        assert read(units / service)["Unit"]["OnFailure"] == "bench-alarm@%n.service"
        assert read(units / timer)["Install"]["WantedBy"] == "timers.target"
    assert "bench-alarm@.service" in names


def start(unit: Path, instance: str = "", **given: str) -> subprocess.CompletedProcess[str]:
    """Run a unit's command where and with what the unit says."""
    service = read(unit)["Service"]
    own = dict(pair.split("=", 1) for pair in shlex.split(service.get("Environment", "")))
    words = shlex.split(service["ExecStart"].replace("%i", instance))
    return subprocess.run(
        words,
        cwd=service.get("WorkingDirectory"),
        env={**environment(unit.parent), **own, **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_services_run(units: Path, tmp_path: Path) -> None:
    status = units / "bench-status.service"
    assert start(status).returncode == 4
    # The first night has nothing that it is held against.
    night = start(units / "bench-nightly.service")
    assert night.returncode == 4, night.stderr
    assert "not judged" in (tmp_path / "state" / "night.md").read_text()
    assert ET.parse(tmp_path / "state" / "junit.xml").getroot().get("tests")
    done = start(status)
    assert done.returncode == 0, done.stderr
    assert "nightly: the last night ended 0.0 h ago, failed" in done.stdout


def test_the_alarm_tells_which_unit_has_failed(units: Path, tmp_path: Path) -> None:
    folder = stand_in(tmp_path / "stand_ins", "mail", "journalctl")
    path = f"{folder}:{os.environ['PATH']}"
    done = start(units / "bench-alarm@.service", "bench-nightly.service", PATH=path)
    assert done.returncode == 0, done.stderr
    assert (folder / "mail.told").read_text() == "-s bench-nightly.service has failed root\n"
    assert "--unit=bench-nightly.service" in (folder / "journalctl.told").read_text()
