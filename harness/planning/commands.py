"""The command lines that repeat a comparison, a run or a trial."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace

from bench.harness.planning.fleets import Candidate, Trial
from bench.harness.planning.preparation import PreparedRequest
from bench.harness.planning.program import names_in, names_of, no_command
from bench.harness.planning.request import Mode, Request
from bench.optim.text import ParsedEntry


def reproduce(
    request: Request,
    prepared: PreparedRequest,
    candidates: Sequence[Candidate],
    seed: int | None = None,
) -> str:
    """Return the command that makes this result again, every hyperparameter spelled out.

    With a `seed` it is that of a single run. Where no command can, a sentence says so.
    """
    if names := names_of(request):
        return no_command(names)
    texts = ",".join(
        candidate_text(candidate, written)
        for candidate, written in zip(candidates, prepared.written, strict=True)
    )
    if seed is not None:
        return _command(
            request,
            _budget(prepared),
            ["run", "--optimizer", texts, "--seed", str(seed)],
        )
    what = ["compare", "--optimizers", texts, "--seeds", str(prepared.seeds)]
    return _command(request, _budget(prepared), what)


def trial_command(prepared: PreparedRequest, trial: Trial) -> str:
    """Return the command that makes one trial again, alone, or say that there is none."""
    method, request = trial.candidate.method, prepared.request
    written = next(
        entry
        for entry, points in zip(prepared.written, prepared.points, strict=True)
        if any(point is method for point in points)
    )
    if names := names_in([written.text, request.problem]):
        return no_command(names)
    # The process that trained it does not change the result; the number of ranks in an update does.
    nproc = request.nproc_per_node if request.mode == "data" else None
    mode: Mode = "trials" if nproc is None else "data"
    alone = replace(request, nproc_per_node=nproc, mode=mode, plan=None)
    text, seed = candidate_text(trial.candidate, written), str(trial.spec.seed)
    return _command(
        alone,
        _budget(prepared),
        ["run", "--optimizer", text, "--seed", seed],
    )


def candidate_text(candidate: Candidate, written: ParsedEntry) -> str:
    """Return a candidate as an entry of --optimizers, with every hyperparameter in full."""
    # A user's class is found by its module or file, not by its name in tables.
    return replace(candidate.spec, name=written.name).text


def written(request: Request, prepared: PreparedRequest) -> str:
    """Return the command that asks for what a program has asked for, as it was written there."""
    return _written(request, prepared, _budget(prepared))


def written_over_budgets(request: Request, prepared: PreparedRequest, budgets: str) -> str:
    """Return the command that asks for the same at several budgets, as it was asked for.

    Its hyperparameters are not spelled out: tuning chooses them for each budget.
    """
    return _written(request, prepared, ["--budgets", budgets])


def _written(request: Request, prepared: PreparedRequest, budget: Sequence[str]) -> str:
    if names := names_of(request):
        return no_command(names)
    what = ["compare", "--optimizers", request.optimizers, "--seeds", str(prepared.seeds)]
    if request.tune != "none":
        what += ["--tune", request.tune]
    what += ["--tune-seeds", str(request.tune_seeds), *(["--extend"] if request.extend else [])]
    return _command(request, budget, what)


def _budget(prepared: PreparedRequest) -> list[str]:
    return ["--budget", prepared.protocol.budget.text]


def _command(request: Request, budget: Sequence[str], what: Sequence[str]) -> str:
    nproc = request.nproc_per_node
    in_variable = request.data_dir == os.environ.get("BENCH_DATA_DIR")
    words = [
        "bench",
        *what[:3],
        "--problem",
        request.problem,
        "--preset",
        request.preset,
        *what[3:],
        *budget,
        "--precision",
        request.precision,
        *([] if request.metric is None else ["--metric", request.metric]),
        *(["--timed"] if request.timed else []),
        *([] if request.device == "auto" else ["--device", request.device]),
        *([] if request.threads is None else ["--threads", str(request.threads)]),
        *([] if nproc is None else ["--nproc-per-node", str(nproc)]),
        *(["--mode", "data"] if request.mode == "data" else []),
        *([] if request.plan is None else ["--plan", request.plan]),
        *([] if request.data_dir is None or in_variable else ["--data-dir", request.data_dir]),
    ]
    return shlex.join(words)
