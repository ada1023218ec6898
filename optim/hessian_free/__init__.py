"""Hessian-free optimization: curvature, CG, preconditioner, damping, line search, composition."""

from optim.hessian_free.hessian_free import HessianFree

__all__ = ["HessianFree"]
