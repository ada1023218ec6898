"""What is tried on a problem before anything is trained: one case for each fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.models.errors import ProblemError
from bench.models.from_module import ModuleProblem
from bench.models.losses import (
    HalfSquaredError,
    Huber,
    LogisticCrossEntropy,
    MatchingLoss,
    SoftmaxCrossEntropy,
    Stepped,
    Weighted,
)
from bench.models.metrics import squared_error
from bench.models.problem import Data, DataSource, Metric, Problem
from bench.models.problem_checks import check_declared, check_problem

RNG = np.random.default_rng(5)
X = RNG.standard_normal((40, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)
Y = np.eye(3, dtype=np.float32)[LABELS]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def problem(
    x: Any = X,
    y: Any = Y,
    loss: Any = None,
    metric: Any = None,
    make: Callable[[], nn.Module] = net,
    test: tuple[Any, Any] | None = None,
    **given: Any,
) -> ModuleProblem:
    loss = SoftmaxCrossEntropy() if loss is None else loss
    metric = Metric("loss", "lower", loss.per_case) if metric is None else metric
    tested = test or (x[30:], y[30:])
    data = Data("toy", "0", x[:30], tested[0], y[:30], tested[1])
    values = {"budget": 100, "targets": (0.3,), **given}
    return ModuleProblem("toy", "quick", make, loss, metric, lambda source: data, **values)


def tried(
    made: Problem, curvature: bool = False, dtype: Any = np.float32, hessian: bool = False
) -> None:
    check_declared(made)
    check_problem(made, made.data(DataSource(())), dtype, curvature, hessian)


def changed(array: np.ndarray, value: Any, dtype: Any = None) -> np.ndarray:
    copy = array.astype(dtype or array.dtype)
    copy[35, 0] = value
    return copy


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"x": X + 0j}, "train_inputs are complex numbers, of which the imaginary part"),
        ({"y": Y + 0j}, "train_targets are complex numbers"),
        ({"x": changed(X, np.nan)}, "test_inputs has 1 values that are NaN or infinite"),
        ({"y": changed(Y, np.inf)}, "test_targets has 1 values that are NaN or infinite"),
        ({"x": changed(X, 1e300, float)}, "has values up to 1e+300, more than float32 can hold"),
        ({"x": X.astype(float) + 1e9}, "rounding to float32 moves values of feature"),
        (
            {"x": np.arange(160, dtype=np.uint64).reshape(40, 4) + np.uint64(10**12)},
            "rounding to float32 moves values",
        ),
        ({"x": torch.from_numpy(X)}, "train_inputs is a Tensor; give a NumPy array"),
        ({"x": X.tolist()}, "train_inputs is a list; give a NumPy array"),
        ({"x": X.astype(str)}, "has the type <U"),
        ({"y": Y[:, :2]}, r"returns \(4, 3\) .* targets have the shape \(4, 2\)"),
        ({"y": LABELS}, r"give one-hot targets, np.eye\(classes\)\[numbers\]"),
        ({"x": X[:25]}, "there are 25 train_inputs and 30 train_targets"),
        ({"test": (X[:0], Y[:0])}, "there are 0 test_inputs and 0 test_targets"),
        ({"test": (X[:5], Y[:4])}, "there are 5 test_inputs and 4 test_targets"),
        ({"test": (X[:5, :3], Y[:5])}, r"one of test_inputs \(3,\); they must be equal"),
        ({"x": X[:0], "y": Y[:0]}, "there are 0 train_inputs and 0 train_targets"),
        ({"y": 2 * Y - 1}, "train_targets: targets of the softmax cross-entropy are probabilities"),
        ({"y": 2 * Y - 1, "loss": LogisticCrossEntropy()}, "as 0 and 1"),
    ],
)
def test_cases_that_cannot_be_held(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ProblemError, match=told.replace("+300", r"\+300")):
        tried(problem(**given))


def test_what_float32_cannot_hold_float64_can() -> None:
    wide = X.astype(float) + 1e9
    tried(problem(wide), dtype=np.float64)


@pytest.mark.parametrize("x", [np.abs(X * 50).astype(np.uint8), X > 0, X.astype(np.float16)])
def test_numbers_that_float32_holds_are_no_fault(x: np.ndarray) -> None:
    tried(problem(x))


def cross_entropy(z: Tensor, t: Tensor) -> Tensor:
    return nn.functional.cross_entropy(z, t)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"loss": nn.CrossEntropyLoss()}, "loss is a CrossEntropyLoss, but Gauss–Newton products"),
        ({"loss": cross_entropy}, "loss is a function"),
        ({"loss": SoftmaxCrossEntropy}, "loss is a class, SoftmaxCrossEntropy"),
        ({"loss": "mse"}, "loss is a str"),
        ({"metric": cross_entropy}, "metric is a function; give Metric"),
        ({"metric": Metric("m", "down", LogisticCrossEntropy().per_case)}, "is 'down'; allowed"),  # type: ignore[arg-type]
        ({"metric": Metric("m", "lower", 3)}, "a metric has a name and a function"),  # type: ignore[arg-type]
        ({"budget": float("nan")}, "budget is nan"),
        ({"budget": "100"}, "budget is '100'"),
        ({"targets": ("0.3",)}, "targets contains '0.3'"),
        ({"margin": -1.0}, "margin is -1.0"),
        ({"targets": 0.3}, "targets is 0.3; it must be a tuple"),
    ],
)
def test_what_a_problem_declares(given: dict[str, Any], told: str) -> None:
    fixed = {"metric": squared_error(HalfSquaredError()), **given}
    with pytest.raises(ProblemError, match=told):
        check_declared(problem(**fixed))


def error(z: Tensor, t: Tensor) -> Tensor:
    return (z - t).square().sum(-1)


METRICS: list[tuple[Callable[[Tensor, Tensor], Any], str]] = [
    (lambda z, t: error(z, t).mean(), r"is \(\) for 2 rows and 4 cases, and must be \(2, 4\)"),
    (lambda z, t: error(z, t).mean(1), r"is \(2,\) for 2 rows"),
    (lambda z, t: error(z, t).mean(1, keepdim=True), r"is \(2, 1\) for 2 rows"),
    (lambda z, t: error(z, t).mean(1, keepdim=True).expand(z.shape[:2]), "for a case alone"),
    (lambda z, t: error(z, t).mean(0, keepdim=True).expand(z.shape[:2]), "for a case alone"),
    (lambda z, t: z - t, r"is \(2, 4, 3\) for 2 rows"),
    (lambda z, t: float(error(z, t).mean()), "is a float for 2 rows"),
    (lambda z, t: error(z, t).numpy(), "is a ndarray for 2 rows"),
    (lambda z, t: None, "is a NoneType"),
    (lambda z, t: error(z, t) * torch.nan, "is NaN, infinite or complex"),
    (lambda z, t: error(z, t) / 0, "is NaN, infinite or complex"),
    (lambda z, t: z.sub_(t).square().sum(-1), "writes into outputs or targets"),
    (lambda z, t: error(z, t.mul_(2)), "writes into outputs or targets"),
    (lambda z, t: error(z, t[0].long()[..., :2]), "raised RuntimeError"),
]


@pytest.mark.parametrize(("function", "told"), METRICS)
def test_a_metric_that_is_none(function: Callable[[Tensor, Tensor], Any], told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        tried(problem(metric=Metric("m", "lower", function)))


@pytest.mark.parametrize(
    "function",
    [
        lambda z, t: z.argmax(-1) == t.argmax(-1),
        lambda z, t: (z.argmax(-1) == t.argmax(-1)).long(),
        lambda z, t: (z.argmax(-1) == t.argmax(-1)).half(),
    ],
)
def test_a_metric_of_any_real_type(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    tried(problem(metric=Metric("accuracy", "higher", function)))


STEPS = np.repeat(X[:, None], 6, 1), np.repeat(Y[:, None], 6, 1)
IMAGES = RNG.standard_normal((40, 2, 5, 5)).astype(np.float32)


def test_outputs_with_steps() -> None:
    with pytest.raises(ProblemError, match=r"the loss .* is \(2, 4, 6\) .* give Stepped\(loss\)"):
        tried(problem(*STEPS))
    stepped = Stepped(SoftmaxCrossEntropy())
    with pytest.raises(ProblemError, match=r"the metric error .* is \(2, 4, 6\)"):
        tried(problem(*STEPS, stepped, Metric("error", "lower", error)))
    tried(problem(*STEPS, stepped), curvature=True)


def test_outputs_with_image_axes() -> None:
    make = lambda: nn.Conv2d(2, 2, 3, padding=1)  # noqa: E731
    with pytest.raises(ProblemError, match=r"is \(2, 4, 2, 5\) .* flatten\(1\) outputs"):
        tried(problem(IMAGES, IMAGES, HalfSquaredError(), make=make))
    flat = lambda: nn.Sequential(make(), nn.Flatten())  # noqa: E731
    tried(problem(IMAGES, IMAGES.reshape(40, -1), HalfSquaredError(), make=flat), curvature=True)


def test_weights_and_masks() -> None:
    weighted = Weighted(HalfSquaredError())
    with_weight = np.concatenate([Y, RNG.random((40, 1)).astype(np.float32)], 1)
    tried(problem(X, with_weight, weighted, squared_error(weighted)), curvature=True)
    mask = (np.arange(6) < RNG.integers(1, 7, 40)[:, None]).astype(np.float32)
    masked = np.concatenate([STEPS[1], mask[..., None]], 2)
    tried(problem(STEPS[0], masked, Stepped(Weighted(Huber(0.5)))), curvature=True)


def dense(made: ModuleProblem) -> tuple[Tensor, Tensor]:
    """The Gauss–Newton matrix by products, and the mean of Jᵀ H J with J and H by autodiff."""
    data, loss = made.data(DataSource(())), made.loss
    theta = made.initialize(np.random.default_rng(0))
    x, t = (torch.from_numpy(a[:8]).double() for a in (data.train_inputs, data.train_targets))
    size = made.layout.size

    def outputs(flat: Tensor, case: int) -> Tensor:
        return made.logits(made.layout.views(flat[None]), x[None, case : case + 1])[0, 0]

    expected = torch.zeros(size, size, dtype=torch.float64)
    for case in range(8):
        z = outputs(theta, case)
        jacobian = torch.autograd.functional.jacobian(lambda at, c=case: outputs(at, c), theta)
        flat = z.numel()
        hessian = torch.autograd.functional.hessian(
            lambda at, c=case, s=z.shape: loss.per_case(at.view(s), t[c]), z.flatten()
        )
        j = jacobian.reshape(flat, size)
        expected += j.T @ hessian @ j / 8
    product = made.passes().curvature(theta[None], x[None], t[None])
    found = torch.stack([product(e[None])[0].clone() for e in torch.eye(size).double()])
    return found, expected


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (SoftmaxCrossEntropy(), Y * np.array([5, 1, 1], np.float32)),
        (SoftmaxCrossEntropy(), Y * (LABELS > 0)[:, None].astype(np.float32)),
        (Huber(0.5), Y),
        (Weighted(HalfSquaredError()), np.concatenate([Y, LABELS[:, None] / 2], 1)),
        (Weighted(SoftmaxCrossEntropy()), np.concatenate([Y, LABELS[:, None] / 2], 1)),
    ],
)
def test_the_products_of_weighted_losses_are_those_of_the_dense_matrix(
    loss: MatchingLoss, y: np.ndarray
) -> None:
    made = problem(X, y.astype(np.float32), loss)
    tried(made, curvature=True)
    found, expected = dense(made)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


def test_the_products_of_masked_steps_are_those_of_the_dense_matrix() -> None:
    mask = (np.arange(6) < RNG.integers(1, 7, 40)[:, None]).astype(np.float32)
    masked = np.concatenate([STEPS[1], mask[..., None]], 2)
    found, expected = dense(problem(STEPS[0], masked, Stepped(Weighted(HalfSquaredError()))))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


class Once(torch.autograd.Function):
    """tanh that can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class Cut(Once):
    """tanh whose backward pass forgets half of what its gradient depends on."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return (0.5 * g + 0.5 * g.detach()) * (1 - y * y)


class Custom(nn.Module):
    def __init__(self, kind: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.a, self.b, self.kind = nn.Linear(4, 5), nn.Linear(5, 3), kind

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.kind.apply(self.a(x)))


class Distances(nn.Module):
    """Distances to three points, whose derivative torch cannot differentiate."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.points, p=1.5)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Distances, "can be differentiated once only"),
        (lambda: Custom(Once), "an operation in it has a wrong derivative"),
        (lambda: Custom(Cut), "an operation in it has a wrong derivative"),
    ],
)
def test_second_derivatives_are_tried_if_a_method_needs_them(make: Any, told: str) -> None:
    made = problem(make=make)
    tried(made)
    with pytest.raises(ProblemError, match=f"Gauss–Newton .*{told}"):
        tried(made, curvature=True)
    with pytest.raises(ProblemError, match=f"Hessian products .*{told}"):
        tried(made, hessian=True)


