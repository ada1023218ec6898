"""Optimizers of `torch.optim`, and classes that derive from its base, as methods.

Here: `adapter`; `groups`, values for parts of a network; `routes`, several for one network, and
`together`, which lets them step as one; `configured`, functions of named parameters; `signature`
and `annotations`, the arguments as hyperparameters; `parameters`, the network's as an optimizer
gets them; `probe`, which tries how one works; and `fit`, which tries whether it takes the
parameters of one network.
"""
