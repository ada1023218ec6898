"""Factories of optimizers that are made of more than parameters: of another optimizer or groups.

Their names are those of the classes, so that docs/optimizers.md can say how each was made.
"""

# ruff: noqa: N802

from __future__ import annotations

from typing import Any

import pytorch_optimizer as po
from torch import nn
from torch.optim import SGD, AdamW, Optimizer


def Lookahead(parameters: list[nn.Parameter], lr: float = 1e-3) -> Optimizer:
    return po.Lookahead(AdamW(parameters, lr=lr))


def OrthoGrad(parameters: list[nn.Parameter], lr: float = 1e-3) -> Optimizer:
    return po.OrthoGrad(AdamW(parameters, lr=lr))


def ScheduleFreeWrapper(parameters: list[nn.Parameter], lr: float = 1e-3) -> Optimizer:
    return po.ScheduleFreeWrapper(AdamW(parameters, lr=lr))


def TRAC(parameters: list[nn.Parameter], lr: float = 0.1) -> Optimizer:
    # With smaller steps it never leaves its start in float32.
    return po.TRAC(AdamW(parameters, lr=lr))


def SAM(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Optimizer:
    return po.SAM(parameters, base_optimizer=SGD, lr=lr, rho=rho)


def FriendlySAM(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Optimizer:
    return po.FriendlySAM(parameters, base_optimizer=SGD, lr=lr, rho=rho)


def LookSAM(parameters: list[nn.Parameter], lr: float = 0.05, rho: float = 0.05) -> Optimizer:
    return po.LookSAM(parameters, base_optimizer=SGD, lr=lr, rho=rho)


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
