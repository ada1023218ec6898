"""Optimizers and problems of a program: what they are called, and what their trials rest on."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

import pytest
import torch

import bench
from bench.harness.core.sources import is_lost, source_digest
from bench.harness.store.results import Store
from bench.models.built_in import PROBLEMS
from bench.objects import text_of_optimizers, text_of_problem
from bench.optim import plugins
from bench.optim.momentum.methods import NAG
from bench.optim.plugins import Objects
from bench.optim.registry import resolve
from tests.harness import small


def adam(parameters: Any, lr: float = 0.01, beta: float = 0.9) -> Any:
    return torch.optim.Adam(parameters, lr=lr, betas=(beta, 0.999))


class Mine(NAG):
    name = "mine"


def text(*given: Any) -> str:
    return text_of_optimizers(list(given), Objects())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("hf[lam=10]", "hf[lam=10]"),
        (NAG, "nag"),
        (torch.optim.AdamW, "torch.optim.AdamW"),
        (Mine, f"{__name__}:Mine"),
        (adam, f"{__name__}:adam"),
        (bench.optimizer("nag", lr=[0.01, 0.02]), "nag[lr=0.01|0.02]"),
        (bench.optimizer("nag@torch[batch=20]", lr=1), "nag@torch[batch=20,lr=1]"),
        (bench.optimizer(torch.optim.SGD, nesterov=True), "torch.optim.SGD[nesterov=true]"),
        (bench.optimizer(adam, lr=torch.tensor(0.5)), f"{__name__}:adam[lr=0.5]"),
        (
            bench.optimizer(torch.optim.Adam, betas=(0.9, 0.95), lr=[0.1, 1e-4]),
            "torch.optim.Adam[betas=(0.9,0.95),lr=0.1|0.0001]",
        ),
        (
            bench.optimizer(torch.optim.Adam, betas=[(0.9, 0.95), (0.9, 0.99)]),
            "torch.optim.Adam[betas=(0.9,0.95)|(0.9,0.99)]",
        ),
        (
            bench.optimizer(torch.optim.LBFGS, line_search_fn=[None, "strong_wolfe"]),
            "torch.optim.LBFGS[line_search_fn=none|strong_wolfe]",
        ),
        (lambda p: torch.optim.SGD(p, lr=0.1), "python:lambda"),
        (functools.partial(adam, lr=0.1), "python:adam"),
    ],
)
def test_the_text_of_an_optimizer(given: Any, expected: str) -> None:
    assert text(given) == expected


def test_a_single_one_needs_no_list() -> None:
    objects = Objects()
    assert text_of_optimizers("nag,hf", objects) == "nag,hf"
    assert text_of_optimizers(NAG, objects) == "nag"
    assert text_of_optimizers(bench.optimizer("nag", lr=1), objects) == "nag[lr=1]"


def test_a_class_of_a_file_is_written_as_in_a_command(workdir) -> None:
    (workdir / "mine.py").write_text(
        "from bench.optim.momentum.methods import NAG\nclass Mine(NAG):\n    name = 'mine'\n"
    )
    found = plugins.load("./mine.py:Mine")
    assert text(found) == f"{workdir}/mine.py:Mine"


def test_two_objects_of_one_name_do_not_meet() -> None:
    def of_rate(lr: float) -> Any:
        def sgd(parameters: Any) -> Any:
            return torch.optim.SGD(parameters, lr=lr)

        return sgd

    a, b = of_rate(0.1), of_rate(0.2)
    with plugins.objects() as objects:
        assert text_of_optimizers([a, b, a], objects) == "python:sgd,python:sgd-2,python:sgd"
        assert plugins.load("python:sgd") is a and plugins.load("python:sgd-2") is b
        assert resolve("python:sgd-2").hyperparameters == {"batch": 200}


def test_a_class_that_is_called_like_another(compare) -> None:
    class Mine(NAG):
        name = "another"

    result = compare(
        [bench.optimizer(globals()["Mine"], batch=20), bench.optimizer(Mine, batch=20)]
    )
    assert result.table.name.tolist() == ["mine", "another"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "the list is empty"),
        (3, "optimizers: 3 is of type int. Give a text"),
        ([("nag", {"lr": 0.1})], "is of type tuple. Give a text such as"),
        ({"nag": {"lr": 0.1}}, "is of type dict. Give a text such as"),
        (NAG(batch=20), "is of type NAG. Give a text such as 'nag[lr=0.1]', a class"),
        (bench.optimizer("nag", lr=[]), "give at least one value"),
        (bench.optimizer("nag", lr=None), "nag: lr=none is not a number"),
        (bench.optimizer("nag", lr=(0.1, 0.2)), "lr=(0.1,0.2) is a tuple. Write one number, or"),
        (bench.optimizer("nag", lr={}), "lr={}): a value is a number"),
        (bench.optimizer(adam, lr="a(b"), "lr='a(b'): a value is a number"),
        (bench.optimizer("nag[lr=1]", lr=2), "'lr' is given twice"),
        (bench.optimizer("nag,hf", lr=2), "several entries"),
        (lambda: None, "takes the parameters as its first argument"),
        (lambda p: None, "python:lambda gave NoneType, not a torch.optim.Optimizer"),
        (lambda p, rate: None, "the function wants 'rate', which has no default value"),
        (lambda p, batch=3: torch.optim.SGD(p), "'batch', and that is the number of cases"),
        (lambda p: 1 / 0, "python:lambda cannot be made: ZeroDivisionError"),
        (bench.optimizer(adam, rate=1), "has no hyperparameter 'rate'"),
    ],
)
def test_what_is_no_optimizer_is_refused(compare, given: Any, said: str) -> None:
    with pytest.raises(bench.Usage) as error:
        compare(given)
    assert said in str(error.value)


def test_a_factory_in_a_file_works_on_the_command_line(workdir, command) -> None:
    (workdir / "mine.py").write_text(
        "import torch\ndef adam(parameters, lr=0.01):\n"
        "    return torch.optim.Adam(parameters, lr=lr)\n"
    )
    summary = command("./mine.py:adam[lr=0.1|0.2,batch=20]")
    (row,) = summary["methods"]
    assert row["hyperparameters"]["batch"] == 20 and row["tuning"]["trials"] == 4
    assert "'./mine.py:adam@torch[batch=20,lr=" in summary["reproduce"]


def test_a_module_in_the_working_folder_is_found(workdir, command, monkeypatch) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    (workdir / "beside_me.py").write_text(
        "import torch\ndef sgd(parameters):\n    return torch.optim.SGD(parameters, lr=0.1)\n"
    )
    assert command("beside_me:sgd")["methods"][0]["n"] == 2


def test_a_file_that_was_changed_after_its_import_is_refused(workdir, monkeypatch) -> None:
    file, rate = workdir / "edited_file.py", "import torch\n\nRATE = {}\n\n"
    body = "def sgd(parameters):\n    return torch.optim.SGD(parameters, lr={})\n"
    file.write_text(rate.format(0.1) + body.format("RATE"))
    monkeypatch.syspath_prepend(str(workdir))
    module = importlib.import_module("edited_file")
    assert text(module.sgd) == "edited_file:sgd"
    # The value of another line, which the function itself does not show.
    file.write_text(rate.format(0.25) + body.format("RATE"))
    with pytest.raises(bench.Usage, match="edited_file.py was changed after it was imported"):
        text(module.sgd)
    file.write_text(rate.format(0.25) + body.format("0.125"))
    with pytest.raises(bench.Usage, match="Restart Python, or reload the module"):
        text(module.sgd)
    assert text(importlib.reload(module).sgd) == "edited_file:sgd"


def test_a_helper_that_was_changed_after_its_import_is_refused(workdir, monkeypatch) -> None:
    """Also where nobody asked before: its functions are not in its file any more."""
    mine, helper = workdir / "edited_user.py", workdir / "edited_helper.py"
    body = "import torch\ndef made(p):\n    return torch.optim.SGD(p, lr={})\n"
    helper.write_text(body.format(0.1))
    mine.write_text("import edited_helper\ndef sgd(p):\n    return edited_helper.made(p)\n")
    monkeypatch.syspath_prepend(str(workdir))
    module = importlib.import_module("edited_user")
    helper.write_text(body.format(0.2))
    with pytest.raises(bench.Usage, match="edited_helper.py was changed after it was imported"):
        text(module.sgd)
    helper.write_text(body.format(0.1))
    assert text(module.sgd) == "edited_user:sgd"


@pytest.mark.parametrize("way", ["a global", "an import within", "a module", "from a module"])
def test_a_helper_of_an_object_of_a_program_is_part_of_its_source(
    workdir, monkeypatch, way: str
) -> None:
    monkeypatch.syspath_prepend(str(workdir))
    for name in ("used_helper", "used_deeper"):
        sys.modules.pop(name, None)
    (workdir / "used_deeper.py").write_text("RATE = 0.1\n")
    (workdir / "used_helper.py").write_text(
        "from used_deeper import RATE\ndef rate(): return RATE\n"
    )
    module = importlib.import_module("used_helper")
    rate = module.rate

    def imports(p: Any) -> Any:
        import used_helper

        return used_helper.rate()

    def imports_from(p: Any) -> Any:
        from used_helper import rate

        return rate()

    thing = {
        "a global": lambda p: rate(),
        "an import within": imports,
        "a module": lambda p: module.rate(),
        "from a module": imports_from,
    }[way]
    first = digest(thing)
    assert digest(thing) == first and not lost(thing)
    monkeypatch.setattr(sys.modules["used_deeper"], "RATE", 0.2)
    assert digest(thing) != first
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(workdir))
    for name in ("used_helper", "used_deeper"):
        sys.modules.pop(name, None)
    (workdir / "used_deeper.py").write_text("RATE = 0.2\n")
    importlib.import_module("used_helper")
    assert digest(thing) != first


def test_the_text_of_a_problem() -> None:
    objects = Objects()
    assert text_of_problem("curves", objects) == "curves"
    assert text_of_problem(PROBLEMS["mnist"], objects) == "mnist"
    assert text_of_problem(small.make, objects) == "tests.harness.small:make"
    assert text_of_problem(small.make("quick"), objects) == "python:small"


@pytest.mark.parametrize("kind", ["text", "function", "closure", "problem"])
def test_a_problem_of_every_kind(compare, kind: str) -> None:
    given = {
        "text": "tests.harness.small:make",
        "function": small.make,
        "closure": lambda preset: small.make(preset),
        "problem": small.make("quick"),
    }[kind]
    assert compare("nag[batch=20]", given).table.n.tolist() == [2]


def test_a_problem_keeps_its_preset(compare) -> None:
    problem = small.make("standard")
    assert compare("nag[batch=20]", problem).summary["protocol"]["preset"] == "standard"
    with pytest.raises(bench.Usage, match="was made at preset standard"):
        compare("nag[batch=20]", problem, preset="quick")
    assert problem.made_by is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "problem: 3 is of type int. Give a text"),
        (torch.nn.Linear(2, 2), "problem: this is a module. bench.problem("),
        (torch.nn.Linear, "problem: this is a module. bench.problem("),
        (lambda preset: 3, "gave a int, not a Problem"),
        (lambda preset: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_problem_is_refused(compare, given: Any, said: str) -> None:
    with pytest.raises(bench.Usage) as error:
        compare("nag", given)
    assert said in str(error.value)


RATE = 0.1


def digest(thing: Any) -> str:
    with plugins.objects() as objects:
        objects.add(thing, "it")
        return source_digest(thing)


def lost(thing: Any) -> bool:
    with plugins.objects() as objects:
        objects.add(thing, "it")
        return is_lost(thing)


def closure(value: Any) -> Any:
    return lambda parameters: torch.optim.SGD(parameters, lr=value)


@pytest.mark.parametrize(
    ("one", "other"),
    [(0.1, 0.2), ("a", "b"), ((1, 2), (1, 3)), ({"a": 1}, {"a": 2}), (None, False)],
)
def test_what_a_closure_has_captured_is_part_of_its_source(one: Any, other: Any) -> None:
    assert digest(closure(one)) == digest(closure(one))
    assert digest(closure(one)) != digest(closure(other))
    assert not lost(closure(one))


def test_arrays_functions_and_partial_values_count_too() -> None:
    assert digest(closure(torch.zeros(2))) == digest(closure(torch.zeros(2)))
    assert digest(closure(torch.zeros(2))) != digest(closure(torch.ones(2)))
    assert digest(closure(closure(1))) != digest(closure(closure(2)))
    assert digest(functools.partial(adam, lr=1)) != digest(functools.partial(adam, lr=2))


def test_a_global_that_a_function_reads_is_part_of_its_source(monkeypatch) -> None:
    def reads(parameters: Any) -> Any:
        return torch.optim.SGD(parameters, lr=RATE)

    before = digest(reads)
    assert digest(reads) == before
    monkeypatch.setitem(globals(), "RATE", 0.2)
    assert digest(reads) != before


def test_what_a_class_holds_is_part_of_its_source() -> None:
    def made(value: Any) -> Any:
        class Local(NAG):
            name = "local"
            rate = value

            def step(self, theta: Any, objective: Any, state: Any) -> Any:
                return super().step(theta, objective, state)

        return Local

    assert digest(made(1)) == digest(made(1)) != digest(made(2))
    assert not lost(made(1))


@pytest.mark.parametrize(
    "value",
    [object(), open, iter(()), torch.Generator()],
    ids=["an object", "a builtin", "an iterator", "a generator"],
)
def test_anything_else_cannot_be_had_and_is_never_the_same(value: Any) -> None:
    thing = closure(value if value is not open else iter("ab"))
    assert lost(thing)
    assert digest(thing) != digest(thing)
    with plugins.objects() as objects:
        objects.add(thing, "it")
        assert source_digest(thing) == source_digest(thing)


def test_code_without_a_file_cannot_be_had() -> None:
    found: dict[str, Any] = {"torch": torch}
    exec("def sgd(p): return torch.optim.SGD(p, lr=0.1)", found)
    assert lost(found["sgd"])


def test_trials_of_a_lost_source_are_never_reused_and_the_result_says_so(compare) -> None:
    thing = closure(torch.Generator())
    thing = lambda p, kept=thing: torch.optim.SGD(p, lr=0.1)  # noqa: E731
    first, second = compare(thing), compare(thing)
    assert not second.trials.reused.any()
    none = "No command repeats this, because python:lambda was an object of a Python program."
    for result in (first, second):
        assert none in result.summary["notes"]
        said = "The source of python:lambda cannot be had, so its trials are never reused."
        assert said in result.summary["notes"]
        assert result.summary["reproduce"] == none


def test_trials_of_a_closure_are_reused_while_it_is_the_same(compare) -> None:
    compare([closure(0.1), "nag[batch=20]"])
    assert compare([closure(0.1), "nag[batch=20]"]).trials.reused.all()
    assert (
        compare([closure(0.2), "nag[batch=20]"]).trials.reused.tolist() == [False] * 2 + [True] * 2
    )


def test_a_trial_that_a_command_repeats_says_which(compare, store) -> None:
    result = compare([closure(0.1), "nag[batch=20]"])
    with Store.open(store) as opened:
        commands = {t.method: t.certificate.command for t in opened.trials(result.id)}
    assert commands["nag"].startswith("bench run --optimizer 'nag@")
    assert commands["python:lambda"].startswith("No command repeats this, because python:lambda")