@pytest.mark.parametrize(
    "make", [net, lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))]
)
def test_right_second_derivatives_are_accepted(make: Any) -> None:
    for loss in (SoftmaxCrossEntropy(), LogisticCrossEntropy(), HalfSquaredError(), Huber(0.5)):
        tried(problem(make=make, loss=loss), curvature=True, hessian=True)


class Hand(Problem):
    """A problem without a module."""

    def __init__(self, change: Callable[[Any, Tensor], None], **replaced: Any) -> None:
        from bench.models.layout import Layout

        loss, self.change, self.replaced = SoftmaxCrossEntropy(), change, replaced
        super().__init__(
            *("hand", "quick", Layout({"W": (4, 3)}), loss, Metric("m", "lower", loss.per_case)),
            *("", 100, 5, (0.3,), 0.05),
        )

    def logits(self, params: Any, inputs: Tensor) -> Tensor:
        self.change(params, inputs)
        z = inputs @ params["W"]
        return self.replaced.get("logits", lambda z: z)(z)

    def initialize(self, rng: np.random.Generator) -> Tensor:
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        self.layout.views(theta)["W"].copy_(torch.from_numpy(rng.standard_normal((4, 3))))
        return self.replaced.get("theta", lambda theta: theta)(theta)

    def observe(self, params: Any, inputs: Tensor) -> Any:
        return self.replaced.get("observe", lambda: {})()

    def data(self, source: DataSource) -> Data:
        return Data("toy", "0", X[:30], X[30:], Y[:30], Y[30:], draw=self.replaced.get("draw"))


