"""The training of one fleet in this process, from its data to its checkpoints.

`fleet` (the training loop), `bound_objective` (the objective that a method sees), `ledger` (its
costs), `cases`, `batches`, `case_order` and `case_stream` (the data), `checkpoint`, `graph_replay`
and `cuda_graph` (updates on a GPU), `memory` (how many rows fit), `machine` and `interrupt`. This
room knows no results database.
"""
