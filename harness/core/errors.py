"""Errors for people: each has a message of a few sentences, and the exit code of the command."""

from __future__ import annotations


class BenchError(Exception):
    """An error that ends a command with `exit_code`. Its message says what to do."""

    exit_code = 1


class Usage(BenchError):
    """The command is wrong. The message names what was given and what is allowed."""

    exit_code = 2


class BrokenContract(Usage):
    """A method or a problem broke its contract. The message says how, and what to do instead."""


class Incomparable(BenchError):
    """Trials with different protocols cannot be compared. The message names the fields."""

    exit_code = 3


class Infrastructure(BenchError):
    """A store, data file, device or process failed. The message says how to continue."""

    exit_code = 4


class LeaseLost(Infrastructure):
    """This process has lost its lease of a fleet, because it sent no heartbeat for too long."""
