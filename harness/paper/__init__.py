"""The paper's tables, figures and claims, reproduced.

`tables` and `table_runs` are the tables, `claims` and `claim_runs` with their `rules` the claims,
and `figure2` and `figure5` the figures, with their quadratics.
"""
