"""Shells complete commands and options."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from bench.harness.cli.completion import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(bench: Any, shell: str) -> None:
    said = bench("completion", shell)
    assert said.code == 0
    assert "_BENCH_COMPLETE" in said.out and "bench" in said.out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=said.out, text=True, check=True)


def test_another_shell(bench: Any) -> None:
    assert bench("completion", "csh").code == 2


@pytest.mark.parametrize(
    ("shell", "words", "place", "expected"),
    [
        ("bash", "bench com", 1, "plain,compare"),
        ("bash", "bench compare --opt", 2, "plain,--optimizers"),
        ("bash", "bench compare --device c", 3, "plain,cuda"),
        ("bash", "bench list pro", 2, "plain,problems"),
        ("zsh", "bench com", 1, "compare"),
        ("fish", "bench com", "com", "compare"),
    ],
)
def test_words_are_completed(
    bench: Any, monkeypatch: pytest.MonkeyPatch, shell: str, words: str, place: Any, expected: str
) -> None:
    monkeypatch.setenv("_BENCH_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(place))
    assert expected in bench().out
