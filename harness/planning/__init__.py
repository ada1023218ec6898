"""Planning turns a request into methods, trials and fleets, and refuses what cannot run.

`request` holds the user's request. `preparation` finds its problem, data and methods, and
`validation` checks them. `plan` is the stored form of a comparison. `fleets` and `placement`
choose which trials train together, and in how many processes. `tuning`, `selection` and
`grid_extension` choose hyperparameters. `problems` finds problems by name.
"""
