"""The results database, which every verdict is computed from.

Here: `results.Store` is all of it: `queries`, `changes`, `leases`, `nights` and `measurements`
are its parts, `tables` its schema, `engine` how it is opened, `recorder` how a run writes to it.
Beside it: `mlflow` (the copy), `transfer` (between stores), `sql` (questions), `garbage`.
"""
