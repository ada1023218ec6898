"""Whether a problem's cases are numbers that θ's precision can hold and the loss is defined for."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.models.errors import ProblemError
from bench.models.losses import MatchingLoss
from bench.models.problem import Data, are_tokens

LOST = 0.01
"""Rounding may move a value by so much of the spread of its feature."""


def check_cases(data: Data, loss: MatchingLoss, dtype: type[np.floating] = np.float32) -> None:
    """Check all arrays of cases; raise ProblemError with what is wrong and what to do.

    `dtype` is the precision in which a comparison trains.
    """
    if not isinstance(data, Data):
        raise ProblemError(
            f"data() returned a {type(data).__name__}; return a bench.models.problem.Data"
        )
    for part in ("train", "test"):
        inputs, targets = getattr(data, f"{part}_inputs"), getattr(data, f"{part}_targets")
        _check_numbers(f"{part}_inputs", inputs, dtype, whole=True)
        if targets is not inputs:
            _check_numbers(f"{part}_targets", targets, dtype)
        if len(inputs) != len(targets) or not len(inputs):
            raise ProblemError(
                f"there are {len(inputs):,} {part}_inputs and {len(targets):,} {part}_targets; "
                "there must be one target for each input, and at least one of both"
            )
        try:
            loss.check_targets(targets)
        except ValueError as error:
            raise ProblemError(f"{part}_targets: {error}") from error
    if are_tokens(data.train_inputs) != are_tokens(data.test_inputs):
        raise ProblemError(
            f"train_inputs are of type {data.train_inputs.dtype} and test_inputs of type "
            f"{data.test_inputs.dtype}, so only one of them are tokens. Tokens are int32 or int64; "
            "give both alike"
        )
    for kind in ("inputs", "targets"):
        train, test = (getattr(data, f"{part}_{kind}").shape[1:] for part in ("train", "test"))
        if train != test:
            raise ProblemError(
                f"a case of train_{kind} has the shape {train}, and one of test_{kind} {test}; "
                "they must be equal"
            )


def _check_numbers(name: str, given: Any, dtype: type[np.floating], whole: bool = False) -> None:
    """Raise ProblemError unless `given` is an array of finite real numbers that `dtype` holds.

    `whole` says that whole numbers may stay what they are, as tokens do.
    """
    if not isinstance(given, np.ndarray):
        raise ProblemError(
            f"{name} is a {type(given).__name__}; give a NumPy array, for a tensor tensor.numpy()"
        )
    if given.dtype.kind == "c":
        raise ProblemError(
            f"{name} are complex numbers, of which the imaginary part would be lost; give real "
            "and imaginary parts as two features"
        )
    if given.dtype.kind not in "buif" or not given.ndim:
        raise ProblemError(
            f"{name} has the type {given.dtype} and the shape {given.shape}; give an array of "
            "numbers, the cases first"
        )
    if not given.size:
        if len(given):
            raise ProblemError(f"{name} has the shape {given.shape}, so its cases are empty")
        return
    # Minimum and maximum are NaN if any value is.
    least, most = given.min(), given.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        wrong = int(np.count_nonzero(~np.isfinite(given)))
        raise ProblemError(
            f"{name} has {wrong:,} values that are NaN or infinite; remove these cases, or fill in "
            "the values"
        )
    if whole and are_tokens(given):
        return
    if given.dtype.itemsize > np.dtype(dtype).itemsize or given.dtype.kind in "ui":
        _check_precision(name, given, max(abs(float(least)), abs(float(most))), dtype)


def _check_precision(name: str, given: np.ndarray, most: float, dtype: type[np.floating]) -> None:
    """Raise ProblemError if rounding to `dtype` loses what the values say."""
    held = np.dtype(dtype).name
    if most > float(np.finfo(dtype).max):
        raise ProblemError(
            f"{name} has values up to {most:g}, more than {held} can hold; scale them"
        )
    if given.dtype.kind in "bui" and most <= 2 ** (np.finfo(dtype).nmant + 1):
        return
    wide = given.astype(np.float64)
    lost = np.abs(wide - wide.astype(dtype)).reshape(len(wide), -1).max(0)
    flat = wide.reshape(len(wide), -1)
    spread = flat.max(0) - flat.min(0)
    worst = int(np.argmax(lost - LOST * spread))
    if lost[worst] > LOST * spread[worst] > 0:
        raise ProblemError(
            f"{name}: rounding to {held} moves values of feature {worst} by up to {lost[worst]:g}, "
            f"but they only spread over {spread[worst]:g}; subtract their mean and scale them"
        )
