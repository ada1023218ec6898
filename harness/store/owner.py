"""The name of a process that runs something, and whether that process has ended."""

from __future__ import annotations

import os
import socket


def this_process() -> str:
    """Return the name of this process, "host:pid"."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """Return the name of a process of this host, "host:pid"."""
    return f"{socket.gethostname()}:{pid}"


def is_here(owner: str | None) -> bool:
    """Return whether a process is one of this host, and exists."""
    return (owner or "").startswith(f"{socket.gethostname()}:") and not has_ended(owner)


def has_ended(owner: str | None) -> bool:
    """Return whether a process of this host has ended.

    False for a process of another host and for a name that is not "host:pid", because nothing is
    known of them.
    """
    host, _, pid = (owner or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        # Signal 0 only checks whether the process exists.
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # Another user's process.
        return False
    return False
