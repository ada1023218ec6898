"""The sections of RESULTS.md on the long runs, beside what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from statistics import median
from typing import Any

from bench.harness.core.published import MARTENS_LOG, TABLE_1
from bench.harness.core.spec import MethodSpec

ERRORS = (15.0, 12.0, 4.0, 1.1)
"""Training errors at which CG steps are held against Martens' log."""
FACTOR = 2.0
PLATEAU = (16.0, 17.0)
"""About the error of a network that draws the mean image whatever it is shown."""


def martens(content: Mapping[str, Any]) -> str:
    """Return CG steps at given errors beside those of Martens' log."""
    curve = content["curve"]
    return "\n".join(
        [
            "## Hessian-free on curves/paper beside Martens' log",
            "",
            *_run(content, "martens_log"),
            "",
            "| training squared error | Martens: CG steps (his error there) | bench: CG steps "
            "(its error there) | ratio | within a factor 2 |",
            "|---|---|---|---|---|",
            *(_crossing(curve, error) for error in ERRORS),
            "",
            "* Ours: the first measurement at or below the error, without interpolation. His: "
            "the line of his log whose error is nearest.",
            f"* The plateau: {_plateau(curve)}",
            "* Different images: his Curves file is not available; ours are generated.",
            "",
        ]
    )


def nag(content: Mapping[str, Any]) -> str:
    """Return the error that nag reaches, with its settings."""
    last, h = content["curve"][-1], content["hyperparameters"]
    column = f"{h['mu_max']:g}N"
    published = TABLE_1[content["problem"]].get(column)
    beside = f"; published after 750,000 updates: {published:g}" if published is not None else ""
    return "\n".join(
        [
            "## nag on curves/paper",
            "",
            *_run(content, "nag_curves_paper"),
            "",
            f"Training squared error **{last['train_metric']:.4g}** (test "
            f"{last['test_metric']:.4g}) after {last['ledger']['updates']:,} updates, "
            f"{last['ledger']['seconds'] / 60:.0f} minutes of training{beside}.",
            "",
        ]
    )


def _run(content: Mapping[str, Any], name: str) -> list[str]:
    """Say where, with what and how the run was made, and whether it has ended."""
    machine, budget = content["machine"], content["budget"]
    method = MethodSpec(content["method"], content["backend"], content["hyperparameters"]).text
    below = f" --below {content['stop_below']:g}" if content["stop_below"] else ""
    status = {
        "running": "not finished yet",
        "below": f"stopped below {content['stop_below']:g}",
        "budget": "ran to the end of its budget",
    }.get(content["status"], content["status"])
    return [
        f"{machine['processor']}, threads: {machine['threads']}, Python {machine['python']}, torch "
        f"{machine['torch']}; commit {machine['commit']}, {machine['date']}. {content['data']}, "
        f"seed {content['seed']}, float32; {status}.",
        f"Again: `python -m benchmarks.paper.long_run --problem {content['problem']} --preset "
        f"{content['preset']} --method '{method}' --{budget['currency']} {budget['amount']:g} "
        f"--seed {content['seed']} --threads {machine['threads']}{below} "
        f"--json benchmarks/results/{name}.json`",
    ]


def _crossing(curve: Sequence[Mapping[str, Any]], error: float) -> str:
    line = min(MARTENS_LOG, key=lambda each: abs(log(each.train_squared_error / error)))
    his = f"| {error:g} | {line.cg_steps:,} ({line.train_squared_error:g}) "
    found = next((each for each in curve if each["train_metric"] <= error), None)
    if found is None:
        return f"{his}| not reached | | |"
    steps = found["ledger"]["cg_steps"]
    ratio = steps / line.cg_steps
    within = "yes" if 1 / FACTOR <= ratio <= FACTOR else "no"
    return f"{his}| {steps:,} ({found['train_metric']:.4g}) | {ratio:.2f} | {within} |"


def _plateau(curve: Sequence[Mapping[str, Any]]) -> str:
    low, high = PLATEAU
    on = [each for each in curve if low <= each["train_metric"] <= high]
    his = [line for line in MARTENS_LOG if low <= line.train_squared_error <= high]
    theirs = " and ".join(f"{line.train_squared_error:.4g} at {line.cg_steps:,}" for line in his)
    if not on:
        return f"no measurement between {low:g} and {high:g}; Martens: {theirs} CG steps."
    first, last = on[0]["ledger"]["cg_steps"], on[-1]["ledger"]["cg_steps"]
    return (
        f"between {low:g} and {high:g} from {first:,} to {last:,} CG steps, median error "
        f"{median(each['train_metric'] for each in on):.4g}; Martens: {theirs} CG steps."
    )
