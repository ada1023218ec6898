"""Names of optimizers that are made of another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.core.spec import MethodSpec, brief_name
from bench.optim import resolve
from bench.optim.hyperparameters import UsageError
from bench.optim.registry import make
from bench.optim.text import ParsedEntry, parse
from bench.optim.wrapper_text import apart, check_closed, names_in, of_inner, renamed

WORDS = st.text("abc./:_-1", min_size=1)
NAMES = st.lists(WORDS, min_size=1, max_size=4)


def nested(names: list[str]) -> str:
    first, *others = names
    return f"{first}({nested(others)})" if others else first


@given(NAMES)
def test_names_are_those_that_were_nested(names: list[str]) -> None:
    name = nested(names)
    assert names_in(name) == names
    assert renamed(name, lambda each: each) == name
    assert parse(f"{name}[a=1,inner.b=2]") == ParsedEntry(
        name, None, {"a": ("1",), "inner.b": ("2",)}
    )
    assert parse(name).names == names
    if len(names) > 1:
        assert apart(name) == (names[0], nested(names[1:]))
    else:
        assert apart(name) is None


@pytest.mark.parametrize("name", ["nag", "./a(1).py:Mine", "./a(.py:Mine", "a:B", "A(B)+C"])
def test_other_names_are_left_alone(name: str) -> None:
    assert apart(name) is None and names_in(name) == [name]
    check_closed(name)


def test_a_file_may_have_parentheses_in_its_name() -> None:
    assert apart("./a(1).py:Mine(./b(2).py:Other)") == ("./a(1).py:Mine", "./b(2).py:Other")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("A()", "is written with both names"),
        ("(B)", "is written with both names"),
        ("A(B)(C)", "has two inner optimizers, and one is allowed"),
        ("AB)", "the parentheses do not match"),
        ("A(" * 3000 + "B" + ")" * 3000, "3000 optimizers within one another, and 16 are allowed"),
    ],
)
def test_what_is_no_name_is_told(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        apart(name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:A(b:B[lr=1])", r"nothing may follow the closing bracket. All values of .*inner.lr="),
        ("a:A[k=1](b:B[lr=1])", r"nothing may follow the closing bracket. All values of"),
        ("nag[lr=1]x", r"nothing may follow the closing bracket.$"),
    ],
)
def test_values_stand_behind_the_whole_name(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse(text)


def test_values_of_the_inner_one_lose_its_mark_once() -> None:
    assert of_inner({"k": 1, "inner.lr": 2, "inner.inner.lr": 3}) == {"lr": 2, "inner.lr": 3}


TEXTS = (
    "pytorch_optimizer:Lookahead(torch.optim.AdamW)[k=3,inner.lr=0.01,inner.betas=(0.8,0.9)]",
    "pytorch_optimizer:SAM(torch.optim.SGD)[rho=0.1,batch=7]",
    "pytorch_optimizer:Lookahead(pytorch_optimizer:OrthoGrad(torch.optim.SGD))[inner.inner.lr=1]",
    "pytorch_optimizer:Lookahead(torch.optim.AdamW)[on=matrices]+torch.optim.SGD[on=rest]",
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_recorded_is_the_same_method_again(text: str) -> None:
    method = resolve(text)
    spec = MethodSpec(method.name, method.backend, dict(method.hyperparameters))
    again = resolve(spec.text)
    assert (again.name, dict(again.hyperparameters)) == (spec.name, spec.hyperparameters)


def test_a_grid_of_both() -> None:
    found = make(parse("pytorch_optimizer:Lookahead(torch.optim.SGD)[k=2|3,inner.lr=0.1|0.2]"))
    values = [(m.hyperparameters["k"], m.hyperparameters["inner.lr"]) for m in found]
    assert values == [(2, 0.1), (2, 0.2), (3, 0.1), (3, 0.2)]


def test_its_name_is_shown_without_where_it_was_found() -> None:
    name = "pytorch_optimizer:Lookahead(./my/own.py:Mine)+torch.optim.SGD"
    assert brief_name(name, {"1.on": "hidden", "2.on": "rest"}) == "Lookahead(Mine)+SGD"
