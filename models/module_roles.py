"""What the parameters of a module are: weights, kernels, embeddings, norms, biases or vectors."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from bench.models.layout import Role

EMBEDDINGS = nn.Embedding, nn.EmbeddingBag
KERNELS = torch.nn.modules.conv._ConvNd
NORMS = torch.nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm

PARAMETRIZED = ".parametrizations."
"""What stands in a name between a layer and a parameter that torch computes from others."""


def roles_of(module: nn.Module) -> dict[str, Role]:
    """Return the role of every parameter, by the names of `named_parameters`.

    A parameter that stands in several places has the role of the first, unless one of them is an
    embedding: with a head that is tied to it, it is an embedding.
    """
    first = {id(each): name for name, each in module.named_parameters()}
    roles: dict[str, Role] = {}
    for place, each in module.named_parameters(remove_duplicate=False):
        role, name = _role(module, place, each), first[id(each)]
        if name not in roles or role == "embedding":
            roles[name] = role
    return roles


def layers_of(module: nn.Module) -> dict[str, str]:
    """Return the layer of every parameter: the path of the module that uses it."""
    return {name: _place(name)[0] for name, _ in module.named_parameters()}


def _role(module: nn.Module, place: str, parameter: nn.Parameter) -> Role:
    layer, name = _place(place)
    owner: Any = module.get_submodule(layer)
    if isinstance(owner, EMBEDDINGS):
        return "embedding"
    if isinstance(owner, NORMS) or ("Norm" in type(owner).__name__ and parameter.dim() < 2):
        return "norm"
    if parameter.dim() >= 2:
        return "kernel" if isinstance(owner, KERNELS) else "weight"
    return "bias" if re.search(r"(^|_)bias(_|$)", name) else "vector"


def _place(name: str) -> tuple[str, str]:
    """Return a parameter's layer, and its name there.

    >>> _place("head.parametrizations.weight.original0")
    ('head', 'weight')
    """
    layer, parametrized, rest = f".{name}".partition(PARAMETRIZED)
    if parametrized:
        return layer[1:], rest.partition(".")[0]
    layer, _, name = name.rpartition(".")
    return layer, name
