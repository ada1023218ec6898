"""From a request to a verdict: compare, resume, combine.

Here: `compare`, `resume`, `combine` (of recorded comparisons), `session` (one use of the store),
`comparability` (what may be compared), `reports`.
"""
