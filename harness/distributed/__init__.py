"""The processes that train one fleet together: ranks, collectives, a watchdog.

`ranks` (the contract, and a single process), `process_group` (several processes), `consensus`
(common decisions of the ranks), `watchdog` (finds the rank that hangs).
"""
