"""Optimizers of `torch.optim`, and classes that derive from its base, as methods.

Here: `adapter`, and `probe`, which tries whether one suits a flat θ.
"""
