"""The training of planned fleets: in this process, in a pool, on ranks of torchrun, by a worker.

Here: `trainer` (a plan carried out), `run` (one leased fleet, trained and recorded), `pool`,
`torchrun` and `worker`, `observers`, `certificate`, `messages`, `progress`, `reconstructions`.
"""
