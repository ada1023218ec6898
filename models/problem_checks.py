"""What a comparison tries on a problem before anything is trained, and refuses with the cause.

A few cases suffice: each check finds what would otherwise end in an error after the first update,
or in a wrong result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.models.autodiff import AutodiffPasses
from bench.models.case_checks import check_cases
from bench.models.errors import ProblemError
from bench.models.losses import MatchingLoss
from bench.models.problem import Data, Metric, Problem, are_tokens, input_tensor, to_tensor

TRIED = 4
"""The number of cases that are tried."""
ROWS = 2
CLOSE = 1e-9
"""Relative difference that rounding in float64 can cause."""
STRESS = (1.0, 100.0, 1e-3)
"""Factors of parameters and inputs at which clipping and rescaling would show."""
STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
RESOLVED = 1e-3
"""Relative difference of a derivative from the best of the differences with these steps."""

TensorPair = Callable[[Tensor, Tensor], Tensor]


def check_problem(
    problem: Problem,
    data: Data,
    dtype: type[np.floating],
    needs_curvature: bool,
    needs_hessian: bool = False,
) -> None:
    """Raise ProblemError for what cannot be compared; `dtype` is the precision of the training."""
    check_declared(problem)
    check_cases(data, problem.loss, dtype)
    try:
        trial = TrialRun(problem, data)
        trial.check_parameters(dtype)
        trial.check_outputs()
        trial.check_values()
        trial.check_diagnostics()
        trial.check_writes()
        trial.check_gradient()
        if needs_curvature:
            trial.check_curvature()
        if needs_hessian:
            trial.check_hessian()
    except ProblemError:
        raise
    except Exception as error:  # The user's code may raise anything.
        raise ProblemError(
            f"trying it on {TRIED} cases raised {type(error).__name__}: {str(error).rstrip('.')}"
        ) from error


def check_declared(problem: Problem) -> None:
    """Raise ProblemError for attributes that are not of the type that they must have."""
    missing = [each.name for each in fields(Problem) if not hasattr(problem, each.name)]
    if missing:
        raise ProblemError(
            f"{type(problem).__name__} has no {', '.join(missing)}; call super().__init__ with them"
        )
    loss, metric = problem.loss, problem.metric
    if not isinstance(loss, MatchingLoss):
        raise ProblemError(
            f"loss is a {_kind(loss)}, but Gauss–Newton products need a matching loss; give one of "
            "bench.models.losses, such as SoftmaxCrossEntropy(), or a subclass of MatchingLoss"
        )
    if not isinstance(metric, Metric):
        raise ProblemError(
            f"metric is a {_kind(metric)}; give Metric(name, direction, function), from "
            "bench.models.problem"
        )
    if metric.direction not in ("lower", "higher"):
        raise ProblemError(
            f"the direction of the metric {metric.name} is {metric.direction!r}; allowed are "
            "'lower' and 'higher', the better one"
        )
    if not isinstance(metric.name, str) or not metric.name or not callable(metric.per_case):
        raise ProblemError("a metric has a name and a function of logits and targets")
    for name, least in (("budget", 1), ("evaluations", 1), ("margin", 0)):
        value = getattr(problem, name)
        if not _is_number(value) or value < least:
            raise ProblemError(f"{name} is {value!r}; it must be a number, at least {least}")
    if not isinstance(problem.targets, tuple | list):
        raise ProblemError(f"targets is {problem.targets!r}; it must be a tuple of numbers")
    wrong = [target for target in problem.targets if not _is_number(target)]
    if wrong:
        raise ProblemError(f"targets contains {wrong[0]!r}; it must contain finite numbers")


def _kind(given: object) -> str:
    """Return what a value is: a class that was not called, or the type of an object."""
    return f"class, {given.__name__}" if isinstance(given, type) else type(given).__name__


def _is_number(given: object) -> bool:
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        return False
    return math.isfinite(given)


class TrialRun:
    """Two rows of initial parameters and a few cases, in float64, with which a problem is tried."""

    def __init__(self, problem: Problem, data: Data) -> None:
        self.problem, self.passes = problem, problem.passes()
        self.theta = torch.stack([self._initial(seed) for seed in range(ROWS)])
        self.parts = {
            part: (
                input_tensor(getattr(data, f"{part}_inputs")[:TRIED], torch.float64)[None],
                to_tensor(getattr(data, f"{part}_targets")[:TRIED], torch.float64)[None],
            )
            for part in ("train", "test")
        }
        if data.draw is not None:
            self.parts["drawn"] = self._drawn(data)

    def _initial(self, seed: int) -> Tensor:
        """Return initial parameters; raise ProblemError unless they are (P,) and float64."""
        size = self.problem.layout.size
        first = self.problem.initialize(np.random.default_rng(seed))
        if not isinstance(first, Tensor):
            raise ProblemError(f"initialize() returned a {_kind(first)}; return ({size},)")
        if first.shape != (size,) or first.dtype != torch.float64:
            raise ProblemError(
                f"initialize() returned {tuple(first.shape)} in {first.dtype}; the layout asks for "
                f"({size},) in torch.float64"
            )
        return first

    def _drawn(self, data: Data) -> tuple[Tensor, Tensor]:
        """Return a few drawn cases; raise ProblemError unless they are like the others."""
        assert data.draw is not None
        inputs, targets = data.draw(np.random.default_rng(0), TRIED)
        for name, array in (("inputs", inputs), ("targets", targets)):
            wanted = (TRIED, *getattr(data, f"train_{name}").shape[1:])
            if np.shape(array) != wanted:
                raise ProblemError(
                    f"draw() returned {name} of shape {np.shape(array)} for {TRIED} cases; they "
                    f"must have the shape {wanted}, as in train_{name}"
                )
        if are_tokens(inputs) != are_tokens(data.train_inputs):
            raise ProblemError(
                f"draw() returned inputs of type {inputs.dtype}, and train_inputs are of type "
                f"{data.train_inputs.dtype}, so only one of them are tokens. Tokens are int32 or "
                "int64; give both alike"
            )
        check_cases(Data("", "", inputs, inputs, targets, targets), self.problem.loss, np.float32)
        return input_tensor(inputs, torch.float64)[None], to_tensor(targets, torch.float64)[None]

    def check_parameters(self, dtype: type[np.floating]) -> None:
        """Raise ProblemError for a start that is not the seed's, or that `dtype` cannot hold."""
        if not torch.equal(self._initial(0).nan_to_num(), self.theta[0].nan_to_num()):
            raise ProblemError(
                "initialize() returned other parameters under the same seed; draw from the "
                "generator that it is given, and from nothing else"
            )
        most = float(self.theta.abs().max())
        if not most <= float(np.finfo(dtype).max):
            raise ProblemError(
                f"initial parameters are up to {most:g}, NaN or infinite; they must be numbers "
                f"that {np.dtype(dtype).name} can hold"
            )

    def check_outputs(self) -> None:
        """Raise ProblemError for outputs of another shape than the targets, or not finite."""
        for part, (x, t) in self.parts.items():
            z = self._left_alone(part, "logits", self.passes.logits, (self.theta, x), x, t)
            wanted = (ROWS, *self.problem.loss.values(t).shape[1:])
            if not isinstance(z, Tensor) or z.shape != wanted:
                found = tuple(z.shape) if isinstance(z, Tensor) else _kind(z)
                raise ProblemError(
                    f"the outputs for {ROWS} rows and {x.shape[1]} cases of {part} are {found}; "
                    f"by the targets they must be {wanted}"
                )
            if not z.isfinite().all():
                raise ProblemError(
                    f"outputs for cases of {part} are NaN or infinite at the initial parameters"
                )

    def _left_alone(
        self,
        part: str,
        what: str,
        compute: Callable[..., Any],
        arguments: tuple[Any, ...],
        x: Tensor,
        t: Tensor,
    ) -> Any:
        """Return the result; raise ProblemError if θ, inputs or targets are written to."""
        named = {"its parameters": self.theta, "its inputs": x, "its targets": t}
        before = {name: each.clone() for name, each in named.items()}
        try:
            found = compute(*arguments)
        except ProblemError:
            raise
        except Exception as error:  # The user's code may raise anything.
            raise ProblemError(
                f"{what} of {x.shape[1]} cases of {part} raised {type(error).__name__}: {error}"
            ) from error
        for name, each in named.items():
            if not torch.equal(each, before[name]):
                raise ProblemError(
                    f"computing the {what}, the problem's own code writes into {name}; compute new "
                    "values as new tensors instead, such as x.clamp(…) in place of x.clamp_(…)"
                )
        return found

    def check_values(self) -> None:
        """Raise ProblemError unless loss and metric give one finite number for each case."""
        metric = f"the metric {self.problem.metric.name}"
        for part, (x, t) in self.parts.items():
            z = self.passes.logits(self.theta, x).clone()
            self._check_values(f"the loss of cases of {part}", self.problem.loss.per_case, z, t)
            self._check_values(f"{metric} of cases of {part}", self.problem.metric.per_case, z, t)

    def _check_values(self, what: str, per_case: TensorPair, z: Tensor, t: Tensor) -> None:
        kept = z.clone(), t.clone()
        values = self._called(what, per_case, z, t)
        if not (torch.equal(z, kept[0]) and torch.equal(t, kept[1])):
            raise ProblemError(
                f"{what}: its function writes into outputs or targets; compute new tensors instead"
            )
        cases, axes = z.shape[1], z.dim() - 3
        wanted = (ROWS, cases)
        if not isinstance(values, Tensor) or values.shape != wanted:
            found = tuple(values.shape) if isinstance(values, Tensor) else f"a {_kind(values)}"
            raise ProblemError(
                f"{what} is {found} for {ROWS} rows and {cases} cases, and must be {wanted}: one "
                f"number for each case, not an average over them{_axes_hint(z, axes)}"
            )
        if values.is_complex() or not values.isfinite().all():
            raise ProblemError(
                f"{what} is NaN, infinite or complex at the initial parameters; it must be "
                "a finite number for each case"
            )
        wide = values.double()
        scale = CLOSE * max(1e-300, float(wide.abs().max()))
        for row in range(ROWS):
            for case in range(cases):
                one = slice(row, row + 1), slice(case, case + 1)
                alone = self._called(what, per_case, z[one], t[:, one[1]])
                if alone.shape != (1, 1) or abs(float(alone) - float(wide[row, case])) > scale:
                    raise ProblemError(
                        f"{what} is another number for a case alone than among other cases or "
                        "rows; it must depend on the outputs and the target of that case only"
                    )

    @staticmethod
    def _called(what: str, per_case: TensorPair, z: Tensor, t: Tensor) -> Tensor:
        try:
            return per_case(z, t)
        except Exception as error:  # The user's code may raise anything.
            raise ProblemError(
                f"{what} raised {type(error).__name__}: {error}, for outputs of shape "
                f"{tuple(z.shape)}, (rows, cases, outputs), and targets of shape {tuple(t.shape)}"
            ) from error

    def check_writes(self) -> str:
        """Raise ProblemError if a pass writes into θ or cases; return how often that was tried.

        At 100 times the inputs and parameters clipping shows that the cases themselves do not need.
        """
        tried = 0
        for part, (x, t) in self.parts.items():
            for factor in STRESS:
                theta, inputs = self.theta * factor, x * factor
                out = torch.zeros_like(theta)
                for name, compute in (
                    ("logits", lambda a, b: self.passes.logits(a, b)),
                    ("loss", lambda a, b, t=t: self.passes.loss(a, b, t)),
                    ("gradient", lambda a, b, t=t, o=out: self.passes.gradient(a, b, t, o)),
                ):
                    tried += 1
                    self._check_writes(f"the {name} of cases of {part}", compute, theta, inputs, t)
        return f"{tried} passes"

    def _check_writes(
        self, what: str, compute: TensorPair, theta: Tensor, x: Tensor, t: Tensor
    ) -> None:
        named = {"its parameters": theta, "its inputs": x, "its targets": t}
        before = {name: (each.clone(), each._version) for name, each in named.items()}
        try:
            compute(theta, x)
        except ProblemError:
            raise
        except Exception:  # Such values may be no inputs of this network.
            pass
        for name, each in named.items():
            values, version = before[name]
            if each._version != version or not torch.equal(each, values):
                raise ProblemError(
                    f"computing {what}, the problem's own code writes into {name}; compute new "
                    "values as new tensors instead, such as x.clamp(…) in place of x.clamp_(…)"
                )

    def check_diagnostics(self) -> None:
        """Raise ProblemError unless `observe` gives one number for each row under each name."""
        x, t = self.parts["test"]
        views = self.problem.layout.views(self.theta)
        found = self._left_alone("test", "diagnostics", self.problem.observe, (views, x), x, t)
        if not isinstance(found, Mapping):
            raise ProblemError(f"observe() returned a {_kind(found)}; return name → tensor, (K,)")
        for name, value in found.items():
            if not isinstance(value, Tensor) or value.shape != (ROWS,):
                shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {_kind(value)}"
                raise ProblemError(
                    f"observe() returned {shape} as {name} for {ROWS} rows; return one number for "
                    f"each, ({ROWS},)"
                )

    def check_gradient(self) -> None:
        """Raise ProblemError if there is no gradient, or if it is not finite."""
        x, t = self.parts["train"]
        out = torch.zeros_like(self.theta)
        arguments = self.theta, x, t, out
        self._left_alone("train", "gradient", self.passes.gradient, arguments, x, t)
        if not out.isfinite().all():
            raise ProblemError("the gradient is NaN or infinite at the initial parameters")

    def _product(self, x: Tensor, t: Tensor, v: Tensor) -> Tensor:
        return self.passes.curvature(self.theta, x, t)(v)

    def check_curvature(self) -> None:
        """Raise ProblemError unless vᵀGv is that of the differences of the outputs along v.

        For a matching loss vᵀGv = (Jv)ᵀ H_L (Jv) over cases; Jv comes from central differences, of
        which the best step counts.
        """
        x, t = self.parts["train"]
        v = self._direction()
        product = self._left_alone(
            *("train", "Gauss–Newton product", self._product, (x, t, v), x, t)
        )
        found = (product * v).sum(1)
        z = self.passes.logits(self.theta, x).clone()
        curved = self.problem.loss.curvature_at(z, t)
        errors = []
        for h in STEPS:
            up, down = (self.passes.logits(self.theta + s * v, x).clone() for s in (h, -h))
            jv = (up - down) / (2 * h)
            wanted = (jv * curved(jv)).flatten(1).sum(1) / x.shape[1]
            scale = torch.maximum(found.abs(), wanted.abs()).clamp_min(1e-15)
            errors.append(float(((found - wanted).abs() / scale).max()))
        if not min(errors) <= RESOLVED:
            raise ProblemError(
                "Gauss–Newton products are not those of the network, by a relative difference of "
                f"{min(errors):.2g}: an operation in it has a wrong derivative, as where a custom "
                "backward is not differentiable itself. Compare methods that need gradients only, "
                "or write that derivative with operations of torch"
            )

    def check_hessian(self) -> None:
        """Raise ProblemError unless H v is that of the differences of the gradient along v."""
        x, t = self.parts["train"]
        v, passes = self._direction(), AutodiffPasses(self.problem)
        gradient = torch.zeros_like(self.theta)

        def product(x: Tensor, t: Tensor, v: Tensor) -> Tensor:
            return passes.hessian(self.theta, x, t, gradient)[1](v)

        found = self._left_alone("train", "Hessian product", product, (x, t, v), x, t)
        errors, out = [], torch.zeros_like(self.theta)
        for h in STEPS:
            ends = []
            for s in (h, -h):
                self.passes.gradient(self.theta + s * v, x, t, out)
                ends.append(out.clone())
            wanted = (ends[0] - ends[1]) / (2 * h)
            least = RESOLVED * float(gradient.norm())
            scale = max(float(found.norm()), float(wanted.norm()), least, 1e-15)
            errors.append(float((found - wanted).norm()) / scale)
        if not min(errors) <= RESOLVED:
            raise ProblemError(
                "Hessian products are not those of the loss, by a relative difference of "
                f"{min(errors):.2g}: an operation in it has a wrong derivative, as where a custom "
                "backward is not differentiable itself. Compare methods that need gradients only, "
                "or write that derivative with operations of torch"
            )

    def _direction(self) -> Tensor:
        """Return normal numbers at the place of every parameter."""
        noise = torch.Generator().manual_seed(0)
        v = torch.zeros_like(self.theta)
        for view in self.problem.layout.views(v).values():
            view.copy_(torch.randn(view.shape, generator=noise).double())
        return v


def _axes_hint(z: Tensor, axes: int) -> str:
    """Return advice for outputs with step or image axes."""
    if axes < 1:
        return ""
    return (
        f". The outputs of a case have the shape {tuple(z.shape[2:])}, and most losses sum over "
        "the last axis only: give Stepped(loss) for a sum over steps too, flatten(1) outputs and "
        "targets of images, and sum a metric over all axes"
    )
