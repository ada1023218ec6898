"""What a selector takes of a network, and what it says where it takes nothing."""

from __future__ import annotations

import pytest

from bench.models.layout import Layout
from bench.optim.hyperparameters import UsageError
from bench.optim.selectors import chosen

LAYOUT = Layout(
    {
        "words.weight": (9, 4),
        "scan.weight": (4, 4, 3),
        "scan.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
        "hidden.weight": (4, 4),
        "slope": (1,),
        "head.weight": (9, 4),
        "head.bias": (9,),
    },
    roles={
        "words.weight": "embedding",
        "scan.weight": "kernel",
        "scan.bias": "bias",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "head.bias": "bias",
    },
)
TAKEN = {
    "all": list(LAYOUT.shapes),
    "matrices": ["scan.weight", "hidden.weight", "head.weight"],
    "hidden": ["scan.weight", "hidden.weight"],
    "first": ["words.weight"],
    "last": ["head.weight", "head.bias"],
    "kernels": ["scan.weight"],
    "embeddings": ["words.weight"],
    "vectors": ["scan.bias", "norm.weight", "norm.bias", "slope", "head.bias"],
    "biases": ["scan.bias", "head.bias"],
    "norms": ["norm.weight", "norm.bias"],
    "slope": ["slope"],
    "head.*": ["head.weight", "head.bias"],
    "?ead.bias": ["head.bias"],
    "matrices-last": ["scan.weight", "hidden.weight"],
    "matrices-embeddings-last": ["scan.weight", "hidden.weight"],
    "norms + biases": ["scan.bias", "norm.weight", "norm.bias", "head.bias"],
    "vectors-norms-last+head.bias": ["scan.bias", "slope", "head.bias"],
}


@pytest.mark.parametrize("selector", TAKEN)
def test_a_selector_takes(selector: str) -> None:
    assert chosen(selector, LAYOUT, "on") == TAKEN[selector]


def refusal(selector: str, layout: Layout = LAYOUT) -> str:
    with pytest.raises(UsageError) as caught:
        chosen(selector, layout, f"mine[on={selector}]")
    return str(caught.value)


def test_an_unknown_term_gets_the_nearest_and_the_list() -> None:
    assert refusal("matrixes-last") == (
        "mine[on=matrixes-last]: there is no parameter or term 'matrixes'; did you mean "
        "'matrices'? Write all, matrices, hidden, first, last, kernels, embeddings, vectors, "
        "biases, norms or rest, a name or a pattern such as *.bias. The names are: words.weight, "
        "scan.weight, scan.bias, norm.weight, norm.bias, hidden.weight, slope, head.weight and 1 "
        "more."
    )


def test_what_takes_nothing_gets_the_networks_names() -> None:
    said = refusal("embeddings", Layout({"W": (2, 3), "b": (3,)}))
    assert "mine[on=embeddings] takes no parameter of this network. It has: W, b." in said
    assert "takes no parameter" in refusal("blocks.*")
    assert "takes no parameter" in refusal("matrices-all")
    assert "takes no parameter" in refusal("first", Layout({"b": (3,)}))


@pytest.mark.parametrize("selector", ["", "-last", "matrices-", "matrices+-last"])
def test_a_missing_term_is_said(selector: str) -> None:
    assert "a term is missing" in refusal(selector)


def test_rest_stands_alone() -> None:
    assert "it stands alone" in refusal("rest-last")
