"""Words, keys, seeds, errors and paths that all rooms share, and published figures as data.

Here: `errors`, `spec` (protocols, budgets, keys), `records` (what the store returns), `seeds`,
`text`, `secrets`, `paths`, `defaults`, `published`.
"""
