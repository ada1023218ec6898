"""A process is named by host and number, and is gone once no process has that number."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from bench.harness.store.owner import has_ended, this_process

HOST = socket.gethostname()
ASLEEP = "import sys; sys.stdin.read()"


def test_a_process_is_gone_once_it_was_killed_and_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", ASLEEP], stdin=subprocess.PIPE)
    assert not has_ended(f"{HOST}:{child.pid}")
    child.kill()
    child.communicate()
    assert has_ended(f"{HOST}:{child.pid}")


def test_this_process_is_there() -> None:
    assert this_process() == f"{HOST}:{os.getpid()}"
    assert not has_ended(this_process())


def test_a_process_of_somebody_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(pid: int, signal: int) -> None:
        asked.append((pid, signal))
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not has_ended(f"{HOST}:4242")
    assert asked == [(4242, 0)]


@pytest.mark.parametrize("owner", [None, "", "me", f"{HOST}:", f"{HOST}:-1", f"{HOST}:0", ":1"])
def test_of_what_names_no_process_nothing_is_known(owner: str | None) -> None:
    assert not has_ended(owner)


def test_of_another_hosts_process_nothing_is_known() -> None:
    # Larger than any process number, so there is none on this host.
    assert has_ended(f"{HOST}:{2**40}")
    assert not has_ended(f"elsewhere:{2**40}")
    assert not has_ended(f"{HOST}:else:{2**40}")
