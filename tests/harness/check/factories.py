"""Factories of optimizers that are made of more than parameters: of a module, a number or groups.

Their names are those of the classes, so that docs/optimizers.md can say how each was made.
"""

# ruff: noqa: N802

from __future__ import annotations

from typing import Any

import pytorch_optimizer as po
from torch import nn
from torch.optim import SGD, Optimizer


def WSAM(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Optimizer:
    # The model is for layers with running statistics, and there are none.
    return po.WSAM(nn.Module(), parameters, base_optimizer=SGD, lr=lr, rho=rho)


def BSAM(parameters: list[nn.Parameter], lr: float = 0.5, rho: float = 0.05) -> Optimizer:
    return po.BSAM(parameters, num_data=10_000, lr=lr, rho=rho)


def Ranger21(parameters: list[nn.Parameter], lr: float = 1e-3) -> Optimizer:
    return po.Ranger21(parameters, num_iterations=1_000, lr=lr)


def groups(parameters: list[nn.Parameter], lr: float) -> Any:
    matrices = [each for each in parameters if each.dim() >= 2]
    others = [each for each in parameters if each.dim() < 2]
    return [{"params": of, "use_muon": of is matrices, "lr": lr} for of in (matrices, others) if of]


def Muon(parameters: list[nn.Parameter], lr: float = 0.02) -> Optimizer:
    return po.Muon(groups(parameters, lr))


def AdaMuon(parameters: list[nn.Parameter], lr: float = 0.02) -> Optimizer:
    return po.AdaMuon(groups(parameters, lr))


def AdaGO(parameters: list[nn.Parameter], lr: float = 0.02) -> Optimizer:
    return po.AdaGO(groups(parameters, lr))


def NorMuon(parameters: list[nn.Parameter], lr: float = 0.02) -> Optimizer:
    return po.NorMuon(groups(parameters, lr))


def MuonClip(parameters: list[nn.Parameter], lr: float = 0.02) -> Optimizer:
    return po.MuonClip(groups(parameters, lr))
