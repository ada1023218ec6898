"""A request made concrete: methods, trials, fleets; what cannot be run is refused here.

Here: `request` (what a person asks for), `preparation` (the problem, data and methods that it
means), `validation` (what is refused), `plan` (how it is written down), `fleets` and `placement`
(which trials train together, and where), `tuning`, `selection` and `grid_extension`, `problems`.
"""
