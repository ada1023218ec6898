"""Digests of where methods stand: the same wherever nothing has changed, others where it has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.harness.nightly.digests import digests
from tests.harness.seeded import FAULTS
from tests.harness.small import request

METHODS = {
    "sgd": "sgd[batch=20]",
    "cm": "cm[batch=20]",
    "nag": "nag[batch=20]",
    "hf": "hf[lam=1,chunks=2,cg_max=20]",
}
ASKED = request("sqlite:///unused.db", ",".join(METHODS.values()))


def taken(updates: int = 10, **given):
    return {each.method: each.theta for each in digests(replace(ASKED, **given), updates)}


def test_they_repeat_whatever_the_comparison_asks_for():
    torch.set_num_threads(2)
    first = taken()
    assert list(first) == list(METHODS) and len(set(first.values())) == len(METHODS)
    assert taken(precision="fp32", budget="gradients=500", seeds=1) == first


def test_another_number_of_updates_is_another_digest():
    assert not set(taken(9).values()) & set(taken(10).values())


def test_their_context_is_one_thread_in_float64():
    (found,) = digests(replace(ASKED, optimizers="sgd[batch=20]"), 1)
    assert (found.context["threads"], found.context["precision"]) == (1, "fp64")


@pytest.mark.parametrize("what", FAULTS)
def test_a_seeded_fault_changes_the_digest_of_what_it_is_in(what, monkeypatch):
    method, put_in = FAULTS[what]
    before = taken()
    put_in(monkeypatch)
    after = taken()
    changed = {name for name in METHODS if after[name] != before[name]}
    assert method in changed
    if what in ("NAG without look-ahead", "HF without warm start"):
        assert changed == {method}
