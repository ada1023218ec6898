"""The copy of the results database in MLflow.

Here: `mirror` (the only way there), `live` (while trials train), `entries` and `runs` (what is
written, and how), `view` and `colors` (what a person sees), `server` (`bench ui`).
"""
