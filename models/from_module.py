"""Problems from an `nn.Module`: the module becomes a function of its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.autodiff import AutodiffPasses
from bench.models.layout import Layout
from bench.models.losses import MatchingLoss
from bench.models.passes import Passes
from bench.models.problem import Data, DataSource, Metric, Problem, to_tensor

PROBED = 4
"""The number of cases with which a module is checked before anything is run."""
EQUAL = 1e-9
"""Relative difference of outputs that rounding in float64 can cause."""


class ModuleProblem(Problem):
    """z = module(inputs): a module that maps (B, …) to (B, T), z being pre-activations.

    `module` is a class or function that creates the module. A new module, created with a seed, is
    the initialisation. Parameters become views of θ. Buffers, and parameters with
    requires_grad=False, are constants, the same for every seed. The module stays in the mode in
    which it was created.

    Raises ValueError if a module cannot be used. Its outputs for a case must depend only on the
    parameters and on that case. So changing state (BatchNorm in training mode) and randomness
    (Dropout in training mode) are refused when `data` is called.
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
            raise ValueError(
                "module is an instance, but each seed needs a new one: give the class, or a "
                "function that returns a new instance"
            )
        self._make, self._data = module, data
        self.module = _seeded(module, 0)
        if _seeded(module, 0) is self.module:
            raise ValueError(
                "module() returned the same instance twice, but each seed needs a new one"
            )
        self._kind = type(self.module).__name__
        self._constants = _constants(self.module)
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        super().__init__(
            name=name,
            preset=preset,
            layout=Layout(_shapes(self.module)),
            loss=loss,
            metric=metric,
            initialization=f"as {self._kind} initialises itself",
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
            self._call(dict(zip(names, row, strict=True)), inputs[k % len(inputs)])
            for k, row in enumerate(rows)
        ]
        return torch.stack(outputs)

    def initialize(self, rng: np.random.Generator) -> Float[Tensor, " P"]:
        """Create the module with a seed from `rng`; torch's global stream does not change."""
        made = dict(_seeded(self._make, int(rng.integers(2**63))).named_parameters())
        theta = torch.zeros(self.layout.size, dtype=torch.float64)
        for name, view in self.layout.views(theta).items():
            view.copy_(made[name].detach())
        return theta

    def data(self, source: DataSource) -> Data:
        """Return the data, after checking the module with some cases."""
        data = self._data(source)
        with torch.random.fork_rng(devices=[]):
            self._probe(
                to_tensor(data.train_inputs[:PROBED], torch.float64),
                to_tensor(data.train_targets[:PROBED], torch.float64),
            )
        return data

    def passes(self) -> Passes:
        """Return the batch computations by autodiff."""
        return ModulePasses(self)

    def _call(self, params: Mapping[str, Tensor], inputs: Tensor, constants: Any = None) -> Any:
        if constants is None:
            constants = self._at(next(iter(params.values())))
        # The fused kernels of attention cannot be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(self.module, (dict(params), constants), (inputs,))

    def _at(self, like: Tensor) -> dict[str, Tensor]:
        """Return the constants on the device and in the precision of θ."""
        place = like.device, like.dtype
        if place not in self._placed:
            self._placed[place] = {
                name: each.to(like.device, like.dtype if each.is_floating_point() else None)
                for name, each in self._constants.items()
            }
        return self._placed[place]

    def _probe(self, inputs: Tensor, targets: Tensor) -> None:
        """Raise ValueError for a module that is not a function of its parameters and each case."""
        theta = self.initialize(np.random.default_rng(0))
        params = {name: view.requires_grad_() for name, view in self.layout.views(theta).items()}
        constants = {name: each.clone() for name, each in self._at(theta).items()}
        shape = tuple(inputs.shape)
        try:
            z = self._call(params, inputs, constants)
        except Exception as error:  # The user's code may raise anything.
            raise ValueError(
                f"{self._kind} does not take inputs of shape {shape}, cases first, in float64: "
                f"{type(error).__name__}: {error}"
            ) from error
        for name, before in self._at(theta).items():
            if not torch.equal(constants[name], before):
                raise ValueError(
                    f"{self._kind} changes its buffer {name} in forward, as BatchNorm does in "
                    "training mode, but the outputs must depend on parameters and inputs only. Use "
                    "LayerNorm or GroupNorm, or call eval() on that part"
                )
        if not isinstance(z, Tensor) or z.shape != targets.shape:
            found = tuple(z.shape) if isinstance(z, Tensor) else f"a {type(z).__name__}"
            raise ValueError(
                f"{self._kind} returns {found} for inputs of shape {shape}, but the targets have "
                f"the shape {tuple(targets.shape)}; both must be (cases, outputs)"
            )
        if not torch.equal(self._call(params, inputs), z):
            raise ValueError(
                f"{self._kind} returns different outputs for the same inputs, as Dropout does in "
                "training mode; remove the random part, or call eval() on it"
            )
        half = self._call(params, inputs[: PROBED // 2])
        slack = EQUAL * float(z.detach().abs().max())
        if not torch.allclose(half, z[: len(half)], rtol=EQUAL, atol=slack):
            raise ValueError(
                f"{self._kind} returns outputs for a case that depend on the other cases of the "
                "batch, as BatchNorm does in training mode; they must depend on that case only"
            )
        reached = torch.autograd.grad(z.sum(), list(params.values()), allow_unused=True)
        idle = [name for name, g in zip(params, reached, strict=True) if g is None]
        if idle:
            raise ValueError(
                f"{self._kind} does not use its parameters {', '.join(idle)}; remove them, or set "
                "requires_grad=False on them"
            )


class ModulePasses(AutodiffPasses):
    """Autodiff, with per-case gradients one by one where the module cannot be vmapped."""

    _vmapped = True

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


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a new module made under a seed."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds every CUDA device too.
        torch.default_generator.manual_seed(seed)
        made = make()
    if not isinstance(made, nn.Module):
        raise ValueError(f"module() gave a {type(made).__name__}, not an nn.Module")
    return made


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is trained; a parameter shared by two parts is there once."""
    kind, shapes = type(module).__name__, {}
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"{kind}: the shape of {name} is not known; use layers that say it")
        if parameter.requires_grad:
            shapes[name] = tuple(parameter.shape)
    if not shapes:
        raise ValueError(f"{kind} has no parameters to train")
    return shapes


def _constants(module: nn.Module) -> dict[str, Tensor]:
    """Return what is not trained."""
    frozen = {n: p.detach() for n, p in module.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(module.named_buffers())}
