import pytest

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Budget
from bench.harness.planning.budgets import budgets_text, read_budgets


@pytest.mark.parametrize(
    ("text", "currency", "amounts", "said"),
    [
        ("1e5|3e5|1e6", "gradients", (1e5, 3e5, 1e6), "gradients=100000|300000|1000000"),
        ("updates=100|300", "updates", (100.0, 300.0), "updates=100|300"),
        ("seconds=0.5 | 2", "seconds", (0.5, 2.0), "seconds=0.5|2"),
        ("gradients=1234.0000000001234|2e3", "gradients", (1234.0000000001234, 2e3), None),
    ],
)
def test_budgets_are_read_and_written(text, currency, amounts, said):
    found = read_budgets(text)
    assert found == [Budget(currency, amount) for amount in amounts]
    assert read_budgets(budgets_text(found)) == found
    assert said in (None, budgets_text(found))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1e5", "give two budgets or more, .* For a single one write --budget gradients=100000"),
        ("updates=5", "write --budget updates=5"),
        ("updates=5|5", "updates=5 follows updates=5. Give each budget once, the smallest first"),
        ("updates=5|3|7", "updates=3 follows updates=5"),
        ("updates=5|", "--budgets updates=: the amount must be a positive whole number"),
        ("", "--budgets gradients=: the amount must be a positive number"),
        ("updates=5|x", "--budgets updates=x: the amount must be"),
        ("updates=5|7.5", "--budgets updates=7.5: the amount must be a positive whole number"),
        ("1e5|-1", "the amount must be a positive number"),
        ("1e5|nan", "the amount must be a positive number"),
        ("1e5|inf", "the amount must be a positive number"),
        ("update=5|7", "did you mean 'updates'?"),
        ("updates=5|updates=7", "--budgets updates=updates=7: the amount must be"),
    ],
)
def test_what_is_no_list_of_budgets(text, said):
    with pytest.raises(Usage, match=said.replace("?", r"\?")):
        read_budgets(text)
