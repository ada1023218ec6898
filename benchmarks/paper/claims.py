r"""The decisions on the paper's claims that a store holds, for RESULTS.md.

bench reproduce claims
python -m benchmarks.paper.claims --json benchmarks/results/claims.json
python -m benchmarks.render
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.harness.core.records import ClaimRecord
from bench.harness.paper.claims import other_column
from bench.harness.paper.claims_table import in_unit, interval, threshold

if TYPE_CHECKING:
    from bench.harness.store.results import Store


@click.command()
@click.option("--store", help="As for bench; default: mlruns/bench.db.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(store: str | None, path: Path) -> None:
    """Write the newest decision on every claim at each preset."""
    # Imported here, since the page is also rendered where there is no SQLAlchemy.
    from bench.harness.cli.options import store_url
    from bench.harness.store.results import Store

    with Store.open(store_url(store), create=False) as opened:
        newest: dict[tuple[str, int], ClaimRecord] = {}
        for record in opened.claims():
            newest.setdefault((record.preset, record.claim), record)
        decided = [newest[key] for key in sorted(newest)]
        claims = [{**record.body, "made": made(opened, record)} for record in decided]
    path.write_text(json.dumps({"claims": claims}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def made(store: Store, record: ClaimRecord) -> dict[str, Any]:
    """Return when a claim was decided, and on what and from which commits its trials were run."""
    trials = [
        trial
        for each in record.body["comparisons"].values()
        for trial in store.trials(each["comparison"])
    ]
    contexts = [store.context_of(digest) for digest in {t.context_digest for t in trials}]
    commits = {store.info_of(trial.id).get("commit") for trial in trials}
    return {
        "date": record.created.date().isoformat(),
        "devices": sorted({context["device"]["name"] for context in contexts}),
        "python": sorted({context["versions"]["python"] for context in contexts}),
        "torch": sorted({context["versions"]["torch"] for context in contexts}),
        "commits": sorted(commit[:7] for commit in commits if commit),
        "sources": sorted({trial.source_digest[:12] for trial in trials}),
    }


def section(content: Mapping[str, Any]) -> str:
    """Return the decisions as a section of RESULTS.md."""
    lines = [
        "## The paper's claims",
        "",
        "In float32. docs/claims.md says how to read it.",
        "Again: `bench reproduce claims`, then "
        "`python -m benchmarks.paper.claims --json benchmarks/results/claims.json`",
        "",
    ]
    for claim in content["claims"]:
        data = dict.fromkeys(each["data"] for each in claim["comparisons"].values())
        lines += [
            f"### {claim['claim']}. {claim['title']}: **{claim['decision']}**",
            "",
            f"{claim['preset']}; rule version {claim['version']}, SHA-256 "
            f"`{claim['rule_digest'][:12]}…`; data: {', '.join(data)}. {_where(claim['made'])}",
            "",
            "| statement | demanded | n | estimate | 95 % interval | paper | decision |",
            "|---|---|---|---|---|---|---|",
            *(_row(each) for each in claim["statements"]),
            "",
            *(f"* {line}" for line in _notes(claim)),
            "",
        ]
    return "\n".join(lines)


def _where(made: Mapping[str, Any]) -> str:
    devices, python, torch, commits, sources = (
        ", ".join(made[name]) for name in ("devices", "python", "torch", "commits", "sources")
    )
    commit = f"commit {commits}, " if commits else ""
    return (
        f"{devices}, Python {python}, torch {torch}; {commit}source {sources} of methods and "
        f"problems; {made['date']}."
    )


def _row(each: Mapping[str, Any]) -> str:
    cells = [
        each["says"],
        threshold(each),
        each["n"],
        in_unit(each, each["estimate"]),
        interval(each),
        in_unit(each, each["published"]),
        each["decision"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _notes(claim: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{each['says']}: {each['reason']}"
        for each in claim["statements"]
        if each["reason"] and each["estimate"] is None
    ]
    if claim["at_the_edge"]:
        lines.append(f"Chosen at the edge of what was tried: {', '.join(claim['at_the_edge'])}.")
    if beside := other_column(claim["claim"]):
        lines.append(beside)
    # What is known of a decision that was not made again with today's code.
    lines += claim.get("since", [])
    for name, comparison in claim["comparisons"].items():
        for arm, row in comparison["arms"].items():
            values = ", ".join("diverged" if v is None else f"{v:.3g}" for v in row["train"])
            tests = ", ".join("diverged" if v is None else f"{v:.3g}" for v in row["test"])
            lines.append(f"{name}, {arm}: training {values}; test {tests}.")
    return lines


if __name__ == "__main__":
    main()
