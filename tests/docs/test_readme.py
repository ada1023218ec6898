"""The README is short, and what it shows of optimizers and problems of one's own works."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from bench.harness.cli.main import COMMANDS, main

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
FILES = dict(re.findall(r"Save this as `(\w+\.py)`:\n\n```python\n(.*?)```", README, re.DOTALL))
SHELL = [line for line in README.splitlines() if line.startswith("bench ")]
PYTHON = re.findall(r"^python -c '(.*)'$", README, re.MULTILINE)
SMALL = ("--budget", "updates=4", "--seeds", "2", "--no-mlflow", "--threads", "1", "--json", "-")


@pytest.fixture
def folder(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README has its reader save."""
    for name, text in FILES.items():
        (workdir / name).write_text(text)
    monkeypatch.syspath_prepend(str(workdir))
    for name in FILES:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    return workdir


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_its_commands_are_there() -> None:
    assert len(FILES) == 2 and len(PYTHON) == 2
    assert {shlex.split(line, comments=True)[1] for line in SHELL} <= COMMANDS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_ones_own_is_compared_from_the_shell(
    folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = (line for line in SHELL if f"./{file}:" in line and "compare" in line)
    words = shlex.split(line, comments=True)[1:]
    with pytest.raises(SystemExit) as ended:
        main([*words, *SMALL])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    assert all(row["status"] == {"budget": 2} for row in json.loads(out)["methods"])


@pytest.mark.slow
@pytest.mark.parametrize("program", PYTHON)
def test_ones_own_is_compared_from_python(
    folder: Path, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small = re.sub(r"\)\)$", ', budget="updates=4", seeds=2, threads=1))', program)
    assert small != program
    exec(small, {})
    assert "6 seeds are needed" in " ".join(capsys.readouterr().out.split())
