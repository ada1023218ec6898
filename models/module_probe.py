"""Whether a module is a function of its parameters and of each case, tried on a few cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.errors import ProblemError
from bench.models.layout import Layout
from bench.models.module_checks import equal, largest, seeded
from bench.models.module_function import ModuleFunction
from bench.models.problem import in_precision
from bench.models.unchanged import ADVICE

PROBED = 4
"""The number of cases with which most is tried."""
MANY = 130
"""The number of cases with which it is tried whether the size of a batch matters."""
MOST_VALUES = 2**20
"""So many values of inputs are tried at most, if PROBED cases have fewer."""
CALLS = 3
"""Calls with the same cases, each with and without gradients."""
EQUAL = 1e-9
"""Relative difference of outputs that rounding in float64 can cause."""
ALIKE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Relative difference of outputs of equal operations in other memory; wider for other types."""
ROUNDED = 1e-2
"""Relative difference of outputs in float32 and float64."""
AGAIN = (
    "What runs forward again in backward(), as torch.utils.checkpoint does, would see other "
    "parameters than θ there; call the layers without it"
)
STRESS = (1.0, 100.0, 1e-3)
"""Factors of parameters and inputs at which clipping and rescaling would show."""

Params = dict[str, Tensor]


class ModuleProbe:
    """The checks of one module on some training cases, in float64; each raises ProblemError."""

    def __init__(
        self,
        function: ModuleFunction,
        make: Callable[[], nn.Module],
        layout: Layout,
        theta: Tensor,
        inputs: Tensor,
        targets: Tensor,
        given: np.dtype[Any],
    ) -> None:
        self.function, self.make, self.layout, self.theta = function, make, layout, theta
        self.many, self.inputs, self.targets = inputs, inputs[:PROBED], targets[:PROBED]
        self.given, self.kind = given, function.kind

    def check(self, tokens: Mapping[str, np.ndarray]) -> Tensor:
        """Check everything; return the outputs for the first cases at the initial parameters.

        `tokens` has all inputs by name, where they are tokens.
        """
        z = self._first_call()
        for name, each in tokens.items():
            self._check_extremes(name, each)
        self._check_writes()
        self._check_repetition(z)
        self._check_batches(z)
        self._check_gradients()
        self._check_reach()
        return z.detach()

    def _check_extremes(self, name: str, tokens: np.ndarray) -> None:
        """Raise ProblemError for a least or greatest token that the module does not take."""
        for found in (tokens.min(), tokens.max()):
            case = int((tokens == found).reshape(len(tokens), -1).any(1).argmax())
            some = torch.from_numpy(tokens[case : case + 1].astype(np.int64))
            try:
                with torch.no_grad():
                    self._unchanged(self._leaves(self.theta), some)
            except ProblemError:
                raise
            except Exception as error:
                raise ProblemError(
                    f"{self.kind} does not take the case {case:,} of {name}, in which a token is "
                    f"{found}: {type(error).__name__}: {error}. Tokens must be from 0 to the "
                    "number of rows of the embedding − 1"
                ) from error

    @property
    def _has_tokens(self) -> bool:
        return not self.inputs.is_floating_point()

    def _leaves(self, theta: Tensor) -> Params:
        return {n: v.clone().requires_grad_() for n, v in self.layout.views(theta).items()}

    def _first_call(self) -> Tensor:
        """Return the outputs; raise ProblemError for a call that fails or gives no outputs."""
        shape = tuple(self.inputs.shape)
        try:
            z = self._unchanged(self._leaves(self.theta), self.inputs)
        except ProblemError:
            raise
        except Exception as error:  # The user's code may raise anything.
            # A parameter cannot be written to where its gradient is wanted: that is the cause.
            self._check_writes()
            raise ProblemError(
                f"{self.kind} does not take inputs of shape {shape}, cases first, in float64: "
                f"{type(error).__name__}: {error}{self._hint()}"
            ) from error
        if not isinstance(z, Tensor):
            raise ProblemError(
                f"{self.kind} returns a {type(z).__name__} for inputs of shape {shape}; return one "
                "tensor, the pre-activations of the outputs, (cases, outputs)"
            )
        if z.shape != self.targets.shape:
            raise ProblemError(
                f"{self.kind} returns {tuple(z.shape)} for inputs of shape {shape}, but the "
                f"targets have the shape {tuple(self.targets.shape)}; both must be (cases, "
                f"outputs){_label_hint(self.targets)}"
            )
        if z.dtype != torch.float64:
            raise ProblemError(
                f"{self.kind} returns {z.dtype} where parameters and inputs are in float64; leave "
                "out conversions such as float(), so that it computes in the precision asked for"
            )
        if not z.isfinite().all():
            raise ProblemError(
                f"{self.kind} returns outputs that are NaN or infinite at its initial parameters"
            )
        return z

    def _hint(self) -> str:
        """Return advice for the usual reasons why a call in float64 fails."""
        if self._has_tokens:
            return (
                f". Inputs of type {self.given} are tokens and stay whole numbers, as nn.Embedding "
                "needs them, from 0 to its number of rows − 1; where they are numbers, give "
                "inputs.astype('float32')"
            )
        if self.given.kind in "ui":
            return (
                f". Inputs of type {self.given} are handed over as floating-point numbers; where "
                "they are tokens, give inputs.astype('int64')"
            )
        names = [
            ".".join(filter(None, (where, name)))
            for where, part in self.function.module.named_modules()
            for name, value in vars(part).items()
            if isinstance(value, Tensor)
        ]
        if names:
            return (
                f". {', '.join(names)} is a plain tensor, which keeps its precision; use "
                "self.register_buffer(name, tensor)"
            )
        return ""

    def _unchanged(self, params: Params, inputs: Tensor, constants: Params | None = None) -> object:
        """Return the outputs; raise ProblemError if the call writes into what it is given."""
        if constants is None:
            constants = self.function.constants(next(iter(params.values())))
        given = {"inputs": inputs, **params, **constants}
        before = {name: each.detach().clone() for name, each in given.items()}
        versions = {name: each._version for name, each in given.items()}
        try:
            return self.function(params, inputs, constants)
        finally:
            for name, each in given.items():
                if each._version != versions[name] or not equal(each.detach(), before[name]):
                    self._raise_change(name, name in params)

    def _raise_change(self, name: str, is_parameter: bool) -> None:
        if name == "inputs":
            raise ProblemError(f"{self.kind} writes into its inputs in forward. {ADVICE[name]}")
        if is_parameter:
            raise ProblemError(
                f"{self.kind} changes its parameter {name} in forward, as Embedding(max_norm=…) "
                f"and weight clipping do. {ADVICE['θ']}"
            )
        raise ProblemError(
            f"{self.kind} changes its buffer {name} in forward, as BatchNorm does in training "
            "mode, but the outputs must depend on parameters and inputs only. Use LayerNorm or "
            "GroupNorm, or call eval() on that part"
        )

    def _check_writes(self) -> None:
        """Raise ProblemError if a call writes, at large and small values too."""
        noise = torch.Generator().manual_seed(0)
        inputs = self.inputs
        for factor in STRESS:
            rows = [self.theta, torch.randn(self.theta.shape, generator=noise).double()]
            for theta in rows:
                params = {n: v.clone() * factor for n, v in self.layout.views(theta).items()}
                random = torch.randn(inputs.shape, generator=noise).double()
                # Other tokens may be none that the module knows.
                far = inputs * factor, inputs + factor * random
                for x in (inputs,) if self._has_tokens else far:
                    try:
                        with torch.no_grad():
                            self._unchanged(params, x)
                    except ProblemError:
                        raise
                    except Exception:  # Such values may be no inputs of this module.
                        continue

    def _check_repetition(self, z: Tensor) -> None:
        """Raise ProblemError for outputs that change from call to call, or without gradients."""
        slack = EQUAL * largest(z)
        for call in range(CALLS):
            again = self._unchanged(self._leaves(self.theta), self.inputs)
            with torch.no_grad():
                plain = self._unchanged(self._leaves(self.theta), self.inputs)
            for found, how in ((again, ""), (plain, " without gradients (torch.no_grad)")):
                # Other kernels may be faster where nothing is kept for gradients.
                alike = partial(torch.allclose, rtol=EQUAL, atol=slack, equal_nan=True)
                if isinstance(found, Tensor) and (alike if how else equal)(found, z):
                    continue
                if how and not call:
                    raise ProblemError(
                        f"{self.kind} returns other outputs{how}; they must be the same, because "
                        "trials are trained with gradients and evaluated without"
                    )
                raise ProblemError(
                    f"{self.kind} returns different outputs for the same inputs, as Dropout does "
                    "in training mode and a counter of calls does; remove that part, or call "
                    "eval() on it"
                )

    def _check_batches(self, z: Tensor) -> None:
        """Raise ProblemError for outputs of a case that depend on the other cases."""
        slack = EQUAL * largest(z)
        for count in sorted({1, 2, 3, len(self.inputs), len(self.many)}):
            some = self.many[:count]
            try:
                with torch.no_grad():
                    found = self._unchanged(self._leaves(self.theta), some)
            except ProblemError:
                raise
            except Exception as error:
                raise ProblemError(
                    f"{self.kind} does not take a batch of {count} cases, inputs of shape "
                    f"{tuple(some.shape)}: {type(error).__name__}: {error}. Batches have any size "
                    "from 1 on, and the last of a set may be smaller than the others"
                ) from error
            wanted = z.detach()[:count]
            if not isinstance(found, Tensor) or found.shape != (len(some), *z.shape[1:]):
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ProblemError(
                    f"{self.kind} returns {shape} for a batch of {count} cases; there must be "
                    "outputs of shape "
                    f"{tuple(z.shape[1:])} for each"
                )
            if not torch.allclose(found[: len(wanted)], wanted, EQUAL, slack, equal_nan=True):
                raise ProblemError(
                    f"{self.kind} returns outputs for a case that depend on the other cases of "
                    "the batch, or on their number, as BatchNorm does in training mode; they must "
                    "depend on that case only"
                )

    def _check_gradients(self) -> None:
        """Raise ProblemError for parameters without a gradient, or with one that is sparse."""
        params = self._leaves(self.theta)
        z = self.function(params, self.inputs)
        others = [leaf for leaf in _leaves_of(z) if all(leaf is not p for p in params.values())]
        for leaf in others:
            own = dict(self.function.module.named_parameters())
            name = next((name for name, each in own.items() if each is leaf), None)
            if name is not None:
                self._raise_past([name])
            raise ProblemError(
                f"{self.kind} uses a tensor of shape {tuple(leaf.shape)} that requires a gradient "
                "but is not among its parameters, so it would not be trained. Assign it to an "
                "attribute of the module as nn.Parameter, or write requires_grad=False"
            )
        if not z.requires_grad:
            raise ProblemError(
                f"{self.kind} returns outputs without a graph, so nothing can be trained; leave "
                "no_grad, detach() and NumPy out of forward"
            )
        try:
            reached = torch.autograd.grad(z.sum(), list(params.values()), allow_unused=True)
        except Exception as error:  # Operations of the user's own may raise anything.
            raise ProblemError(
                f"{self.kind} has outputs that cannot be differentiated: {type(error).__name__}: "
                f"{error}. {AGAIN}"
            ) from error
        idle = [name for name, g in zip(params, reached, strict=True) if g is None]
        if idle:
            raise ProblemError(
                f"{self.kind} does not use its parameters {', '.join(idle)}, or keeps gradients "
                "from them by detach(), no_grad or torch.utils.checkpoint; remove them, or set "
                "requires_grad=False on them"
            )
        sparse = [n for n, g in zip(params, reached, strict=True) if g.layout != torch.strided]
        if sparse:
            raise ProblemError(
                f"{self.kind} gives sparse gradients of {', '.join(sparse)}, and θ is one dense "
                "vector; write sparse=False"
            )

    def _check_reach(self) -> None:
        """Raise ProblemError unless a new module that is given θ computes what the function does.

        The function replaces parameters where the module names them; a new module that was given
        the same values has them everywhere.
        """
        noise = torch.Generator().manual_seed(1)
        theta = self.theta + 0.1 * torch.randn(self.theta.shape, generator=noise).double()
        params = dict(self.layout.views(theta).items())
        if (found := self._both(params)) is None:
            return
        if found[2]:
            named = self.function.module.named_parameters()
            own = {name: each.detach().double() for name, each in named if name in params}
            past = (
                []
                if self._differ(own)
                else [n for n in params if self._differ({**own, n: params[n]})]
            )
            self._raise_past(past)
        ours, dtype = found[0], found[3]
        self._check_backward(params, dtype)
        # Inputs that float32 cannot hold are no fault of the module; the check of cases finds them.
        rounded = in_precision(in_precision(self.inputs, dtype), torch.float64)
        if dtype != torch.float32 or not rounded.isfinite().all():
            return
        with torch.no_grad():
            exact = self.function(params, rounded)
        slack = ROUNDED * largest(exact)
        if exact.isfinite().all() and not torch.allclose(ours.double(), exact, ROUNDED, slack):
            raise ProblemError(
                f"{self.kind} returns other outputs in float32 than in float64, by more than "
                "rounding; it must compute the same in every precision"
            )

    def _differ(self, params: Params) -> bool:
        found = self._both(params)
        return found is not None and found[2]

    def _both(self, params: Params) -> tuple[Tensor, Tensor, bool, torch.dtype] | None:
        """Return outputs of the function and of a new module, whether they differ, and the type.

        None for a module that cannot be called as it is made.
        """
        for dtype in (None, torch.float64):
            try:
                fresh, cast, x = self._given(params, dtype)
                with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                    direct = fresh(x.clone())
                    like = self.theta if dtype else None
                    ours = self.function(cast, x.clone(), self.function.constants(like))
            except Exception:  # Such as a buffer in another precision.
                continue
            scale = largest(direct)
            used = next(iter(cast.values())).dtype
            slack = ALIKE.get(used, ROUNDED)
            same = torch.allclose(ours, direct, slack, slack * scale, equal_nan=True)
            return ours, direct, not same, used
        return None

    def _given(self, params: Params, dtype: torch.dtype | None) -> tuple[nn.Module, Params, Tensor]:
        """Return a new module with these parameters, the parameters, and inputs, all of one type.

        The type is `dtype`, or that in which the module is made.
        """
        fresh = seeded(self.make, 2)
        used = dtype or next(p.dtype for p in fresh.parameters() if p.requires_grad)
        if dtype:
            fresh = fresh.to(dtype)
        trained = {name: each for name, each in fresh.named_parameters() if each.requires_grad}
        cast = {name: params[name].detach().to(each.dtype) for name, each in trained.items()}
        with torch.no_grad():
            for name, each in trained.items():
                each.copy_(cast[name])
        return fresh, cast, in_precision(self.inputs, used)

    def _check_backward(self, params: Params, dtype: torch.dtype) -> None:
        """Raise ProblemError unless gradients are those of a new module that is given θ.

        What runs forward again in backward() sees the module's own parameters, not those of θ.
        """
        fresh, cast, x = self._given(params, dtype)
        leaves = {name: each.clone().requires_grad_() for name, each in cast.items()}
        own = {name: each for name, each in fresh.named_parameters() if name in leaves}
        # Outputs that sum to a constant would have no gradient.
        weights = torch.linspace(0.5, 1.5, self.targets.numel()).view(self.targets.shape).to(dtype)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                direct = torch.autograd.grad((fresh(x) * weights).sum(), list(own.values()))
        except Exception:  # What it cannot do itself is no fault of what is done with it.
            return
        z = self.function(leaves, x, self.function.constants(weights))
        found = torch.autograd.grad((z * weights).sum(), [leaves[name] for name in own])
        scale = ROUNDED * max(map(largest, direct))
        off = [
            name
            for name, a, b in zip(own, found, direct, strict=True)
            if not torch.allclose(a, b, ROUNDED, scale, equal_nan=True)
        ]
        if off:
            raise ProblemError(
                f"{self.kind} has other gradients of {', '.join(off)} than in a training loop of "
                f"its own. {AGAIN}"
            )

    def _raise_past(self, names: list[str]) -> None:
        if not names:
            raise ProblemError(
                f"{self.kind} keeps values from its initialisation in a plain attribute, a list or "
                "a closure, where they would stay those of one seed. Make them parameters, or "
                "buffers that are the same under every seed"
            )
        raise ProblemError(
            f"{self.kind} reaches its parameter {', '.join(names)} past the attribute of that "
            "name, for example in a list, a dict or a closure, where it would keep the values of "
            "one seed and never be trained. Use self.NAME in forward, or nn.ParameterList and "
            "nn.ParameterDict"
        )


def _leaves_of(z: Tensor) -> Iterator[Tensor]:
    """Yield every leaf tensor that z's graph reaches and that requires a gradient."""
    seen, waiting = set(), [z.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf
        waiting += [next_ for next_, _ in node.next_functions]


def _label_hint(targets: Tensor) -> str:
    """Return advice for targets that look like class numbers, or lack their second axis."""
    if targets.dim() != 1:
        return ""
    if torch.equal(targets, targets.round()):
        return ". For class numbers give one-hot targets, np.eye(classes)[numbers]"
    return ". Give targets[:, None] for one output"
