import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.optim.values import Kind, NoValue, Value, kind_text, leaves, read, tupled, value_text

WORDS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda word: not _has_meaning(word))
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS
TUPLES = st.lists(LEAVES | st.lists(LEAVES, max_size=3).map(tuple), max_size=3).map(tuple)
VALUES = LEAVES | TUPLES


def _has_meaning(word: str) -> bool:
    return word in ("none", "true", "false", "nan", "inf", "infinity")


@settings(deadline=None)
@given(VALUES)
def test_a_value_of_any_kind_survives_its_own_text(value: Value) -> None:
    assert read(value_text(value), object) == value == read(value, object)


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=2), st.sampled_from(["", " "]))
def test_a_tuple_may_have_spaces_in_it(pair: list[float], space: str) -> None:
    text = f"{space}({space}{pair[0]!r}{space},{space}{pair[1]!r}{space}){space}"
    assert read(text, tuple[float, float]) == tuple(pair)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("(0.9,0.95)", tuple[float, float], (0.9, 0.95)),
        ("(3,0.5)", tuple[int, float], (3, 0.5)),
        ("(0.9)", tuple[float], (0.9,)),
        ("(0.9,)", tuple[float], (0.9,)),
        ("()", tuple[float, ...], ()),
        ("(1,2,3)", tuple[int, ...], (1, 2, 3)),
        ("((1,2),(3,4))", tuple[tuple[int, int], ...], ((1, 2), (3, 4))),
        ("(none,1e-3)", tuple[float | None, float], (None, 0.001)),
        ("(a,true)", tuple[str, bool], ("a", True)),
        ("(1,a,(b,None))", tuple, (1, "a", ("b", None))),
        ("none", float | None, None),
        ("None", str | None, None),
        ("none", str, "none"),
        ("5", int | None, 5),
        ("strong_wolfe", str | None, "strong_wolfe"),
        ("True", object, True),
        ("NONE", object, None),
        ("1e2", object, 100),
        ("0.5", object, 0.5),
        ("cosine", object, "cosine"),
    ],
)
def test_reading(text: str, kind: Kind, value: Value) -> None:
    found = read(text, kind)
    assert found == value
    assert [type(each) for each in leaves(found)] == [type(each) for each in leaves(value)]


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("0.9", tuple[float, float], "is not a tuple. A tuple has parentheses"),
        ("(0.9", tuple[float, float], "is not a tuple"),
        ("(0.9))", tuple[float, float], "the parentheses do not match"),
        ("(1),(2)", tuple[float, float], "the parentheses do not match"),
        ("(0.9,,1)", tuple[float, float], "has an empty element"),
        ("(,)", tuple[float, ...], "has an empty element"),
        ("(0.9,x)", tuple[float, float], ": x is not a number."),
        ("(0.9)", tuple[float, float], "has 1 element, and allowed are 2."),
        ("(1,2,3)", tuple[float, float], "has 3 elements, and allowed are 2."),
        ("(1,2.5)", tuple[int, ...], ": 2.5 is not a whole number."),
        ("(0.9,0.9..0.99)", tuple[float, float], ": 0.9..0.99 is a range"),
        ("(0.9|0.95,0.99)", tuple[float, float], "is a grid within a tuple"),
        ("(0.1,0.2)", float, "is a tuple. Write one number, or a grid"),
        ("x", float | None, "is not a number. Also allowed is none."),
        ("none", float, "is not a number."),
        ("'strong_wolfe'", str, "without quotes"),
        ('"a"', object, "without quotes"),
        ("f(x)", str, "without parentheses"),
        ("(((1)))", object, "is nested too deep"),
        ("maybe", bool, "allowed are true and false."),
    ],
)
def test_what_is_refused(text: str, kind: Kind, why: str) -> None:
    with pytest.raises(NoValue) as caught:
        read(text, kind)
    assert why in str(caught.value) and str(caught.value).endswith(".")


def test_json_gives_tuples_back() -> None:
    assert tupled({"a": [0.9, [1, None]], "b": "x"}) == {"a": (0.9, (1, None)), "b": "x"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [(float, "float"), (int | None, "int or none"), (object, "any"), (tuple, "(any,…)")],
)
def test_kinds_in_words(kind: Kind, text: str) -> None:
    assert kind_text(kind) == text
