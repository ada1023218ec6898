import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.optim import plugins, registry
from bench.optim.hyperparameters import UsageError
from bench.optim.momentum.methods import CM, NAG
from bench.optim.registry import find, make, names, resolve
from bench.optim.text import parse

MINE = """
from bench.optim.hyperparameters import cast_all
from bench.optim.momentum.methods import LR, NAG
from bench.optim.objective import Method

class Mine(NAG):
    name = "mine"

class Unfinished:
    name = "unfinished"
    space = (LR,)
    backends = ("torch",)
    def step(self, theta, objective, state):
        return {}

class Hollow(Method):
    name, reference, space, backends = "hollow", "none", (), ("torch",)
    backend, hyperparameters, cost_of_a_step, fleet_key = "torch", {}, 1.0, None
    def __init__(self, backend):
        pass
    def init(self, theta, seed, budget):
        return {}
    def iterate(self, theta, state):
        return theta

class Whole(Hollow):
    name = "whole"
    def step(self, theta, objective, state):
        return {"loss": theta.sum(1)}
    def state_dict(self, state):
        return state
    def load_state_dict(self, state, saved):
        state.update(saved)

class Free(Whole):
    cost_of_a_step = 0.0

class Greedy(NAG):
    def __init__(self):
        pass

class Bare(Unfinished):
    reference = "none"
    cost_of_a_step = fleet_key = None
    init = iterate = state_dict = load_state_dict = Unfinished.step
    def __init__(self, backend):
        pass

def function():
    pass
"""


@pytest.fixture
def mine(workdir: Path) -> Path:
    (workdir / "mine.py").write_text(MINE)
    return workdir


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of an installed package, as importlib.metadata would find them."""
    installed: list[EntryPoint] = []

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [p for p in installed if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(plugins, "entry_points", entry_points)
    return installed


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(text)
    return str(caught.value)


@pytest.mark.parametrize("name", ["sgd", "cm", "nag", "hf", "hfm"])
def test_built_in_methods_go_by_their_own_names(name: str) -> None:
    assert name in names()
    assert find(name).name == name
    method = resolve(name)
    assert (method.name, list(method.hyperparameters)) == (name, [h.name for h in method.space])


def test_an_unknown_method_gets_the_nearest() -> None:
    assert refusal("nga").startswith(
        "There is no optimizer 'nga'; did you mean 'nag'? There are: sgd, cm, nag, hf, hfm"
    )
    assert refusal("./mine.py").endswith("as in ./mine.py:MyOptimizer.")
    assert "did you mean 'torch.optim.AdamW'?" in refusal("AdamW")


def test_values_are_cast_and_checked() -> None:
    assert resolve("nag[lr=.05,batch=1e2]").hyperparameters["batch"] == 100
    assert resolve("nag[lr=.05]").hyperparameters == resolve("nag[lr=5e-2]").hyperparameters
    assert refusal("nag[lr=0]") == "nag: lr=0 is out of range: above 0."
    assert refusal("nag[mu=1]").startswith("nag has no hyperparameter 'mu'")
    assert refusal("sgd[mu_max=0.9]").startswith("sgd has no hyperparameter 'mu_max'")


def test_backends() -> None:
    assert resolve("nag").backend == "numba"
    assert resolve("nag", device="cuda").backend == "torch"
    assert resolve("nag@torch").backend == "torch"
    assert resolve("hf").backend == "torch"
    assert refusal("nag@nubma") == (
        "nag has no backend 'nubma'; did you mean 'numba'? Allowed: torch, numba, numba-cuda."
    )
    assert refusal("hf@numba").startswith("hf has no backend 'numba'")
    with pytest.raises(UsageError, match="nag@numba runs only on the CPU, not on cuda; write nag@"):
        resolve("nag@numba", device="cuda")


def test_a_grid_is_every_combination() -> None:
    methods = make(parse("nag[lr=0.01|0.05,mu_max=0.9|0.99|0.999]"))
    points = [(m.hyperparameters["lr"], m.hyperparameters["mu_max"]) for m in methods]
    assert points == [(lr, mu) for lr in (0.01, 0.05) for mu in (0.9, 0.99, 0.999)]
    assert refusal("nag[lr=0.01|0.05]") == (
        "'nag[lr=0.01|0.05]' is a grid of 2 methods; write one value each."
    )


def test_what_is_written_wins_over_defaults_and_these_over_declarations() -> None:
    (method,) = make(parse("nag[lr=0.5]"), {"lr": 0.1, "mu_max": 0.9})
    values = method.hyperparameters
    assert (values["lr"], values["mu_max"], values["batch"]) == (0.5, 0.9, 200)


def test_a_class_of_ones_own_in_a_file(mine: Path) -> None:
    method = resolve("./mine.py:Mine@torch[lr=0.5]")
    assert (method.name, method.backend, method.hyperparameters["lr"]) == ("mine", "torch", 0.5)


def test_a_class_of_ones_own_in_a_module() -> None:
    assert type(resolve("bench.optim.momentum.methods:CM")) is CM


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nobody", "'./mine.py:Nobody': ./mine.py has no 'Nobody'"),
        ("function", "./mine.py:function cannot be made: a function that makes a torch optimizer"),
        ("LR", "'./mine.py:LR' is of type Hyperparameter. Give a class of torch optimizers"),
        (
            "Unfinished",
            "'./mine.py:Unfinished' is not a torch optimizer: it does not derive from "
            "torch.optim.Optimizer. As a method of bench it lacks reference, init, ",
        ),
        ("Hollow", "'./mine.py:Hollow' is not a torch optimizer"),
        ("Free", "'./mine.py:Free' says that a step costs 0 gradient-equivalents"),
        ("Bare", "'./mine.py:Bare' is not a torch optimizer"),
        ("Greedy", "'./mine.py:Greedy' cannot be made with a backend and its hyperparameters: "),
    ],
)
def test_a_class_that_is_no_method_is_refused(mine: Path, name: str, message: str) -> None:
    assert refusal(f"./mine.py:{name}").startswith(message)


def test_a_class_that_fills_in_all_of_the_contract_may_derive_from_it(mine: Path) -> None:
    assert resolve("./mine.py:Whole").name == "whole"


def test_entry_points(points: list[EntryPoint]) -> None:
    points.append(EntryPoint("theirs", "bench.optim.momentum.methods:NAG", registry.GROUP))
    points.append(EntryPoint("other", "bench.optim.momentum.methods:CM", "another.group"))
    assert names() == ["sgd", "cm", "nag", "hf", "hfm", "theirs"]
    assert type(resolve("theirs[lr=0.5]")) is NAG
    assert "did you mean 'theirs'" in refusal("their")
    assert refusal("other").startswith("There is no optimizer 'other'")


def test_an_entry_point_does_not_replace_a_built_in_method(points: list[EntryPoint]) -> None:
    points.append(EntryPoint("nag", "bench.optim.momentum.methods:CM", registry.GROUP))
    assert type(resolve("nag")) is NAG
    assert names() == ["sgd", "cm", "nag", "hf", "hfm"]


def test_a_broken_entry_point_is_a_sentence(points: list[EntryPoint]) -> None:
    points.append(EntryPoint("theirs", "no_such_module:Mine", registry.GROUP))
    assert refusal("theirs") == (
        "'theirs': loading no_such_module:Mine, an entry point of bench.optimizers, failed: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_torch_optimizers() -> None:
    method: Any = resolve("torch.optim.AdamW[lr=1e-3]")
    assert (method.name, method.backend) == ("torch.optim.AdamW", "torch")
    assert method.optimizer is torch.optim.AdamW
    assert refusal("torch.optim.AdamV").startswith("torch.optim has no optimizer 'AdamV'")


THEIRS = """
import torch

