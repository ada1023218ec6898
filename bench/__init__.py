"""Compares optimizers on shared problems, and records every run.

    import bench

    result = bench.compare(["nag", "hf"], problem="curves")
    result.verdicts

What is here does what the command `bench` does, through the same code. Importing it is quick: torch
and everything else is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import check, compare, compare_budgets, comparisons, load, noise
    from bench.budget_result import BudgetResult
    from bench.check_result import CheckResult
    from bench.harness.core.errors import BenchError, Incomparable, Infrastructure, Usage
    from bench.objects import Optimizer, optimizer
    from bench.own_problem import problem
    from bench.result import Result

    __version__: str

_WHERE = {
    "compare": "bench.api",
    "compare_budgets": "bench.api",
    "load": "bench.api",
    "comparisons": "bench.api",
    "check": "bench.api",
    "noise": "bench.api",
    "optimizer": "bench.objects",
    "Optimizer": "bench.objects",
    "problem": "bench.own_problem",
    "Result": "bench.result",
    "BudgetResult": "bench.budget_result",
    "CheckResult": "bench.check_result",
    "BenchError": "bench.harness.core.errors",
    "Usage": "bench.harness.core.errors",
    "Incomparable": "bench.harness.core.errors",
    "Infrastructure": "bench.harness.core.errors",
}

__all__ = [
    "BenchError",
    "BudgetResult",
    "CheckResult",
    "Incomparable",
    "Infrastructure",
    "Optimizer",
    "Result",
    "Usage",
    "__version__",
    "check",
    "compare",
    "compare_budgets",
    "comparisons",
    "load",
    "noise",
    "optimizer",
    "problem",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bench-harness")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
