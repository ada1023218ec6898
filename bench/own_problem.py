"""`bench.problem`: a module with data, given as arrays or tensors, as a problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.harness.core.errors import Usage
from bench.models.from_module import ModuleProblem
from bench.models.losses import (
    HalfSquaredError,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
)
from bench.models.metrics import misclassified, squared_error, zero_one
from bench.models.problem import Data, Metric, Problem, digest_of

LOSSES: dict[str, Callable[[], MatchingLoss]] = {
    "mse": HalfSquaredError,
    "cross_entropy": SoftmaxCrossEntropy,
    "bce": LogisticCrossEntropy,
}
EPOCHS = 200
"""A trial's budget where none is given: so many gradients of every training case."""
POINT = 0.01
"""Shares of errors within this are equivalent."""
MOST_CLASSES = 100_000
"""The largest number of classes; their one-hot targets stand in memory."""
HALF = 0.5
"""From where a logistic output stands for 1."""


def problem(
    module: Callable[[], nn.Module],
    *,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    loss: str | MatchingLoss | None = None,
    metric: str | Metric = "loss",
    name: str | None = None,
    budget: int | None = None,
    targets: tuple[float, ...] = (),
    evaluations: int = 20,
    margin: float | None = None,
    log_scale: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
    preset: str = "quick",
) -> Problem:
    """Return a problem: a module that is trained on data given as arrays or tensors.

    Args:
        module: a class or function that makes the module anew, without arguments. The module maps
            inputs, cases first, to outputs (cases, outputs): values, or logits before a softmax or
            a logistic function. `bench.models.from_module` says which modules are possible.
        train: inputs and targets that the module is trained on.
        test: inputs and targets of the test set.
        loss: "mse" (½ Σ (y − t)²), "cross_entropy" (softmax; integer targets are class numbers),
            "bce" (logistic outputs, targets from 0 to 1), or a loss of `bench.models.losses`. By
            default "cross_entropy" where the targets are whole numbers, one a case; else "mse".
        metric: what is reported: "loss" (for "mse" the squared error, without the ½), "error" (the
            share of cases in a wrong class), or a `bench.models.problem.Metric`.
        name: what the problem is called; by default as the function or class is.
        budget: gradient-equivalents of a trial; by default 200 for each training case.
        targets: values of the training metric whose first reaching is timed.
        evaluations: how often a trial is evaluated.
        margin: results within it are equivalent: a difference of logarithms where `log_scale`. By
            default log 1.05; of shares of errors 0.01.
        log_scale: whether differences are taken of logarithms; by default they are, except for
            shares of errors.
        parameters: what tells this problem from others of its name, such as {"width": 20}. It is
            part of the protocol, and shown in reports.
        preset: "quick", "standard" or "paper".

    Returns:
        A problem for `bench.compare` and `bench.check`.

    Raises:
        Usage: where data and module do not fit, or a name is not known.

    Example:
        >>> import bench, numpy as np
        >>> from torch import nn
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> line = bench.problem(lambda: nn.Linear(1, 1), train=(x, 2 * x), test=(x, 2 * x))
        >>> line.loss.name
        'half squared error, summed over outputs, mean over cases'
    """
    inputs, targets_ = _arrays("train", train)
    test_inputs, test_targets = _arrays("test", test)
    which, found_loss = _loss(loss, targets_)
    targets_, test_targets = _targets(which, (targets_, test_targets))
    found_metric, is_share = _metric(metric, which, found_loss)
    parts = (inputs, test_inputs, targets_, test_targets)
    called = name or _called(module)
    data = Data(f"{called} (arrays)", digest_of(*parts), *parts)
    logarithms = not is_share if log_scale is None else log_scale
    try:
        made = ModuleProblem(
            called,
            preset,
            module,
            found_loss,
            found_metric,
            lambda source: data,
            budget=EPOCHS * len(inputs) if budget is None else budget,
            targets=tuple(float(target) for target in targets),
            evaluations=evaluations,
            margin=_margin(logarithms) if margin is None else margin,
            log_scale=logarithms,
            parameters=dict(parameters or {}),
            notes=f"{len(inputs):,} + {len(test_inputs):,} cases",
        )
    except ValueError as error:
        raise Usage(f"bench.problem: {str(error).rstrip('.')}.") from error
    except Exception as error:  # Somebody's own code, which makes the module.
        raise Usage(f"bench.problem: {called}() raised {type(error).__name__}: {error}.") from error
    made.made_by = Recipe(module, found_loss, found_metric)
    return made


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a problem of `bench.problem` rests on, besides its protocol and its data."""

    module: Callable[[], nn.Module]
    loss: MatchingLoss
    metric: Metric

    def __call__(self, *given: Any) -> Problem:
        """Refuse: the problem is there already."""
        raise TypeError("a problem of bench.problem is made once")


def _arrays(what: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise Usage(f"bench.problem: {what} is a pair, {what}=(inputs, targets).")
    x, y = (_array(f"the {what} {part}", each) for part, each in zip(PARTS, pair, strict=True))
    if len(x) != len(y) or not len(x):
        raise Usage(
            f"bench.problem: {what} has {len(x)} inputs and {len(y)} targets; there must be one "
            "target for each input, and at least one of both."
        )
    return x, y


PARTS = ("inputs", "targets")


def _array(what: str, given: Any) -> np.ndarray:
    """Return numbers with the cases first; floats keep their precision."""
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    try:
        array = np.array(given)
    except ValueError as error:
        raise Usage(f"bench.problem: {what} are no array: {error}.") from error
    if array.dtype.kind not in "buif" or array.ndim == 0:
        raise Usage(f"bench.problem: {what} are of type {array.dtype}, and must be numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Usage(f"bench.problem: {what} are not all finite.")
    if array.dtype.kind == "f" and array.dtype not in (np.float32, np.float64):
        return array.astype(np.float32 if array.itemsize < 4 else np.float64)
    return array


def _loss(given: str | MatchingLoss | None, targets: np.ndarray) -> tuple[str, MatchingLoss]:
    if given is None:
        given = "cross_entropy" if targets.dtype.kind in "ui" and targets.ndim == 1 else "mse"
    if isinstance(given, str):
        if given not in LOSSES:
            raise Usage(
                f"bench.problem: there is no loss {given!r}. There are: {', '.join(LOSSES)}; and "
                "the classes of bench.models.losses."
            )
        return given, LOSSES[given]()
    if not isinstance(given, MatchingLoss):
        raise Usage(
            f"bench.problem: loss is a {type(given).__name__}. Give one of {', '.join(LOSSES)}, or "
            "a loss of bench.models.losses, made with ()."
        )
    which = next((n for n, kind in LOSSES.items() if type(given) is kind), "")
    return which, given


def _targets(loss: str, given: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return targets as (cases, outputs)."""
    train, test = given
    if loss == "cross_entropy" and train.dtype.kind in "ui" and train.ndim == 1:
        if test.dtype.kind not in "ui" or test.ndim != 1 or min(train.min(), test.min()) < 0:
            raise Usage(
                "bench.problem: class numbers are whole numbers from 0 on, one a case, in train "
                "and in test."
            )
        classes = int(max(train.max(), test.max())) + 1
        if classes > MOST_CLASSES:
            raise Usage(
                f"bench.problem: class numbers go up to {classes - 1:,}, but at most "
                f"{MOST_CLASSES:,} classes are possible. Number the classes from 0 on."
            )
        return _one_hot(train, classes), _one_hot(test, classes)
    found = [each if each.dtype.kind == "f" else _floats(each) for each in given]
    shaped = [each[:, None] if each.ndim == 1 else each for each in found]
    return shaped[0], shaped[1]


