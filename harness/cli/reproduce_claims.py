"""`bench reproduce claims`: decide the paper's claims by pre-registered experiments."""

from __future__ import annotations

from pathlib import Path

import click

from bench.harness.cli.options import (
    data_dir_option,
    device_option,
    fresh_option,
    json_option,
    no_mlflow_option,
    store_option,
    store_url,
    threads_option,
    tracking_option,
)
from bench.harness.cli.output import publish
from bench.harness.core.errors import BenchError, Infrastructure, Usage

SCHEMA_VERSION = 1


@click.command(
    "claims",
    short_help="The paper's six claims, each by a pre-registered experiment.",
    epilog="Example: bench reproduce claims --claims 3,5 --json claims.json",
)
@click.option(
    "--claims",
    "which",
    default="1-6",
    show_default=True,
    metavar="LIST",
    help="Numbers of the claims, such as 1,3 or 2-4.",
)
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    metavar="quick|paper",
    help="quick takes some hours on one core for all claims; paper is the published protocol, for "
    "a GPU.",
)
@device_option
@threads_option
@fresh_option
@click.option("--dry-run", is_flag=True, help="Print the rules and run nothing.")
@json_option
@data_dir_option
@store_option
@no_mlflow_option
@tracking_option
def command(
    which: str,
    preset: str,
    device: str,
    threads: int | None,
    fresh: bool,
    dry_run: bool,
    json_path: str | None,
    data_dir: str | None,
    store: str | None,
    no_mlflow: bool,
    tracking_uri: str | None,
) -> None:
    """Decide each claim by a rule that was fixed before its experiment ran.

    The exit code is 0 if every claim holds, and 1 if a claim does not hold or cannot be decided.
    Recorded trials are reused, so you can repeat an interrupted command to continue it.
    """
    from bench.harness.cli.console import UNFOLDED, console
    from bench.harness.paper.claims import PRESETS, rules
    from bench.harness.paper.claims_table import one_line, render_claims
    from bench.harness.report.files import to_json
    from bench.optim.hyperparameters import nearest

    if preset not in PRESETS:
        raise Usage(
            f"--preset {preset}: the claims have no experiments at this preset"
            f"{nearest(preset, PRESETS)} Allowed: {', '.join(PRESETS)}."
        )
    chosen = rules(preset, _numbers(which))
    if json_path not in (None, "-") and not Path(str(json_path)).absolute().parent.is_dir():
        raise Infrastructure(f"--json {json_path} cannot be written: its folder does not exist.")
    if dry_run:
        from bench.harness.paper.claims_table import render_rules

        console(UNFOLDED).print(render_rules(chosen))
        return
    from bench.harness.paper.claim_runs import decide_claims
    from bench.harness.planning.request import Request

    request = Request(
        optimizers="",
        problem="",
        preset=preset,
        seeds=None,
        tune="none",
        budget=None,
        precision="fp32",
        timed=False,
        fresh=fresh,
        dry_run=False,
        device=device,
        threads=threads,
        data_dir=data_dir,
        store=store_url(store),
        no_mlflow=no_mlflow,
        tracking_uri=tracking_uri,
    )
    results = [{"id": tested.id} | tested.as_dict() for tested in decide_claims(chosen, request)]
    text = to_json({"schema_version": SCHEMA_VERSION, "claims": results})
    recorded = " The decisions are recorded; see them with: bench list claims."
    publish(text, json_path, render_claims(results), recorded)
    if open_ := [one_line(result) for result in results if result["decision"] != "holds"]:
        raise BenchError(f"Not every claim holds: {'; '.join(open_)}.")


def _numbers(which: str) -> list[int]:
    """Read `1,3` or `2-4`; Usage says what is allowed."""
    from bench.harness.paper.claims import NUMBERS

    chosen: set[int] = set()
    for part in which.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isdecimal() and int(end) in NUMBERS for end in ends):
            raise Usage(
                f"--claims {which}: give numbers from {NUMBERS[0]} to {NUMBERS[-1]}, such as 1,3 "
                "or 2-4."
            )
        chosen |= set(range(int(ends[0]), int(ends[1]) + 1))
    if not chosen:
        raise Usage(f"--claims {which}: the first number of a range must be the smaller one.")
    return sorted(chosen)
