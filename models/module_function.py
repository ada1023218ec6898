"""A module as a function of its parameters and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.layout import Layout
from bench.models.module_checks import constants_of

_KERNELS = (
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, False),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp,
     False),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp, False),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, False),
)  # fmt: skip
"""How each kernel's switch is read and set, and how it stands while a module runs."""


class _PlainKernels:
    """Within it attention is computed by kernels that can be differentiated twice.

    So transformer layers in eval mode compute with and without gradients alike. It is what
    `torch.nn.attention.sdpa_kernel` does, which takes twenty times as long.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = [read() for read, _, _ in _KERNELS]
        for _, switch, value in _KERNELS:
            switch(value)

    def __exit__(self, *error: object) -> None:
        for (_, switch, _), value in zip(_KERNELS, self._before, strict=True):
            switch(value)


class ModuleFunction:
    """(parameters, inputs) ↦ module(inputs), the module's constants being what they are."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.kind = module, type(module).__name__
        self._constants = {name: each.clone() for name, each in constants_of(module).items()}
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        self._place: tuple[object, list[nn.Parameter]] | None = None

    def __call__(
        self,
        params: Mapping[str, Tensor],
        inputs: Tensor,
        constants: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Return the module's outputs; `constants` stand in the place of its own."""
        if constants is None:
            constants = self._constants_at(next(iter(params.values())))
        # The fused kernels of attention cannot be differentiated twice, nor in forward mode.
        with _PlainKernels():
            return functional_call(self.module, (dict(params), dict(constants)), (inputs,))

    def place(self, theta: Float[Tensor, "1 P"], layout: Layout) -> list[nn.Parameter]:
        """Let the module's own parameters have θ's memory; return them in the layout's order.

        Then `run` is the module's call and nothing else, while a call of this function puts tensors
        into the module and takes them out again.
        """
        key = theta.data_ptr(), theta.device, theta.dtype
        if self._place is None or self._place[0] != key:
            named = dict(self.module.named_parameters())
            for name, view in layout.views(theta[0]).items():
                named[name].data = view
            for name, value in self._constants_at(theta).items():
                if name in named:
                    named[name].data = value
                else:
                    owner, _, last = name.rpartition(".")
                    setattr(self.module.get_submodule(owner), last, value)
            self._place = key, [named[name] for name in layout.shapes]
        return self._place[1]

    def run(self, inputs: Tensor) -> Any:
        """Return the module's outputs with the parameters that it has."""
        with _PlainKernels():
            return self.module(inputs)

    def _constants_at(self, like: Tensor) -> dict[str, Tensor]:
        """Return the constants that all calls on this device and in this precision share."""
        place = like.device, like.dtype
        if place not in self._placed:
            self._placed[place] = self.constants(like)
        return self._placed[place]

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
