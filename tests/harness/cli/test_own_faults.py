"""Faults of somebody's own problem end in a sentence and exit code 2, in `compare` and `check`."""

import pytest

CASES = """
import dataclasses
import numpy as np, torch
from torch import nn
from bench.models.from_module import ModuleProblem
from bench.models.losses import HalfSquaredError, LogisticCrossEntropy, SoftmaxCrossEntropy
from bench.models.problem import Data, Metric, digest_of

r = np.random.default_rng(0); k = r.integers(0, 3, 60)
X = r.standard_normal((60, 4)).astype("f4"); Y = np.eye(3, dtype="f4")[k]

class M(nn.Module):
    def __init__(s, forward, outputs=3):
        super().__init__()
        s.a, s.b, s.f, s.calls = nn.Linear(4, 8), nn.Linear(8, outputs), forward, 0
    def forward(s, x):
        s.calls += 1
        return s.f(s, x)

def net(s, x): return s.b(torch.tanh(s.a(x)))

def problem(preset, forward=net, x=X, y=Y, loss=None, metric=None, outputs=3, make=None, test=20):
    loss = loss or SoftmaxCrossEntropy()
    parts = x[:40], x[40:40 + test], y[:40], y[40:40 + test]
    return ModuleProblem("mini", preset, make or (lambda: M(forward, outputs)), loss,
        metric or Metric("loss", "lower", SoftmaxCrossEntropy().per_case),
        lambda source: Data("toy", digest_of(*parts), *parts), budget=400, targets=(0.3,))

def clamp(preset): return problem(preset, lambda s, x: net(s, x.clamp_(-1, 1)))
def late(preset):
    return problem(preset, lambda s, x: net(s, x.clamp_(-1, 1) if s.calls > 60 else x))
def listed(preset):
    def make():
        m = M(lambda s, x: s.b(torch.tanh(s.a(x) * s.kept[0])))
        m.g = nn.Parameter(torch.rand(8)); m.kept = [m.g]
        return m
    return problem(preset, make=make)
def signs(preset):
    loss = LogisticCrossEntropy()
    return problem(preset, y=2 * Y[:, :1] - 1, outputs=1, loss=loss,
        metric=Metric("loss", "lower", loss.per_case))
def mean(preset):
    return problem(preset, metric=Metric("m", "lower", lambda z, t: (z - t).square().mean()))
def steps(preset):
    return problem(preset, x=np.repeat(X[:, None], 6, 1), y=np.repeat(Y[:, None], 6, 1))
def empty(preset): return problem(preset, test=0)
def criterion(preset): return problem(preset, loss=nn.CrossEntropyLoss())
def labels(preset): return problem(preset, y=k)
def imaginary(preset): return problem(preset, x=X + 1j)
def tensors(preset): return problem(preset, x=torch.from_numpy(X))
def nodata(preset):
    made = problem(preset)
    made._data = lambda source: None
    return made
def nothing(preset):
    from bench.models.problem import Problem
    class Bare(Problem):
        logits = initialize = data = None
        def __init__(self): self.preset = preset
    return Bare()
def direction(preset): return problem(preset, metric=Metric("m", "up", HalfSquaredError().per_case))
"""
TOLD = {
    "clamp": "M writes into its inputs in forward",
    "late": "writes into its inputs",
    "listed": "M reaches its parameter g past the attribute of that name",
    "signs": "train_targets: targets of the logistic cross-entropy are probabilities",
    "mean": "the metric m of cases of train is () for 2 rows and 4 cases, and must be (2, 4)",
    "steps": "give Stepped(loss) for a sum over steps too",
    "empty": "there are 0 test_inputs and 0 test_targets",
    "criterion": "loss is a CrossEntropyLoss, but Gauss–Newton products need a matching loss",
    "labels": "For class numbers give one-hot targets",
    "imaginary": "train_inputs are complex numbers, of which the imaginary part would be lost",
    "tensors": "its data() raised AttributeError",
    "nodata": "data() returned a NoneType; return a bench.models.problem.Data",
    "nothing": "Bare has no name, layout, loss, metric",
    "direction": "the direction of the metric m is 'up'; allowed are 'lower' and 'higher'",
}


def words(text):
    """The text with spaces only, because tables and messages are wrapped."""
    return " ".join(text.split())


@pytest.mark.parametrize("case", TOLD)
def test_compare_refuses_it(bench, workdir, case):
    (workdir / "own.py").write_text(CASES)
    said = bench("compare", "--optimizers", "sgd[lr=0.1],cm", "--seeds", "1", "--no-mlflow",
                 "--problem", f"./own.py:{case}", "--budget", "gradients=4000")  # fmt: skip
    assert (said.code, "Traceback" in said.err) == (2, False), said.err
    assert TOLD[case] in words(said.err)
    assert "unexpected" not in said.err


@pytest.mark.parametrize("case", TOLD)
def test_check_finds_it(bench, workdir, case):
    (workdir / "own.py").write_text(CASES)
    said = bench("check", f"./own.py:{case}")
    assert said.code in (1, 2)
    assert TOLD[case] in words(said.out) + words(said.err)
