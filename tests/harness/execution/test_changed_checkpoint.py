"""Checkpoints that were changed and signed anew: each is refused with its fault, never used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bench.harness.core.errors import Infrastructure
from bench.harness.store.results import Store
from bench.harness.training.checkpoint import Checkpoints
from tests.harness.execution.test_resumed_fleet import Runs, stopped
from tests.harness.execution.test_trainer import go, prepared

Change = Callable[[dict[str, Any]], object]
CHANGES: list[tuple[Change, str]] = [
    (lambda s: s.pop("fleet"), "fleet is missing"),
    (lambda s: s.update(more=1), "there is no 'more'"),
    (lambda s: s["fleet"].pop("theta"), "fleet.theta is missing"),
    (lambda s: s["fleet"].update(theta=3.0), "fleet.theta = 3.0"),
    (lambda s: s["fleet"].update(theta=s["fleet"]["theta"][:, :1]), "fleet.theta is torch.float32"),
    (
        lambda s: s["fleet"].update(theta=s["fleet"]["theta"].double()),
        "fleet.theta is torch.float6",
    ),
    (lambda s: s["fleet"].update(going=[]), "fleet.going = []: at least 1 are needed"),
    (lambda s: s["fleet"].update(going=[1]), "do not name 1 rows once each"),
    (lambda s: s["fleet"].update(seconds=float("nan")), "fleet.seconds = NaN"),
    (lambda s: s["fleet"]["account"].update(updates="1"), 'fleet.account.updates = "1"'),
    (lambda s: s["fleet"]["account"].update(gradients=-5.0), "fleet.account.gradients = -5.0"),
    (lambda s: s["fleet"].update(streams={"train": [0, 0]}), "its method cannot continue from it"),
    (lambda s: s["fleet"].update(method={}), "fleet.method.v is missing"),
    (lambda s: s["fleet"]["method"].update(v=torch.ones(1)), "fleet.method.v is torch.float32"),
    (lambda s: s["fleet"]["method"].update(t="now"), "fleet.method.t is no number"),
    (lambda s: s["measurements"][0][1].pop("ledger"), "measurements[1][2].ledger is missing"),
    (lambda s: s.update(measurements=[[7, s["measurements"][0][1]]]), "name row 7 of 1"),
]


@pytest.fixture
def runs(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setattr(
        "bench.harness.execution.leased_fleet.LeasedFleet._draw", lambda *given: None
    )
    with Store.open(store_url) as opened:
        yield Runs(opened)


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=[told[:40] for _, told in CHANGES])
def test_a_changed_state_is_named_and_not_used(runs: Runs, change: Change, told: str) -> None:
    run, planned = prepared(runs, "nag[batch=20]", seeds=1)
    stopped(run, planned)
    (lease,) = run.store.fleets(run.comparison_id)
    identity = {"trials": run.task(lease).digest}
    files = Checkpoints(run.checkpoints, f"{run.comparison_id}-0000", identity, print)
    state = files.read()
    assert state is not None
    change(state)
    files.write(state)
    runs.said.clear()
    (ended,) = go(run, planned)
    (said,) = [each for each in runs.said if "is not as bench writes it" in each]
    assert told in said
    assert said.endswith("; the earlier " + f"{run.comparison_id}-0000.000001.ckpt is used.")
    assert (ended.status, ended.attempt) == ("budget", 1)


def test_what_only_the_next_update_finds_is_told_and_the_fleet_begins_anew(runs: Runs) -> None:
    run, planned = prepared(runs, "torch.optim.Adam[lr=0.01,batch=20]", seeds=1)
    stopped(run, planned)
    (lease,) = run.store.fleets(run.comparison_id)
    identity = {"trials": run.task(lease).digest}
    files = Checkpoints(run.checkpoints, f"{run.comparison_id}-0000", identity, print)
    state = files.read()
    assert state is not None
    kept, *_ = state["fleet"]["method"]["optimizer"]["state"].values()
    del kept["exp_avg_sq"]
    files.clear()
    files.write(state)
    with pytest.raises(Infrastructure, match=r"its first update ended in KeyError: 'exp_avg_sq'"):
        go(run, planned)
    assert not run.checkpoints.exists()
    (ended,) = go(run, planned)
    assert (ended.status, ended.attempt) == ("budget", 1)
