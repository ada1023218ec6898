"""Who trains: this process, a pool of processes, ranks under torchrun, or a worker.

Here: `trainer` (a plan carried out), `run` (one leased fleet, trained and recorded), `pool`,
`torchrun` and `worker`, `observers`, `certificate`, `messages`, `progress`, `reconstructions`.
"""
