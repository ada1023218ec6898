from pathlib import Path

import pytest

from bench.harness.core.errors import Usage
from bench.harness.core.sources import source_digest
from bench.harness.planning.problems import names, resolve
from bench.models.built_in import PROBLEMS
from tests.harness.small import PROBLEM

OWN = """
from tests.harness.small import make as small

def make(preset, size="1"):
    made = small(preset)
    made.parameters = {"size": int(size)}
    return made

def one_preset(preset):
    return {"paper": small}[preset](preset)

def broken(preset):
    raise ZeroDivisionError

def nothing(preset):
    return 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return str(file)


@pytest.mark.parametrize("preset", ["quick", "standard", "paper"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_built_in(name, preset):
    problem = resolve(name, preset)
    assert (problem.name, problem.preset) == (name, preset)
    assert name in names()


def test_ones_own(own):
    assert resolve(PROBLEM, "quick").name == "small"
    assert resolve(f"{own}:make", "paper").preset == "paper"
    assert resolve(f"{own}:make[size=3]", "quick").parameters == {"size": 3}


def test_an_entry_point(tmp_path, monkeypatch):
    installed = tmp_path / "mine-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: mine\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(f"[bench.problems]\nplanes = {PROBLEM}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "planes" in names()
    assert resolve("planes", "quick").name == "small"


@pytest.mark.parametrize(
    ("text", "preset", "told"),
    [
        ("curvse", "quick", "no such problem; did you mean 'curves'? There are: curves, mnist"),
        ("zzz", "quick", "no such problem. There are: curves, mnist"),
        ("curves", "quik", "--preset quik: there is no such preset; did you mean 'quick'?"),
        ("curves@cuda", "quick", "a problem has no backend"),
        ("curves[side=16|28]", "quick", "write one value each"),
        ("curves[side=16]", "quick", "curves has no parameter side; it has init, scale, fan_in"),
        ("./not_there.py:make", "quick", "there is no file"),
        ("not_there:make", "quick", "importing 'not_there' failed"),
        ("{own}:mak", "quick", "has no 'mak'; did you mean 'make'?"),
        ("{own}:make[size=big]", "quick", "ValueError: invalid literal"),
        ("{own}:one_preset", "quick", "preset quick: KeyError: 'quick'"),
        ("{own}:broken", "quick", "ZeroDivisionError"),
        ("{own}:nothing", "quick", "gave a int, not a Problem"),
    ],
)
def test_what_is_no_problem(own, text, preset, told):
    with pytest.raises(Usage) as caught:
        resolve(text.format(own=own), preset)
    assert told in str(caught.value)
    assert str(caught.value).startswith(("--problem ", "--preset "))


def test_the_function_that_made_a_problem_is_part_of_its_source(tmp_path):
    digests = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "own.py").write_text(f"{OWN}\nnumber = {number}\n")
        problem = resolve(f"{folder / 'own.py'}:make", "quick")
        assert problem.made_by is not None
        digests.append(source_digest(type(problem), problem.made_by))
    assert digests[0] != digests[1] != source_digest(type(problem))
