"""Problems from an `nn.Module`: the module becomes a function of its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.models.autodiff import AutodiffPasses
from bench.models.case_checks import check_cases
from bench.models.errors import ProblemError
from bench.models.layout import Layout
from bench.models.losses import MatchingLoss
from bench.models.module_checks import largest, made_by, seeded, shapes_of
from bench.models.module_function import ModuleFunction
from bench.models.module_probe import EQUAL, MANY, MOST_VALUES, PROBED, ROUNDED, ModuleProbe
from bench.models.module_roles import layers_of, roles_of
from bench.models.passes import PASSES, Passes
from bench.models.problem import (
    Data,
    DataSource,
    Metric,
    Problem,
    are_tokens,
    in_precision,
    input_tensor,
    to_tensor,
)


class ModuleProblem(Problem):
    """z = module(inputs): a module that maps (B, …) to (B, T), z being pre-activations.

    `module` is a class or function that creates the module. A new module, created with a seed, is
    the initialisation. Parameters become views of θ. Buffers, and parameters with
    requires_grad=False, are constants, the same for every seed. The module stays in the mode in
    which it was created.

    Raises ValueError if a module cannot be used. Its outputs for a case must depend only on the
    parameters and on that case, and it must leave both as they are. What a module is made of is
    checked here; what it computes, when `data` is called.
    """

    def __init__(
        self,
        name: str,
        preset: str,
        module: Callable[[], nn.Module],
        loss: MatchingLoss,
        metric: Metric,
        data: Callable[[DataSource], Data],
        *,
        budget: int,
        targets: tuple[float, ...],
        evaluations: int = 20,
        margin: float = math.log(1.05),
        log_scale: bool = True,
        parameters: Mapping[str, Any] | None = None,
        notes: str = "",
    ) -> None:
        if isinstance(module, nn.Module):
            raise ProblemError(
                "module is an instance, but each seed needs a new one: give the class, or a "
                "function that returns a new instance"
            )
        self._make, self._data = module, data
        self.module = made_by(module)
        self.function = ModuleFunction(self.module)
        self._known: _KnownOutputs | None = None
        super().__init__(
            name=name,
            preset=preset,
            layout=layout_of(self.module),
            loss=loss,
            metric=metric,
            initialization=f"as {self.function.kind} initialises itself",
            budget=budget,
            evaluations=evaluations,
            targets=targets,
            margin=margin,
            log_scale=log_scale,
            parameters=parameters or {},
            notes=notes,
        )

    def logits(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the module's outputs under each row's parameters, (K, B, T).

        Row by row: not every module can be vmapped, and K matters to small networks only.
        """
        names = list(params)
        rows = zip(*(params[name].unbind(0) for name in names), strict=True)
        outputs = [
            self.function(dict(zip(names, row, strict=True)), inputs[k % len(inputs)])
            for k, row in enumerate(rows)
        ]
        return torch.stack(outputs)

    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Create the module with a seed from `rng`; torch's global stream does not change."""
        made = dict(seeded(self._make, int(rng.integers(2**63))).named_parameters())
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for name, view in self.layout.views(theta).items():
            view.copy_(made[name].detach())
        return theta

    def data(self, source: DataSource) -> Data:
        """Return the data, after checking the module with some cases."""
        data = self._data(source)
        check_cases(data, self.loss, np.float64)
        values = max(1, data.train_inputs[0].size)
        count = min(MANY, max(PROBED, MOST_VALUES // values))
        theta = self.initialize(np.random.default_rng(0))
        with torch.random.fork_rng(devices=[]):
            inputs = input_tensor(data.train_inputs[:count], torch.float64)
            targets = to_tensor(data.train_targets[:PROBED], torch.float64)
            targets = self.loss.values(targets)
            kind = data.train_inputs.dtype
            probe = ModuleProbe(
                self.function, self._make, self.layout, theta, inputs, targets, kind
            )
            every = {"train_inputs": data.train_inputs, "test_inputs": data.test_inputs}
            z = probe.check({name: each for name, each in every.items() if are_tokens(each)})
        self._known = _KnownOutputs(self.function, self.layout, theta, inputs[:PROBED], z)
        return data

    def passes(self) -> Passes:
        """Return the batch computations by autodiff."""
        return ModulePasses(self)

    def check_unchanged(self, like: Tensor) -> None:
        """Raise ProblemError if the module no longer computes what it did when it was probed."""
        if self._known is not None:
            self._known.check(like)


def layout_of(module: nn.Module) -> Layout:
    """Return the layout of what is trained; a frozen parameter has no place in it."""
    shapes = shapes_of(module)
    roles, layers = roles_of(module), layers_of(module)
    return Layout(
        shapes,
        roles={name: roles[name] for name in shapes},
        layers={name: layers[name] for name in shapes},
    )


class _KnownOutputs:
    """A few outputs at the initial parameters, with which later ones are compared now and then."""

    def __init__(
        self, function: ModuleFunction, layout: Layout, theta: Tensor, inputs: Tensor, z: Tensor
    ) -> None:
        self._function, self._layout = function, layout
        self._theta, self._inputs, self._z = theta, inputs, z

    def check(self, like: Tensor) -> None:
        """Raise ProblemError if outputs on the device and in the precision of `like` differ."""
        function = self._function
        if (name := function.changed_constant(like)) is not None:
            raise ProblemError(
                f"{function.kind} has changed its buffer {name} in training; all trials share it, "
                "and their outputs must depend on parameters and inputs only"
            )
        theta, x = self._theta.to(like), in_precision(self._inputs.to(like.device), like.dtype)
        with torch.no_grad():
            found = function(self._layout.views(theta), x)
        slack = EQUAL if like.dtype == torch.float64 else ROUNDED
        z = self._z.to(like)
        if not torch.allclose(found, z, slack, slack * largest(z), equal_nan=True):
            raise ProblemError(
                f"{function.kind} returns other outputs than before training for the same "
                "parameters and inputs. It keeps a state, such as a counter of calls, outside its "
                "parameters; remove that"
            )


class ModulePasses(AutodiffPasses):
    """Autodiff, with per-case gradients one by one where the module cannot be vmapped."""

    problem: ModuleProblem
    _vmapped = True
    _out: tuple[int, list[Tensor]] = (0, [])
    """Where the last gradient was written: its memory, and views into it."""

    def logits(self, theta: Float[Tensor, "K P"], inputs: Tensor) -> Tensor:
        """Return the outputs' pre-activations, (K, B, T), now and then after a check."""
        if self._watch.is_due():
            self.problem.check_unchanged(theta)
        return super().logits(theta, inputs)

    def gradient(
        self,
        theta: Float[Tensor, "K P"],
        inputs: Tensor,
        targets: Tensor,
        out: Float[Tensor, "K P"],
    ) -> Tensor:
        """Write the gradient of the mean loss into `out`; return the mean loss, (K,).

        A single row is the module's own call and backward pass, which a training loop would make.
        """
        if len(theta) > 1:
            return super().gradient(theta, inputs, targets, out)
        value, gradients = self.gradient_parts(theta, inputs, targets)
        if self._out[0] != out.data_ptr():
            self._out = out.data_ptr(), list(self.layout.views(out[0]).values())
        torch._foreach_copy_(self._out[1], gradients)
        return value

    def gradient_parts(
        self, theta: Float[Tensor, "1 P"], inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the mean loss, (1,), and its gradient by each parameter, in memory of its own."""
        function = self.problem.function
        own = function.place(theta, self.layout)
        PASSES.run += 1
        watched = self._watch.over(own, θ=theta, inputs=inputs, targets=targets)
        with watched, torch.enable_grad():
            z = function.run(inputs[0])[None]
            value = self.matching.per_case(z, targets).mean(1, dtype=torch.float64)
            # It copies a gradient that shares memory with another or is laid out otherwise.
            value.backward(torch.ones_like(value))
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        for each in own:
            each.grad = None
        return value.detach(), parts

    def squared_gradient(
        self, theta: Float[Tensor, "K P"], inputs: Tensor, targets: Tensor
    ) -> Float[Tensor, "K P"]:
        """Return the mean over cases of the squared per-case gradient."""
        if self._vmapped:
            try:
                return super().squared_gradient(theta, inputs, targets)
            except RuntimeError:  # torch.nn's recurrent layers write in place.
                self._vmapped = False
        out, one = torch.zeros_like(theta), torch.zeros_like(theta)
        for case in range(inputs.shape[1]):
            some = slice(case, case + 1)
            self.gradient(theta, inputs[:, some], targets[:, some], one)
            out.addcmul_(one, one)
        return out.div_(inputs.shape[1])