def nothing(params: Any, inputs: Tensor) -> None:
    pass


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (Hand(lambda p, x: x.clamp_(-1, 1)), "writes into its inputs"),
        (Hand(lambda p, x: x.data.clamp_(-90, 90)), "writes into its inputs"),
        (Hand(lambda p, x: p["W"].data.clamp_(-60, 60)), "writes into its parameters"),
        (Hand(nothing, logits=lambda z: z[:, :1]), r"are \(2, 1, 3\); by the targets"),
        (Hand(nothing, logits=lambda z: z.tolist()), "are list; by the targets"),
        (Hand(nothing, logits=lambda z: z / 0), "are NaN or infinite at the initial parameters"),
        (Hand(nothing, theta=lambda t: t.float()), "in torch.float32; the layout asks for"),
        (Hand(nothing, theta=lambda t: t[1:]), r"returned \(15,\) in torch.float64"),
        (Hand(nothing, theta=lambda t: t.numpy()), "returned a ndarray"),
        (Hand(nothing, theta=lambda t: t + torch.rand(()).double()), "other parameters under the"),
        (Hand(nothing, theta=lambda t: t * 1e300), "initial parameters are up to"),
        (Hand(nothing, observe=lambda: {"h": torch.zeros(3)}), r"returned \(3,\) as h for 2 rows"),
        (Hand(nothing, observe=lambda: 3), "observe.. returned a int"),
        (Hand(nothing, draw=lambda rng, n: (X[:n, :2], Y[:n])), r"inputs of shape \(4, 2\)"),
        (Hand(nothing, draw=lambda rng, n: (X[:n], -Y[:n])), "none is negative"),
    ],
)
def test_a_problem_by_hand(made: Hand, told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        tried(made)


def test_a_sound_problem_by_hand() -> None:
    tried(Hand(nothing, draw=lambda rng, n: (X[:n], Y[:n])), curvature=True)
