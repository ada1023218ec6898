"""Whatever is written in brackets behind a problem is part of its identity."""

from functools import partial
from pathlib import Path

import pytest

from bench.harness.core.errors import Usage
from bench.harness.planning.arguments import arguments_of
from bench.harness.planning.preparation import prepare
from bench.harness.planning.problems import resolve
from bench.models.problem import Problem
from tests.harness.small import request

OWN = """
from functools import partial
from tests.harness.small import make as small

def key(preset, width="5"):
    return small(preset)

def number(preset, width=5, rate=0.5, wide=False, name="1.0", none=None, thing=()):
    return small(preset)

def loose(preset, **options):
    return small(preset)

def repeated(preset, width="5"):
    made = small(preset)
    made.parameters = {"width": int(width), "depth": 2}
    return made

def wrong(preset, width="5"):
    made = small(preset)
    made.parameters = {"width": min(int(width), 10)}
    return made

ten = partial(key, width="10")

class Class:
    def __init__(self, size=3):
        self.size = size

    def __call__(self, preset, *, width=3):
        return small(preset)

called = Class()

def deaf(preset):
    return small("quick")
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return str(file)


def identity(text: str) -> dict[str, object]:
    return resolve(text, "quick").identity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key", {"width": 5}),
        ("key[width=5]", {"width": 5}),
        ("key[width=50]", {"width": 50}),
        ("key[width=05]", {"width": "05"}),  # The function gets a text, and may read it as one.
        ("key[width=wide]", {"width": "wide"}),
        ("number", {"width": 5, "rate": 0.5, "wide": False, "name": 1.0}),
        ("number[width=05]", {"width": 5, "rate": 0.5, "wide": False, "name": 1.0}),
        ("number[width=7,rate=1e-2]", {"width": 7, "rate": 0.01, "wide": False, "name": 1.0}),
        ("number[wide=true]", {"width": 5, "rate": 0.5, "wide": True, "name": 1.0}),
        ("number[name=1.00]", {"width": 5, "rate": 0.5, "wide": False, "name": "1.00"}),
        (
            "number[none=a,thing=b]",
            {"width": 5, "rate": 0.5, "wide": False, "name": 1.0, "none": "a", "thing": "b"},
        ),
        ("loose", {}),
        ("loose[any=thing,n=3]", {"any": "thing", "n": 3}),
        ("repeated", {"width": 5, "depth": 2}),
        ("repeated[width=05]", {"width": 5, "depth": 2}),
        ("repeated[width=6]", {"width": 6, "depth": 2}),
        ("wrong[width=40]", {"width": 40}),
        ("wrong[width=50]", {"width": 50}),
        ("ten", {"width": 10}),
        ("called", {"width": 3}),
        ("called[width=4]", {"width": 4}),
        ("loose[n=nan,m=99999999999999999999]", {"n": "nan", "m": "99999999999999999999"}),
    ],
)
def test_identity(own: str, text: str, expected: dict[str, object]) -> None:
    assert identity(f"{own}:{text}") == expected


def test_brackets_tell_trials_apart(own: str, store_url: str) -> None:
    made = [
        prepare(request(store_url, problem=f"{own}:key{brackets}"))
        for brackets in ("[width=5]", "[width=50]", "")
    ]
    keys = [each.protocol.key for each in made]
    assert keys[0] != keys[1]
    assert keys[2] == keys[0]
    assert made[1].protocol.parameters == {"width": 50}


def test_a_class_is_called_like_a_function() -> None:
    class Mine(Problem):
        def __init__(self, preset: str, width: int = 5) -> None:
            raise NotImplementedError

    assert arguments_of(Mine, {"width": "007"}) == {"width": 7}
    assert arguments_of(partial(Mine, width=6), {}) == {"width": 6}


def test_built_in_problems_record_their_own(store_url: str) -> None:
    assert resolve("add[T=30]", "quick").identity == resolve("add[T=30]", "quick").parameters


def test_a_preset_that_the_problem_does_not_take_over_is_refused(own: str) -> None:
    assert resolve(f"{own}:deaf", "quick").preset == "quick"
    with pytest.raises(Usage, match="says that its preset is quick, so results at several"):
        resolve(f"{own}:deaf", "paper")


ONE_NAME = """
from bench.optim.momentum.methods import NAG

class Mine(NAG):
    name = "mine"
"""


def test_two_classes_with_one_name_are_refused(tmp_path: Path, store_url: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(ONE_NAME)
    a, b = (f"{tmp_path}/{folder}/mine.py:Mine[batch=20]" for folder in ("a", "b"))
    with pytest.raises(Usage, match="two classes on the list have the name 'mine'"):
        prepare(request(store_url, f"{a},{b.replace('batch', 'lr=0.1,batch')}"))
