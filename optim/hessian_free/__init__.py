"""Hessian-free optimization: curvature, CG, preconditioner, damping, line search, composition."""

from bench.optim.hessian_free.hessian_free import HessianFree
from bench.optim.hessian_free.momentum_hessian_free import MomentumHessianFree

__all__ = ["HessianFree", "MomentumHessianFree"]
