"""The built-in problems by name."""

from __future__ import annotations

from collections.abc import Callable

from models.deep_autoencoders import curves, mnist
from models.problem import Problem

PROBLEMS: dict[str, Callable[[str], Problem]] = {"curves": curves, "mnist": mnist}
"""name → (preset → problem)."""
