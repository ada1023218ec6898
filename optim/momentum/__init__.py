"""SGD, classical momentum and Nesterov's accelerated gradient, with their schedules.

Here: `methods`; `update_cpu` and `update_cuda` are their update as one kernel, `reference` is
the paper's, letter by letter.
"""

from bench.optim.momentum.methods import CM, NAG, SGD

__all__ = ["CM", "NAG", "SGD"]
