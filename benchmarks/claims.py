r"""The decisions on the paper's claims that a store holds, for RESULTS.md.

bench reproduce claims
python -m benchmarks.claims --json benchmarks/results/claims.json
python -m benchmarks.render
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import machine
from harness.cli.options import store_url
from harness.report.claims import in_unit, interval, threshold
from harness.store.results import Store


@click.command()
@click.option("--store", help="As for bench; default: mlruns/bench.db.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(store: str | None, path: Path) -> None:
    """Write the newest decision on every claim at each preset."""
    newest: dict[tuple[str, int], Mapping[str, Any]] = {}
    with Store.open(store_url(store), create=False) as opened:
        for record in opened.claims():
            newest.setdefault((record.preset, record.claim), record.body)
    content = {"machine": machine(), "claims": [newest[key] for key in sorted(newest)]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def section(content: Mapping[str, Any]) -> str:
    """Return the decisions as a section of RESULTS.md."""
    where = content["machine"]
    lines = [
        "## The paper's claims",
        "",
        f"{where['processor']}, Python {where['python']}, torch {where['torch']}; commit "
        f"{where['commit']}, {where['date']}; float32. docs/claims.md says how to read it.",
        "Again: `bench reproduce claims && python -m benchmarks.claims`",
        "",
    ]
    for claim in content["claims"]:
        data = dict.fromkeys(each["data"] for each in claim["comparisons"].values())
        lines += [
            f"### {claim['claim']}. {claim['title']}: **{claim['decision']}**",
            "",
            f"{claim['preset']}; rule version {claim['version']}, SHA-256 "
            f"`{claim['rule_digest'][:12]}…`; data: {', '.join(data)}.",
            "",
            "| statement | demanded | n | estimate | 95 % interval | paper | decision |",
            "|---|---|---|---|---|---|---|",
            *(_row(each) for each in claim["statements"]),
            "",
            *(f"* {line}" for line in _notes(claim)),
            "",
        ]
    return "\n".join(lines)


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
    for name, comparison in claim["comparisons"].items():
        for arm, row in comparison["arms"].items():
            values = ", ".join("diverged" if v is None else f"{v:.3g}" for v in row["train"])
            tests = ", ".join("diverged" if v is None else f"{v:.3g}" for v in row["test"])
            lines.append(f"{name}, {arm}: training {values}; test {tests}.")
    return lines


if __name__ == "__main__":
    main()
