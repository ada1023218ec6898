import pytest

from bench.harness.core.metrics import is_share


@pytest.mark.parametrize(
    ("metric", "share"),
    [
        ("train_zero_one_loss", True),
        ("zero-one loss", True),
        ("test_accuracy", True),
        ("top-1 accuracy", True),
        ("top1", True),
        ("error_rate", True),
        ("share wrong", True),
        ("train_squared_error", False),
        ("wrong_symbols", False),
        ("cross_entropy", False),
        ("generated_error", False),
        ("accumulated_loss", False),
        ("", False),
    ],
)
def test_shares_are_known_by_their_names(metric: str, share: bool) -> None:
    assert is_share(metric) is share