def _floats(whole: np.ndarray) -> np.ndarray:
    """Return whole numbers as float32, or as float64 where that would round them."""
    found = whole.astype(np.float32)
    return found if np.array_equal(found, whole) else whole.astype(np.float64)


def _one_hot(numbers: np.ndarray, classes: int) -> np.ndarray:
    found = np.zeros((len(numbers), classes), np.float32)
    found[np.arange(len(numbers)), numbers] = 1
    return found


def _metric(given: str | Metric, which: str, loss: MatchingLoss) -> tuple[Metric, bool]:
    """Return the metric, and whether it is a share of errors."""
    if isinstance(given, Metric):
        return given, False
    if given == "loss":
        name = which or "loss"
        return (
            squared_error(loss) if which == "mse" else Metric(name, "lower", loss.per_case)
        ), False
    if given == "error" and which == "cross_entropy":
        return misclassified(), True
    if given == "error" and which == "bce":
        return zero_one(loss, HALF), True
    raise Usage(
        f"bench.problem: metric {given!r} does not go with this loss. Give 'loss', with "
        "cross_entropy or bce also 'error', or a bench.models.problem.Metric."
    )


def _margin(logarithms: bool) -> float:
    return math.log(1.05) if logarithms else POINT


def _called(module: Any) -> str:
    """Return the name of a function or class; a lambda has none of its own."""
    found = getattr(module, "__name__", "<lambda>")
    return "module" if found == "<lambda>" else str(found)
