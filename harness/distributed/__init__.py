"""The processes that train one fleet together: ranks, collectives, a watchdog.

Here: `ranks` (the contract, and a process that is alone), `process_group` (several processes),
`consensus` (what they decide together), `watchdog` (which of them hangs).
"""
