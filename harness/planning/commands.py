"""The commands that make a comparison, a run or a trial again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from bench.harness.planning.fleets import Candidate, Trial
from bench.harness.planning.preparation import Prepared
from bench.harness.planning.request import Mode, Request
from bench.optim.text import Written


def reproduce(
    request: Request, prepared: Prepared, candidates: Sequence[Candidate], seed: int | None = None
) -> str:
    """Return the command that makes this result again, every hyperparameter spelled out.

    With a `seed` it is that of a single run.
    """
    texts = ",".join(
        text_of(candidate, written)
        for candidate, written in zip(candidates, prepared.written, strict=True)
    )
    if seed is not None:
        return _command(request, prepared, ["run", "--optimizer", texts, "--seed", str(seed)])
    what = ["compare", "--optimizers", texts, "--seeds", str(prepared.seeds)]
    return _command(request, prepared, what)


def reproduce_trial(prepared: Prepared, trial: Trial) -> str:
    """Return the command that makes one trial again, alone."""
    method, request = trial.candidate.method, prepared.request
    written = next(
        entry
        for entry, points in zip(prepared.written, prepared.points, strict=True)
        if any(point is method for point in points)
    )
    # Who trained it does not matter, but how many ranks took part in each of its updates does.
    nproc = request.nproc_per_node if request.mode == "data" else None
    mode: Mode = "trials" if nproc is None else "data"
    alone = replace(request, nproc_per_node=nproc, mode=mode, plan=None)
    text, seed = text_of(trial.candidate, written), str(trial.spec.seed)
    return _command(alone, prepared, ["run", "--optimizer", text, "--seed", seed])


def text_of(candidate: Candidate, written: Written) -> str:
    """Return the text that makes a candidate again, every hyperparameter spelled out."""
    # A class of one's own is found by where it is, not by what it is called in tables.
    return replace(candidate.spec, name=written.name).text


def _command(request: Request, prepared: Prepared, what: Sequence[str]) -> str:
    budget, nproc = prepared.protocol.budget, request.nproc_per_node
    in_variable = request.data_dir == os.environ.get("BENCH_DATA_DIR")
    words = [
        "bench",
        *what[:3],
        "--problem",
        request.problem,
        "--preset",
        request.preset,
        *what[3:],
        "--budget",
        budget.text,
        "--precision",
        request.precision,
        *(["--timed"] if request.timed else []),
        *([] if request.device == "auto" else ["--device", request.device]),
        *([] if request.threads is None else ["--threads", str(request.threads)]),
        *([] if nproc is None else ["--nproc-per-node", str(nproc)]),
        *(["--mode", "data"] if request.mode == "data" else []),
        *([] if request.plan is None else ["--plan", request.plan]),
        *([] if request.data_dir is None or in_variable else ["--data-dir", request.data_dir]),
    ]
    return shlex.join(words)
