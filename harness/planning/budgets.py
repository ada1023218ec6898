"""Several budgets, each of which is run to its own end."""

from __future__ import annotations

from collections.abc import Sequence

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget, exact_text
from bench.harness.planning.preparation import read_budget

FORM = "gradients=1e5|3e5|1e6"


def read_budgets(text: str) -> list[Budget]:
    """Read `currency=amount|amount|…`; without a currency the amounts are gradient-equivalents.

    Raises Usage for a single budget, and for budgets that do not rise.
    """
    currency, equals, amounts = text.partition("=") if "=" in text else ("gradients", "=", text)
    written = [amount.strip() for amount in amounts.split("|")]
    found = [read_budget(f"{currency}{equals}{amount}", "--budgets") for amount in written]
    if len(found) < 2:
        raise Usage(
            f"--budgets {text}: give two budgets or more, as in --budgets {FORM}. For a single one "
            f"write --budget {found[0].text}."
        )
    for before, after in zip(found, found[1:], strict=False):
        if after.amount <= before.amount:
            raise Usage(
                f"--budgets {text}: {after.text} follows {before.text}. Give each budget once, the "
                "smallest first."
            )
    return found


def budgets_text(budgets: Sequence[Budget]) -> str:
    """Return budgets as the command line writes them: `updates=100|300`."""
    amounts = "|".join(exact_text(budget.amount) for budget in budgets)
    return f"{budgets[0].currency}={amounts}"
