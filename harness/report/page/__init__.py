"""The report as one HTML file.

Here: `page`, its `parts`, `tuning` and `proof`, and the `figures` in it.
"""
