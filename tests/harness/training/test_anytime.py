import math
from types import SimpleNamespace
from typing import Any

import pytest

from bench.harness.core.errors import BrokenContract
from bench.harness.training.anytime import anytime_updates


def method(answer: object) -> Any:
    return SimpleNamespace(name="mine", anytime_updates=lambda budget: answer)


def test_what_a_method_says_of_a_run_of_100_updates() -> None:
    said = (0, 65, 65.0, 99, 100, 1000, math.inf)
    found = [anytime_updates(method(answer), 100) for answer in said]
    assert found == [0, 65, 65, 99, None, None, None]
    assert anytime_updates(method(10**9), None) == 10**9


def test_a_method_that_does_not_say_is_anytime() -> None:
    assert anytime_updates(SimpleNamespace(name="mine"), 100) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [None, -1, math.nan, "half", True])
def test_an_answer_that_is_no_number_of_updates(answer: object) -> None:
    with pytest.raises(BrokenContract, match="`anytime_updates` of mine returned "):
        anytime_updates(method(answer), 100)
