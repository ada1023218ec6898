"""The paper's tables, figures and claims, made again.

Here: `tables` and `table_runs`, `claims` and `claim_runs` with their `rules`, `figure2` and
`figure5` with the quadratics that they follow.
"""
