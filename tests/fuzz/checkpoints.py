"""Checkpoints with one change, signed anew; the fleet that they belong to goes on from them."""

from __future__ import annotations

import io
import json
import random
import shutil
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.harness.core.errors import Infrastructure
from bench.harness.core.spec import Budget
from bench.harness.execution.leased_fleet import LeasedFleet
from bench.harness.execution.progress import Bars
from bench.harness.execution.trainer import LocalTrainer, execute
from bench.harness.store.results import Store
from bench.harness.training import checkpoint
from bench.harness.training.checkpoint import HEADER_FIELDS, HEADER_SIZE, MAGIC, VERSION
from bench.harness.training.interrupt import InterruptedRun
from tests.fuzz.answers import WRONG, Answer, run
from tests.fuzz.changes import changed
from tests.harness.execution.test_run import Runs
from tests.harness.execution.test_trainer import prepared

torch.set_printoptions(threshold=4, edgeitems=1)
METHODS = ("nag[batch=20]", "hf[cg_max=5]", "torch.optim.Adam[lr=0.01]")
BUDGET = Budget("updates", 8)


@cache
def interrupted(method: str) -> tuple[Path, str]:
    """Return the folder of a store with a fleet that was stopped on its way, and its comparison."""
    LeasedFleet._draw = lambda *given: None  # type: ignore[method-assign]
    folder = Path(f"stopped-{METHODS.index(method)}").absolute()
    with Store.open(f"sqlite:///{folder}/bench.db") as store:
        begun, planned = prepared(Runs(store), method, seeds=2, budget=BUDGET)

        def stop(progress: Any) -> None:
            begun.interrupted.name = "SIGTERM"

        bars = Bars()
        bars.fleet = lambda *fleet: nullcontext(stop)  # type: ignore[method-assign]
        try:
            execute(begun, planned, bars, LocalTrainer())
        except InterruptedRun:
            pass
        assert list(begun.checkpoints.iterdir())
        return folder, begun.comparison_id


def changed_checkpoint(dice: random.Random) -> tuple[str, Answer]:
    """Go on with a fleet whose newest checkpoint was changed."""
    method = dice.choice(METHODS)
    whole, id = interrupted(method)
    folder = Path("going").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    with Store.open(f"sqlite:///{folder}/bench.db") as store:
        runs = Runs(store)
        going, planned = prepared(runs, method, seeds=2, budget=BUDGET, comparison_id=id)
        *_, newest = sorted(going.checkpoints.glob("*.ckpt"))
        told = f"{method} {_change(dice, newest)}"
        try:
            try:
                ids = execute(going, planned, Bars(), LocalTrainer())
            except Infrastructure:
                # A sentence; then the fleet begins anew.
                ids = execute(going, planned, Bars(), LocalTrainer())
            assert len(ids) == 2
            assert all(store.trial(i).status in ("budget", "diverged") for i in ids), "not ended"
        except Exception as error:
            # Such a file is named and left out; it stops nothing.
            return told, (WRONG, repr(error))
    code, said = run(["list", "trials", "--store", f"sqlite:///{folder}/bench.db"])
    return told, (WRONG if code else 0, said)


def _change(dice: random.Random, path: Path) -> str:
    """Change the file, sign it anew, and return what is in it now."""
    content = path.read_bytes()
    _, _, length, _ = HEADER_FIELDS.unpack(content[: HEADER_FIELDS.size])
    identity, saved = content[HEADER_SIZE:][:length], content[HEADER_SIZE + length :]
    kind = dice.random()
    if kind < 0.1:
        identity = json.dumps(changed(dice, json.loads(identity))).encode()
        told = repr(identity)
    elif kind < 0.2:
        i = dice.randrange(len(saved))
        saved = dice.choice((saved[:i], saved[:i] + bytes([dice.randrange(256)]) + saved[i + 1 :]))
        told = f"byte {i} of {len(saved)}"
    else:
        state = changed(dice, torch.load(io.BytesIO(saved), weights_only=True))
        out = io.BytesIO()
        torch.save(state, out)
        saved, told = out.getvalue(), repr(state)[:3000]
    fields = HEADER_FIELDS.pack(MAGIC, VERSION, len(identity), len(saved))
    path.write_bytes(fields + checkpoint._digest(fields, identity, saved) + identity + saved)
    return told
