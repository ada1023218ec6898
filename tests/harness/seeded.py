"""Faults that a nightly run has to find, each put into the program by a patch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.harness.core.seeds import generator
from bench.harness.training import case_order
from bench.optim.hessian_free.base import OneTrial
from bench.optim.momentum.methods import NAG
from bench.optim.momentum.schedules import Rising


def no_look_ahead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NAG, "look", 0.0)


def larger_mu(patch: pytest.MonkeyPatch) -> None:
    right = Rising.__call__
    patch.setattr(Rising, "__call__", lambda self, t: right(self, t) + (1 / 250 if t else 0))


def early_mu(patch: pytest.MonkeyPatch) -> None:
    right = Rising.__call__
    patch.setattr(Rising, "__call__", lambda self, t: right(self, t + 1))


def long_period(patch: pytest.MonkeyPatch) -> None:
    right = Rising.__call__
    patch.setattr(
        Rising,
        "__call__",
        lambda self, t: right(Rising(self.mu_max, self.period + 1), t),
    )


def cold_start(patch: pytest.MonkeyPatch) -> None:
    right = OneTrial.conclude

    def conclude(self, state, *given, **named):
        stop = right(self, state, *given, **named)
        state.last.zero_()
        return stop

    patch.setattr(OneTrial, "conclude", conclude)


def other_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(case_order, "generator", lambda *names: generator(*names, "another"))


FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "NAG without look-ahead": ("nag", no_look_ahead),
    "mu larger by 1/250": ("nag", larger_mu),
    "mu an update early": ("cm", early_mu),
    "a period longer by one": ("nag", long_period),
    "HF without warm start": ("hf", cold_start),
    "another data order": ("sgd", other_order),
}
"""What is wrong → a method that shows it, and what puts it in."""