class Theirs(torch.optim.SGD):
    def __init__(self, params, lr=0.25):
        super().__init__(params, lr=lr)
"""


def test_a_torch_optimizer_of_anybody(workdir: Path, points: list[EntryPoint]) -> None:
    (workdir / "theirs.py").write_text(THEIRS)
    method: Any = resolve("./theirs.py:Theirs[lr=0.5]")
    assert (method.name, method.hyperparameters) == (
        "./theirs.py:Theirs",
        {"batch": 200, "lr": 0.5},
    )
    assert isinstance(method.init(torch.zeros(1, 3), 0, None).optimizer, find_in(method))
    assert resolve("torch.optim.sgd:SGD").name == "torch.optim.sgd:SGD"
    points.append(EntryPoint("theirs", "torch.optim.adam:Adam", registry.GROUP))
    assert resolve("theirs").name == "theirs"
    assert refusal("torch.optim:Optimizer").startswith("'torch.optim:Optimizer' is not")


def find_in(method: Any) -> type[torch.optim.Optimizer]:
    return plugins.load(method.name)


def test_the_package_resolves() -> None:
    from bench import optim

    assert optim.resolve("cm[mu_max=0.5]").hyperparameters["mu_max"] == 0.5
    with pytest.raises(AttributeError, match="no attribute 'reslove'"):
        optim.reslove  # noqa: B018


UNRECORDED = (
    MINE
    + """
class Deaf(Whole):
    name = "deaf"
    def __init__(self, backend, **given):
        self.hyperparameters = {}

class Shared(NAG):
    name = "shared"
    hyperparameters = {}
    def __init__(self, backend, **given):
        self.backend = backend
        self.hyperparameters.update(cast_all(self.space, given, self.name))

class Clipped(Mine):
    name = "clipped"
    def __init__(self, backend, **given):
        super().__init__(backend, **given)
        self.hyperparameters["lr"] = min(0.1, self.hyperparameters["lr"])
"""
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Deaf[width=5]", "was given width=5, but does not show it in its hyperparameters"),
        ("Shared[lr=0.1|0.2]", "was given lr=0.1, but shows lr=0.2 in its hyperparameters"),
        ("Clipped[lr=0.5]", "was given lr=0.5, but shows lr=0.1"),
    ],
)
def test_a_value_that_was_given_and_is_not_shown_is_refused(workdir: Path, text, told) -> None:
    (workdir / "unrecorded.py").write_text(UNRECORDED)
    with pytest.raises(UsageError, match=re.escape(told)):
        make(parse(f"./unrecorded.py:{text}"))
    assert make(parse("./unrecorded.py:Clipped[lr=0.050]"))[0].hyperparameters["lr"] == 0.05
