"""The comparisons of which a problem's result consists: each trained some of the contestants.

All have the same problem, budget and seeds, so their methods are judged together, pair by pair.
They may come from several machines, of which each is named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

import bench
from bench.harness.comparison.combine import compare_recorded
from bench.harness.store.results import Store
from benchmarks import render
from benchmarks.contestants.entries import Contestant
from benchmarks.figures import installed
from benchmarks.machine import machine

PEERS = ("pytorch_optimizer", "schedulefree", "opt_einsum")

Part = Mapping[str, Any]
"""A comparison: its id, its entries by name, its command, and what it ran on."""


def part(comparison: str, chosen: Sequence[Contestant], command: str) -> Part:
    """Return what is kept of a comparison that ran here."""
    return {
        "comparison": comparison,
        "entries": {each.name: each.entry for each in chosen},
        "command": command,
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2),
        "peers": {name: installed(name) for name in PEERS},
    }


def parts_beside(problem: str, chosen: Sequence[Contestant], file: str, store: str) -> list[Part]:
    """Return the parts of a problem's result that have none of the chosen contestants.

    UsageError where a part has some of them and others, or where the store lacks a part.
    """
    names, kept = {each.name for each in chosen}, []
    for each in _parts(problem, file):
        there = set(each["entries"])
        if names.isdisjoint(there):
            kept.append(each)
        elif left := there - names:
            raise click.UsageError(
                f"Comparison {each['comparison']} has {', '.join(sorted(there & names))}, and also "
                f"{', '.join(sorted(left))}. Choose all contestants of a comparison, or none."
            )
    missing = [each["comparison"] for each in kept if each["comparison"] not in _recorded(store)]
    if missing:
        raise click.UsageError(
            f"The store lacks comparison {missing[0]}, which has other contestants. Import it: "
            f"bench db import benchmarks/results/contestants_store --store {store}."
        )
    return kept


def joined(comparisons: Sequence[str], store: str) -> bench.Result:
    """Judge all methods of several comparisons together, and record that as one more."""
    with Store.open(store, create=False) as opened:
        summary = compare_recorded(opened, comparisons, ())
    return bench.load(summary["comparison"], store)


def _parts(problem: str, file: str) -> list[Part]:
    path = render.RESULTS / f"{file}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return list(found.get(problem, {}).get("parts", ()))


def _recorded(store: str) -> set[str]:
    try:
        return set(bench.comparisons(store)["id"])
    except bench.Infrastructure:  # There is no store yet.
        return set()
