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


def is_gone(owner: str | None) -> bool:
    """Say whether a process is known to have ended: it ran on this host, and its number is free.

    Of another host's process, and of a name that is not "host:pid", nothing is known: False.
    """
    host, _, pid = (owner or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        # Signal 0 is not sent; it only asks.
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # Somebody else's.
        return False
    return False
