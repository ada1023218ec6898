import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.optim.hyperparameters import UsageError
from bench.optim.text import ParsedEntry, parse, split

# Everything that the grammar gives no meaning of its own.
WORDS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="[],=|@()"),
    min_size=1,
)
TUPLES = st.lists(WORDS, max_size=3).map(lambda words: f"({','.join(words)})")
WRITTEN = st.builds(
    ParsedEntry,
    WORDS,
    st.none() | WORDS,
    st.dictionaries(WORDS, st.lists(WORDS | TUPLES, min_size=1, max_size=3).map(tuple), max_size=3),
)


# A busy machine must not fail a test.
unhurried = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def write(written: ParsedEntry, space: str = "") -> str:
    inside = f",{space}".join(
        f"{key}{space}={space}{'|'.join(values)}" for key, values in written.values.items()
    )
    backend = f"@{written.backend}" if written.backend else ""
    return f"{written.name}{backend}" + (f"[{space}{inside}{space}]" if inside else "")


@unhurried
@given(WRITTEN, st.sampled_from(["", " "]))
def test_what_is_written_is_read(written: ParsedEntry, space: str) -> None:
    assert parse(write(written, space)) == written


@unhurried
@given(st.lists(WRITTEN.map(write), min_size=1, max_size=4), st.sampled_from([",", " , "]))
def test_a_list_is_split_where_it_was_joined(entries: list[str], comma: str) -> None:
    assert split(comma.join(entries)) == entries


@unhurried
@given(st.text("nag@[]=|,.() 01", max_size=20))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        written = parse(text)
    except UsageError as error:
        assert str(error).startswith(repr(text)) or repr(text.strip()) in str(error)
        assert str(error).endswith(".")
    else:
        assert parse(write(written)) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nag", ParsedEntry("nag")),
        ("nag@numba-cuda", ParsedEntry("nag", "numba-cuda")),
        ("nag[]", ParsedEntry("nag")),
        (" nag @ numba [ lr = 1 ] ", ParsedEntry("nag", "numba", {"lr": ("1",)})),
        ("nag[lr=0.01|0.05]", ParsedEntry("nag", None, {"lr": ("0.01", "0.05")})),
        ("torch.optim.AdamW[lr=1e-3]", ParsedEntry("torch.optim.AdamW", None, {"lr": ("1e-3",)})),
        ("mypkg.opt:Mine", ParsedEntry("mypkg.opt:Mine")),
        ("./mine.py:Mine[a=b]", ParsedEntry("./mine.py:Mine", None, {"a": ("b",)})),
        ("add[T=80]", ParsedEntry("add", None, {"T": ("80",)})),
        (
            "m[b=(0.9, 0.99)|(1,(2, 3)),c.d=none]",
            ParsedEntry("m", None, {"b": ("(0.9, 0.99)", "(1,(2, 3))"), "c.d": ("none",)}),
        ),
    ],
)
def test_entries(text: str, expected: ParsedEntry) -> None:
    assert parse(text) == expected


def test_the_split_respects_brackets() -> None:
    assert split("nag[lr=1,mu_max=0.9], hf ,cm[lr=0.1|0.2]") == [
        "nag[lr=1,mu_max=0.9]",
        "hf",
        "cm[lr=0.1|0.2]",
    ]


@pytest.mark.parametrize("text", ["nag[", "nag]", "nag[lr=1", "nag[[lr=1]]", "nag][", "[[", "]"])
def test_brackets_that_do_not_match(text: str) -> None:
    for read in (split, parse):
        with pytest.raises(UsageError, match="brackets do not match. Write name"):
            read(text)


@pytest.mark.parametrize("text", ["", " ", "nag,", ",nag", "nag,,hf"])
def test_empty_entries(text: str) -> None:
    with pytest.raises(UsageError, match="empty entry"):
        split(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nag,hf", "has several entries"),
        ("nag[lr=1]x", "nothing may follow the closing bracket"),
        ("nag[lr=1][lr=2]", "nothing may follow the closing bracket"),
        ("nag[lr=1]x[]", "nothing may follow the closing bracket"),
        ("[lr=1]", "write name"),
        ("@torch", "write name"),
        ("nag@", "write name"),
        ("nag@[lr=1]", "write name"),
        ("nag[lr]", "'lr' is not of the form key=value"),
        ("nag[lr=]", "'lr=' is not of the form key=value"),
        ("nag[=1]", "'=1' is not of the form key=value"),
        ("nag[lr=1,]", "'' is not of the form key=value"),
        ("nag[lr=1|]", "'lr=1|' is not of the form key=value"),
        ("nag[lr=1|2,lr=3]", "'lr' is given twice"),
        ("nag[lr=1, lr =1]", "'lr' is given twice"),
        ("m[b=(0.9]", "the parentheses do not match"),
        ("m[b=0.9)]", "the parentheses do not match"),
        ("m[b=(0.9,0.99|(1,2)]", "the parentheses do not match"),
        ("m[a=1,b=0.9,0.95]", "write a tuple as b=(0.9,0.95), and a grid as b=0.9|0.95."),
        ("m[b=[0.9,0.95]]", "A tuple has parentheses, as in betas=(0.9,0.99)."),
    ],
)
def test_malformed_entries(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)
