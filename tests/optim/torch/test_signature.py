"""Every argument with a plain default is a hyperparameter, and keeps its form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.harness.core.spec import MethodSpec
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.registry import make, resolve
from bench.optim.text import parse
from bench.optim.torch.adapter import adapt, is_optimizer, of_torch
from bench.optim.torch.annotations import choices_of, kind_of
from bench.optim.torch.signature import HOW_TORCH_COMPUTES, declared, like
from bench.optim.values import value_text

if TYPE_CHECKING:
    from nowhere import Unknown

EMPTY = inspect.Parameter.empty
TORCHS_OWN = [name for name, each in vars(torch.optim).items() if is_optimizer(each)]
TAKEN = [name for name in TORCHS_OWN if name != "SparseAdam"]


class Mode(IntEnum):
    FIRST = 1


@pytest.mark.parametrize(
    ("default", "annotation", "kind"),
    [
        (0.1, EMPTY, float),
        (0, EMPTY, float),
        (0, float, float),
        (5, int, int),
        (5, int | None, int | None),
        (5, int | float, float),
        (0.5, int, float),
        (0.1, float | torch.Tensor, float),
        (True, bool, bool),
        (False, bool | float, object),
        ("a", EMPTY, str),
        ("a", Literal["a", "b"], str),
        ("a", str | tuple[float, ...], object),
        (None, EMPTY, object),
        (None, Any, object),
        (None, Optional[float], float | None),  # noqa: UP045
        (None, Union[int, float, None], float | None),  # noqa: UP007
        (None, Literal["a", "b"] | None, str | None),
        (None, float | str | None, object),
        (None, Sequence[int] | None, tuple[int, ...] | None),
        (None, Callable[[float], float] | None, None),
        (None, torch.Tensor | None, None),
        ((0.9, 0.99), EMPTY, tuple[float, float]),
        ((1e-6, 50), EMPTY, tuple[float, float]),
        ((0.9, 0.99), tuple[float, float] | tuple[float, float, float], tuple[float, float]),
        ((0.9, 0.99), tuple[None, float] | tuple[float, float], tuple[float | None, float]),
        ((None, 0.1), tuple[float | None, float], tuple[float | None, float]),
        ((None, 0.1), EMPTY, tuple[object, float]),
        ((0.9, 0.99), Sequence[float], tuple[float, ...]),
        ((2,), tuple[int, ...], tuple[int, ...]),
        ([10, 20], list[int], tuple[int, ...]),
        ([10, 20], EMPTY, tuple[float, ...]),
        ([], EMPTY, tuple[object, ...]),
        ((), Iterable[str], tuple[str, ...]),
        (((1, 2), (3, 4)), EMPTY, tuple[tuple[float, float], tuple[float, float]]),
    ],
)
def test_kinds(default: Any, annotation: Any, kind: Any) -> None:
    assert kind_of(default, annotation) == kind


def test_choices() -> None:
    assert choices_of(Literal["a", "b"] | None) == ("a", "b")
    assert choices_of(Literal["a"] | float) == choices_of(str) == choices_of(EMPTY) == ()


def everything(
    parameters: Any,
    lr: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.99),
    milestones: list[int] = [10, 20],  # noqa: B006
    search: Literal["wolfe", "armijo"] | None = None,
    clip=None,
    mode: int = Mode.FIRST,
    unknown: Unknown = 0.5,
    momentum=0,
    callback: Callable[[], None] | None = None,
    kind: type = float,
    limit: float = float("inf"),
    rule: str = "a,b",
    sizes: Any = (3, torch.zeros(3)),  # noqa: B008
    foreach: bool | None = None,
    scale: Any = torch.tensor(2.0),  # noqa: B008
) -> torch.optim.Optimizer:
    seen.update(locals())
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum)


seen: dict[str, Any] = {}


def made(text: str = "") -> Method:
    values = parse(f"everything[{text}]").values
    given = {name: each[0] for name, each in values.items()}
    return adapt(everything, "everything")("torch", **given)


def test_what_is_plain_is_declared() -> None:
    names = [h.name for h in declared(everything, "everything")[1:]]
    assert names == [
        *("lr", "betas", "milestones", "search", "clip", "mode", "unknown", "momentum", "scale")
    ]


def test_defaults_reach_the_factory_as_they_are() -> None:
    made()
    assert seen["betas"] == (0.9, 0.99) and seen["milestones"] == [10, 20]
    assert (seen["search"], seen["clip"], seen["momentum"]) == (None, None, 0)
    assert type(seen["momentum"]) is int and isinstance(seen["scale"], torch.Tensor)
    assert seen["rule"] == "a,b" and seen["limit"] == float("inf")


def test_values_reach_the_factory_in_the_form_of_the_default() -> None:
    text = "betas=(0.5, 0.9),milestones=(1,2,3),search=wolfe,clip=2,momentum=0.9,scale=3"
    method = made(text)
    assert seen["betas"] == (0.5, 0.9) and seen["milestones"] == [1, 2, 3]
    assert (seen["search"], seen["clip"], seen["momentum"]) == ("wolfe", 2, 0.9)
    assert torch.equal(seen["scale"], torch.tensor(3.0))
    assert method.hyperparameters["milestones"] == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("search=cosine", "allowed are wolfe, armijo"),
        ("milestones=(1.5)", "1.5 is not a whole number"),
        ("betas=(0.9)", "has 1 element"),
        ("clip='a'", "without quotes"),
        ("callback=none", "has no hyperparameter 'callback'"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        made(text)


def test_a_partial_and_its_annotations() -> None:
    found = {h.name: h for h in declared(partial(torch.optim.LBFGS, max_iter=5), "mine")}
    assert found["max_iter"].default == 5 and found["max_eval"].kind == int | None


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_torchs_own_arguments_are_all_declared(name: str) -> None:
    arguments = list(inspect.signature(getattr(torch.optim, name)).parameters)[1:]
    space = [h.name for h in of_torch(f"torch.optim.{name}").space]
    assert space == ["batch", *(each for each in arguments if each not in HOW_TORCH_COMPUTES)]


@pytest.mark.parametrize("name", TAKEN)
def test_a_default_that_is_written_out_changes_nothing(name: str) -> None:
    method = resolve(f"torch.optim.{name}")
    spec = MethodSpec(method.name, method.backend, method.hyperparameters)
    inside = ",".join(f"{h.name}={value_text(h.default)}" for h in method.space)
    for text in (f"torch.optim.{name}[{inside}]", spec.text):
        again = resolve(text)
        assert again.hyperparameters == method.hyperparameters
        assert MethodSpec(again.name, again.backend, again.hyperparameters).key == spec.key


BETA = st.floats(0.01, 0.999)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(BETA, BETA, st.booleans(), st.sampled_from(["", " "]))
def test_a_method_survives_its_own_text(b1: float, b2: float, flag: bool, space: str) -> None:
    text = f"torch.optim.Adam[betas=({b1!r},{space}{b2!r}),amsgrad={flag}]"
    (method,) = make(parse(text))
    assert method.hyperparameters["betas"] == (b1, b2)
    spec = MethodSpec(method.name, method.backend, method.hyperparameters)
    assert resolve(spec.text).hyperparameters == method.hyperparameters


def test_a_grid_of_tuples_and_of_words() -> None:
    grid = make(parse("torch.optim.Adam[betas=(0.9,0.95)|(0.9,0.99)]"))
    assert [each.hyperparameters["betas"] for each in grid] == [(0.9, 0.95), (0.9, 0.99)]
    grid = make(parse("torch.optim.LBFGS[line_search_fn=none|strong_wolfe]"))
    assert [each.hyperparameters["line_search_fn"] for each in grid] == [None, "strong_wolfe"]


@pytest.mark.parametrize(
    ("default", "value", "found"),
    [
        (0, 2.0, 2),
        (0, 0.5, 0.5),
        (0.0, 2.0, 2.0),
        ((1e-6, 50), (1e-3, 7.0), (1e-3, 7)),
        ([1], (2.0, 3.0), [2, 3]),
        ([], (2, "a"), [2, "a"]),
        (([1], 2), ((3.0,), 4.0), ([3], 4)),
        (None, (1, 2), (1, 2)),
        (None, None, None),
        (torch.tensor([0.1], dtype=torch.float64), 0.2, torch.tensor([0.2], dtype=torch.float64)),
        (torch.tensor(3), 5.0, torch.tensor(5)),
        (torch.tensor(3), 0.5, torch.tensor(0.5)),
        (torch.tensor(3), None, None),
    ],
)
def test_the_form_of_a_value_is_that_of_the_default(default: Any, value: Any, found: Any) -> None:
    assert repr(like(default, value)) == repr(found)
