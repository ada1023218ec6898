import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.optim.hyperparameters import Hyperparameter, UsageError, Value, cast_all, nearest

LR = Hyperparameter("lr", float, 0.01, "a rate", low=0.0, open_low=True)
MU = Hyperparameter("mu", float, 0.9, "a fraction", low=0.0, high=1.0)
BATCH = Hyperparameter("batch", int, 200, "cases", low=1)
FREE = Hyperparameter("free", float, 0.0, "any number")
FLAG = Hyperparameter("flag", bool, False, "yes or no")
RULE = Hyperparameter("rule", str, "rising", "a name", choices=("rising", "constant"))
BETAS = Hyperparameter("betas", tuple[float, float], (0.9, 0.99), "two weights", low=0, high=1)
CLIP = Hyperparameter("clip", float | None, None, "a norm, or none", low=0, open_low=True)
SEARCH = Hyperparameter("search", str | None, None, "a rule", choices=("wolfe",))
SPACE = (LR, MU, BATCH, FREE, FLAG, RULE)


@pytest.mark.parametrize(
    ("hyperparameter", "given", "expected"),
    [
        (LR, ".01", 0.01),
        (LR, "1e-2", 0.01),
        (LR, " 0.010 ", 0.01),
        (LR, 1, 1.0),
        (MU, 0, 0.0),
        (MU, "1", 1.0),
        (BATCH, "2e2", 200),
        (BATCH, 200.0, 200),
        (BATCH, "1", 1),
        (FREE, "-1e300", -1e300),
        (FLAG, "Yes", True),
        (FLAG, "0", False),
        (FLAG, True, True),
        (FLAG, "off", False),
        (RULE, "constant", "constant"),
        (BETAS, "(0.5, 1)", (0.5, 1.0)),
        (BETAS, (0, 1), (0.0, 1.0)),
        (BETAS, [0.5, 0.9], (0.5, 0.9)),
        (CLIP, "none", None),
        (CLIP, None, None),
        (CLIP, "2", 2.0),
        (SEARCH, "wolfe", "wolfe"),
        (SEARCH, None, None),
    ],
)
def test_casts(hyperparameter: Hyperparameter, given: object, expected: Value) -> None:
    value = hyperparameter.cast(given, "nag")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("hyperparameter", "given", "message"),
    [
        (LR, "fast", "nag: lr=fast is not a number."),
        (LR, "", "nag: lr= is not a number."),
        (LR, True, "nag: lr=True is not a number."),
        (LR, 0, "nag: lr=0 is out of range: above 0."),
        (LR, "-1", "nag: lr=-1 is out of range: above 0."),
        (MU, "1.01", "nag: mu=1.01 is out of range: at least 0 and at most 1."),
        (MU, math.nan, "nag: mu=nan is out of range: at least 0 and at most 1."),
        (FREE, "inf", "nag: free=inf is out of range: any finite number is allowed."),
        (FREE, "nan", "nag: free=nan is out of range: any finite number is allowed."),
        (BATCH, "1.5", "nag: batch=1.5 is not a whole number."),
        (BATCH, "inf", "nag: batch=inf is not a whole number."),
        (BATCH, "0", "nag: batch=0 is out of range: at least 1."),
        (FLAG, "maybe", "nag: flag=maybe: allowed are true and false."),
        (RULE, "cosine", "nag: rule=cosine: allowed are rising, constant."),
        (BETAS, "(0.5,2)", "nag: betas=(0.5,2) is out of range: at least 0 and at most 1."),
        (BETAS, "(0.5,nan)", "nag: betas=(0.5,nan) is out of range: at least 0 and at most 1."),
        (BETAS, "(0.5)", "nag: betas=(0.5) has 1 element, and allowed are 2."),
        (BETAS, None, "nag: betas=None is not a tuple. A tuple has parentheses, as in (0.9,0.99)."),
        (CLIP, "0", "nag: clip=0 is out of range: above 0."),
        (SEARCH, "armijo", "nag: search=armijo: allowed are wolfe."),
    ],
)
def test_what_is_refused(hyperparameter: Hyperparameter, given: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        hyperparameter.cast(given, "nag")
    assert str(caught.value) == message


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_its_own_text(value: float) -> None:
    assert FREE.cast(repr(value), "nag") == value


@settings(deadline=None)
@given(st.integers(1, 2**53))
def test_an_integer_survives_its_own_text(value: int) -> None:
    assert BATCH.cast(str(value), "nag") == value


def test_everything_is_given_or_by_default_in_the_declared_order() -> None:
    values = cast_all(SPACE, {"batch": "50", "lr": 1}, "nag")
    assert list(values) == [h.name for h in SPACE]
    assert values == {
        "lr": 1.0, "mu": 0.9, "batch": 50, "free": 0.0, "flag": False, "rule": "rising",
    }  # fmt: skip


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        cast_all(SPACE, {"bacth": 1}, "nag")
    assert str(caught.value) == (
        "nag has no hyperparameter 'bacth'; did you mean 'batch'? "
        "It has: lr, mu, batch, free, flag, rule."
    )
    with pytest.raises(UsageError) as caught:
        cast_all((), {"lr": 1}, "none")
    assert str(caught.value) == "none has no hyperparameter 'lr'. It has: none."


def test_nearest() -> None:
    assert nearest("curvs", ["mnist", "curves"]) == "; did you mean 'curves'?"
    assert nearest("adamw", ["Adam", "AdamW"]) == "; did you mean 'AdamW'?"
    assert nearest("zzz", ["mnist", "curves"]) == "."
    assert nearest("x", []) == "."
