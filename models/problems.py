"""The built-in problems by name."""

from __future__ import annotations

from collections.abc import Callable

from models.deep_autoencoders import curves, mnist
from models.problem import Problem
from models.recurrent import Add

PROBLEMS: dict[str, Callable[..., Problem]] = {"curves": curves, "mnist": mnist, "add": Add}
"""name → (preset, and by keyword what the brackets set → problem)."""
