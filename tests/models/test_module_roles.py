"""The roles and layers of the parameters of modules that people use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.module_roles import layers_of, roles_of


class RootMeanNorm(nn.Module):
    """A norm of somebody's own, with a matrix in it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))
        self.mix = nn.Parameter(torch.eye(4))


class Tied(nn.Module):
    """A head whose weight is that of an embedding, and which comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 9)
        self.words = nn.Embedding(9, 4)
        self.words.weight = self.head.weight
        self.norm = RootMeanNorm()
        self.slope = nn.PReLU()


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3), nn.GroupNorm(1, 2),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


CASES = {
    "a transformer's layer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        {
            "self_attn.in_proj_weight": "weight",
            "self_attn.in_proj_bias": "bias",
            "self_attn.out_proj.weight": "weight",
            "self_attn.out_proj.bias": "bias",
            "linear1.weight": "weight",
            "linear1.bias": "bias",
            "linear2.weight": "weight",
            "linear2.bias": "bias",
            "norm1.weight": "norm",
            "norm1.bias": "norm",
            "norm2.weight": "norm",
            "norm2.bias": "norm",
        },
    ),
    "a convolutional network": (
        conv_net,
        {
            "0.weight": "kernel",
            "0.bias": "bias",
            "1.weight": "norm",
            "1.bias": "norm",
            "2.weight": "kernel",
            "2.bias": "bias",
            "3.weight": "norm",
            "3.bias": "norm",
            "5.weight": "weight",
            "5.bias": "bias",
        },
    ),
    "an LSTM": (
        lambda: nn.LSTM(3, 4),
        {
            "weight_ih_l0": "weight",
            "weight_hh_l0": "weight",
            "bias_ih_l0": "bias",
            "bias_hh_l0": "bias",
        },
    ),
    "a tied head": (
        Tied,
        {
            "head.weight": "embedding",
            "head.bias": "bias",
            "norm.gain": "norm",
            "norm.mix": "weight",
            "slope.weight": "vector",
        },
    ),
    "a bag of words": (lambda: nn.EmbeddingBag(5, 3), {"weight": "embedding"}),
    "a layer with a norm of its weight": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 2)),
        {
            "bias": "bias",
            "parametrizations.weight.original0": "kernel",
            "parametrizations.weight.original1": "kernel",
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_has_its_role(case: str) -> None:
    make, expected = CASES[case]
    assert roles_of(make()) == expected  # type: ignore[no-untyped-call, operator]


def test_a_layer_is_the_module_that_uses_the_parameter() -> None:
    module = nn.Sequential(
        nn.TransformerEncoderLayer(4, 2, 8),
        nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)),
    )
    layers = layers_of(module)
    assert layers["0.self_attn.in_proj_weight"] == "0.self_attn"
    assert layers["0.self_attn.out_proj.weight"] == "0.self_attn.out_proj"
    assert layers["1.bias"] == layers["1.parametrizations.weight.original"] == "1"
