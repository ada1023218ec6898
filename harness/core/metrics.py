"""What the name of a metric says about its values."""

from __future__ import annotations

import re

_SHARES = frozenset(
    (
        *("accuracy", "acc", "auc", "auroc", "dice", "f1", "fraction", "iou", "misclassified"),
        *("percentage", "precision", "rate", "recall", "share", "top1", "top5"),
    )
)


def is_share(metric: str) -> bool:
    """Return whether a metric is a share by its name: an accuracy, an error rate, a zero-one loss.

    Shares lie between 0 and 1, and 0 is among the values that good methods reach. They are drawn on
    linear axes, and their differences mean something where their ratios do not.

    >>> is_share("train_zero_one_loss"), is_share("test_accuracy"), is_share("squared_error")
    (True, True, False)
    """
    words = re.findall(r"[a-z0-9]+", metric.lower())
    return not _SHARES.isdisjoint(words) or "zero one" in " ".join(words)
