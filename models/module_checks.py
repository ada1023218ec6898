"""Whether a module can be trained as a function of θ: what it is made of, and what differs by seed.

`torch.func.functional_call` puts views of θ in the place of a module's parameters. What a module
keeps elsewhere (in a list, a closure, a second view of the same memory) it does not reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from bench.models.errors import ProblemError


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a new module made under a seed."""
    return _made(make, seed)[0]


def _made(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, Tensor]:
    """Return a new module made under a seed, and the state of torch's stream after it."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds every CUDA device too.
        torch.default_generator.manual_seed(seed)
        made = make()
        state = torch.get_rng_state()
    if not isinstance(made, nn.Module):
        raise ProblemError(f"module() gave a {type(made).__name__}, not an nn.Module")
    return made, state


def constants_of(module: nn.Module) -> dict[str, Tensor]:
    """Return what is not trained: frozen parameters and buffers."""
    frozen = {n: p.detach() for n, p in module.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(module.named_buffers())}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is trained; a parameter shared by two parts is there once."""
    return {n: tuple(p.shape) for n, p in module.named_parameters() if p.requires_grad}


def _check_parts(module: nn.Module) -> None:
    """Raise ProblemError for parameters that cannot be views of a flat θ of real numbers."""
    kind = type(module).__name__
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ProblemError(f"{kind}: the shape of {name} is not known; use layers that say it")
        if parameter.is_complex() and parameter.requires_grad:
            raise ProblemError(
                f"{kind}: its parameter {name} is complex, and θ holds real numbers; train real "
                "and imaginary part as two parameters, and use torch.complex in forward"
            )
        hooks = parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None)
        if hooks:
            raise ProblemError(
                f"{kind}: its parameter {name} has a hook on its gradient, which would not be "
                "called; leave it out, or make it part of the optimizer"
            )
    for name, part in module.named_modules():
        if part._backward_hooks or part._backward_pre_hooks:
            raise ProblemError(
                f"{kind}: {name or 'it'} has a backward hook, with which a gradient need not be "
                "that of the loss; leave it out"
            )
    if not shapes_of(module):
        raise ProblemError(f"{kind} has no parameters to train")
    _check_memory(module)


def _check_memory(module: nn.Module) -> None:
    """Raise ProblemError for parameters that share memory, but are not the same parameter."""
    whole = [*module.named_parameters(), *module.named_buffers()]
    spans = sorted((*_span(each), name, each.requires_grad) for name, each in whole if each.numel())
    for (_, _, end, a, a_trains), (_, start, _, b, b_trains) in _neighbours(spans):
        if start < end and (a_trains or b_trains):
            raise ProblemError(
                f"{type(module).__name__}: {a} and {b} share memory, but are not the same "
                "parameter, so they would be trained apart. Use one nn.Parameter in both places, "
                "such as self.b.weight = self.a.weight, or clone() one of them"
            )


Span = tuple[int, int, int, str, bool]


def _span(tensor: Tensor) -> tuple[int, int, int]:
    """Return a tensor's storage, and the bytes from the first to the last value in it."""
    size = tensor.element_size()
    strides = map(int, tensor.stride())
    reach = sum((n - 1) * abs(s) for n, s in zip(tensor.shape, strides, strict=True))
    start = int(tensor.storage_offset()) * size
    return tensor.untyped_storage().data_ptr(), start, start + (reach + 1) * size


def _neighbours(spans: list[Span]) -> Iterator[tuple[Span, Span]]:
    """Yield spans of one storage, in order, each with the one that reached furthest before it."""
    furthest: Span | None = None
    for span in spans:
        if furthest is not None and furthest[0] == span[0]:
            yield furthest, span
        if furthest is None or furthest[0] != span[0] or span[2] > furthest[2]:
            furthest = span


def made_by(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module made under seed 0; raise ProblemError if it cannot be trained.

    What is trained must depend on the seed, and on nothing else. Constants must be the same under
    every seed: there is one copy of them for all trials.
    """
    (module, after), (again, _), (other, after_other) = (_made(make, seed) for seed in (0, 0, 1))
    if again is not module:
        _check_parts(module)
    kind, mine = type(module).__name__, {id(each) for each in _tensors(module).values()}
    for each in (again, other):
        if each is module:
            raise ProblemError(
                "module() returned the same instance twice, but each seed needs a new one"
            )
        shared = [name for name, tensor in _tensors(each).items() if id(tensor) in mine]
        if shared:
            raise ProblemError(
                f"module() returned the same {shared[0]} twice, but each seed needs its own; make "
                "all layers inside the function"
            )
        if shapes_of(each) != shapes_of(module):
            raise ProblemError(
                f"{kind} has other parameters each time it is made; they must have the same names "
                "and shapes under every seed"
            )
    if name := _first_difference(_tensors(module), _tensors(again)):
        raise ProblemError(
            f"{kind}: its {name} is different each time under the same seed; draw it from torch's "
            "global stream, such as torch.randn(…), which bench seeds"
        )
    if name := _first_difference(constants_of(module), constants_of(other)):
        raise ProblemError(
            f"{kind}: its constant {name} is drawn at random, but constants are the same under "
            "every seed, so all trials would share one draw. Draw it from a generator of its own, "
            "torch.Generator().manual_seed(0), if that is meant; or train it"
        )
    if torch.equal(after, after_other):
        raise ProblemError(
            f"making {kind} sets torch's seed (torch.manual_seed), so it would start the same "
            "under every seed; leave that out"
        )
    return module


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _first_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """Return the name of the first tensor that is not the same in both."""
    if one.keys() != other.keys():
        return next(iter(one.keys() ^ other.keys()))
    return next((name for name in one if not equal(one[name], other[name])), None)


def largest(values: Tensor) -> float:
    """Return the largest magnitude; NaN counts as 0, so that a tolerance made of it is a number."""
    return float(values.detach().abs().nan_to_num().max()) if values.numel() else 0.0


def equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same type, shape and values, NaN being one value."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool(((a == b) | (a != a) & (b != b)).all())
