"""Errors for people: each is one sentence or a few, and carries the exit code it ends with."""

from __future__ import annotations


class BenchError(Exception):
    """Ends a command with `exit_code`; the message says what was given and what to do."""

    exit_code = 1


class Usage(BenchError):
    """The command was written wrongly: the message names what was given and what is allowed."""

    exit_code = 2


class Incomparable(BenchError):
    """Trials were asked to be compared whose protocols differ: the message names the fields."""

    exit_code = 3


class Infrastructure(BenchError):
    """Store, data file, device or process failed: what is recorded stays; how to go on."""

    exit_code = 4


class LeaseLost(Infrastructure):
    """A fleet is not this process's any more, since nothing was heard of it for too long."""
