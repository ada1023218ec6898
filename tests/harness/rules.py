"""A rule whose experiment takes moments."""

from __future__ import annotations

from tests.harness.small import PROBLEM

RULE = f"""
claim = 1
version = 1
title = "More updates do more"
source = "arithmetic"

[[statements]]
says = "sgd's error at a thousandth of the rate over that at the full one"
value = "train_metric"
scale = "log"
weights = {{ "one.slow" = 1, "two.fast" = -1 }}
above = 1.1

[quick.runs.one]
problem = "{PROBLEM}"
budget = "updates=60"
seeds = 6
tune_seeds = 1
arms.slow = "sgd[lr=0.0001,batch=20]"

[quick.runs.two]
problem = "{PROBLEM}"
budget = "updates=60"
seeds = 6
tune_seeds = 1
arms.fast = "sgd[lr=0.1|0.001|0.0001,batch=20]"
"""
