"""Words, keys, seeds, errors and paths that all rooms share, and published figures as data.

`errors`, `notices` (sentences for a person), `spec` (protocols, budgets, keys), `records` (what the
store returns), `context` (what may change a measured time), `seeds`, `text`, `secrets`, `paths`,
`store_url`, `sources`, `schema` (the check of files from outside), `defaults` (tuned
hyperparameters), `published` (the papers' figures).
"""
