"""A suite that runs every night, held against what was accepted.

Here: `suite`, `night` (one night), `baseline`, `digests` and `timing` (what it measures),
`judgement`, `noise` (where thresholds come from), `history` and `series`, and its tables.
"""
