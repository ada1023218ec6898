"""One fleet in this process, from its data to its checkpoints; nothing here knows a store.

Here: `fleet` (the training loop), `bound_objective` and `ledger` (what methods see and what it
costs), `batches`, `case_order` and `case_stream` (the cases), `checkpoint`, `graph_replay` and
`cuda_graph` (updates on a GPU), `memory` (what fits), `machine` and `interrupt`.
"""
