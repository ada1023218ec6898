"""A module as a function of its parameters and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.module_checks import constants_of


@contextmanager
def _no_fused_layers() -> Iterator[None]:
    """Within it, transformer layers in eval mode compute with and without gradients alike."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class ModuleFunction:
    """(parameters, inputs) ↦ module(inputs), the module's constants being what they are."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.kind = module, type(module).__name__
        self._constants = {name: each.clone() for name, each in constants_of(module).items()}
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    def __call__(
        self,
        params: Mapping[str, Tensor],
        inputs: Tensor,
        constants: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Return the module's outputs; `constants` stand in the place of its own."""
        if constants is None:
            like = next(iter(params.values()))
            place = like.device, like.dtype
            if place not in self._placed:
                self._placed[place] = self.constants(like)
            constants = self._placed[place]
        # The fused kernels of attention cannot be differentiated twice, nor in forward mode.
        with sdpa_kernel(SDPBackend.MATH), _no_fused_layers():
            return functional_call(self.module, (dict(params), dict(constants)), (inputs,))

    def constants(self, like: Tensor | None = None) -> dict[str, Tensor]:
        """Return a copy of the constants, on the device and in the precision of `like`."""
        if like is None:
            return {name: each.clone() for name, each in self._constants.items()}
        kinds = {True: like.dtype.to_complex(), False: like.dtype}
        return {
            name: each.to(
                like.device,
                kinds[each.is_complex()]
                if each.is_complex() or each.is_floating_point()
                else each.dtype,
                copy=True,
            )
            for name, each in self._constants.items()
        }

    def changed_constant(self, like: Tensor) -> str | None:
        """Return the name of a constant that calls at this place have changed."""
        used = self._placed.get((like.device, like.dtype))
        if used is None:
            return None
        clean = self.constants(like)
        return next((n for n in used if not torch.equal(used[n], clean[n])), None)
