"""The built-in problems by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.models.deep_autoencoders import curves, faces, mnist
from bench.models.problem import Problem
from bench.models.recurrent import SequenceProblem
from bench.models.recurrent_tasks import KINDS

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "curves": curves,
    "mnist": mnist,
    "faces": faces,
    **{name: partial(SequenceProblem, name) for name in KINDS},
}
"""name → (preset, and by keyword what the brackets set → problem)."""
