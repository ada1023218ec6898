import io
import itertools

import pytest
from rich.console import Console

from bench.harness.report.table import pair_matrix, render
from bench.harness.report.verdict_matrix import best_first, verdict_matrix

METHODS = ("sgd", "cm", "nag", "hf")


def pair(a, b, verdict, value=0.5, unit="ratio"):
    ratio = {"value": value} if unit == "ratio" else None
    return {"a": a, "b": b, "verdict": verdict, "unit": unit, "ratio": ratio, "difference": value}


def matrix_of(verdicts):
    """The matrix of a, b, c and d, whose six pairs have these verdicts in order."""
    pairs = itertools.combinations("abcd", 2)
    given = [pair(*each, verdict) for each, verdict in zip(pairs, verdicts, strict=True)]
    return verdict_matrix(given, list("abcd"))


def printed(shown, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    return console.file.getvalue()


def test_every_pair_is_in_two_cells_that_say_the_same(compared):
    summary, _, _ = compared(*METHODS, seeds=8)
    matrix = pair_matrix(summary)
    means = {row["method"]: row["final"]["mean"] for row in summary["methods"]}
    assert list(matrix.methods) == sorted(means, key=means.get)
    for index, each in enumerate(summary["pairs"]):
        i, j = (matrix.methods.index(each[side]) for side in "ab")
        one, other = matrix.cells[i][j], matrix.cells[j][i]
        sides = {"a better": ("better", "worse"), "b better": ("worse", "better")}
        alike = (each["verdict"], each["verdict"])
        assert (one.verdict, other.verdict) == sides.get(each["verdict"], alike)
        assert one.amount == each["ratio"]["value"] and one.amount * other.amount == pytest.approx(
            1
        )
        assert one.pair == other.pair == index
    assert all(matrix.cells[i][i] is None for i in range(4))


def test_pairs_of_three_methods_are_read_one_by_one(compared):
    summary, _, _ = compared("sgd", "cm", "nag")
    assert pair_matrix(summary) is None
    assert verdict_matrix([], list("abcd")) is None


def test_the_judged_data_give_the_order(compared):
    summary, _, _ = compared(*METHODS)
    summary["metric"] = {**summary["metric"], "split": "test", "direction": "higher"}
    for row, mean in zip(summary["methods"], (3.0, None, 4.0, 1.0), strict=True):
        row["final"]["test"]["mean"] = mean
    assert pair_matrix(summary).methods == ["nag", "sgd", "hf", "cm"]
    assert best_first([("a", None), ("b", 2.0), ("c", 1.0)], "lower") == ["c", "b", "a"]


def test_differences_change_their_sign_and_missing_figures_stay_missing():
    given = [
        pair("a", "b", "equivalent", 0.25, "difference"),
        pair("a", "c", "a better", None),
        {**pair("a", "d", "a better"), "ratio": None},
        pair("b", "c", "cannot tell", None, "difference"),
        pair("b", "d", "a better", 0.0),
    ]
    cells = verdict_matrix(given, list("abcd")).cells
    assert (cells[0][1].amount, cells[1][0].amount) == (0.25, -0.25)
    assert cells[0][1].verdict == cells[1][0].verdict == "equivalent"
    for i, j in ((0, 2), (2, 0), (0, 3), (3, 0), (1, 2), (2, 1), (3, 1)):
        assert cells[i][j].amount is None
    assert cells[2][3] is None  # It was not judged.


A, B, UNKNOWN = "a better", "b better", "cannot tell"


@pytest.mark.parametrize(
    ("verdicts", "claim", "evidence"),
    [
        ([A, A, A, A, UNKNOWN, "equivalent"], "a is better than each of the 3 others", "4 of 6"),
        ([UNKNOWN, A, A, A, A, A], "No method is better than a or b", "better than 2 and 2 of"),
        ([UNKNOWN, A, UNKNOWN, B, A, A], "No method is better than a", "It is better than 1 of"),
        ([A, A, B, A, A, A], "Every method has a better one", "In 6 of 6 pairs"),
        (["too few seeds"] * 6, "Of no pair of the 4 methods one is better", ""),
    ],
)  # fmt: skip
def test_who_is_unbeaten(verdicts, claim, evidence):
    said, told = matrix_of(verdicts).headline("test loss")
    assert said.startswith(claim) and said.endswith(" in test loss")
    assert evidence in told


def test_the_terminal_shows_it_before_the_pairs_and_within_its_width(compared):
    summary, _, _ = compared("sgd", "cm", "nag[lr=0.01,mu_max=0.99]", "hf", seeds=8)
    for width in (40, 80, 120):
        text = printed(render(summary), width)
        assert max(map(len, text.splitlines())) <= width
        rows = text.split("1 2 3 4\n")[1].split("a row is better")[0]
        signs = [line.split()[-4:] for line in rows.splitlines()]
        assert [row[i] for i, row in enumerate(signs)] == ["·"] * 4
        for i, j in itertools.combinations(range(4), 2):
            assert (signs[i][j], signs[j][i]) in {("+", "−"), ("−", "+"), ("=", "="), ("?", "?")}
        assert text.index("1 2 3 4\n") < text.index("• ")


def test_long_names_are_folded_and_no_room_is_no_matrix():
    names = [f"a_long_name_of_a_method_{k}" for k in range(12)]
    given = [pair(a, b, A) for a, b in itertools.combinations(names, 2)]
    text = printed(verdict_matrix(given, names), 60)
    assert max(map(len, text.splitlines())) <= 60
    squeezed = "".join(text.split())
    assert squeezed.count("a_long_name") == 12 and "12a_long_name" in squeezed
    assert printed(verdict_matrix(given, names), 40) == ""
