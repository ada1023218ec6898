"""What is kept of a comparison of contestants: the numbers of its table, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import bench
from bench.optim.text import parse
from benchmarks import render
from benchmarks.contestants.entries import contestants
from benchmarks.contestants.parts import Part


def content(result: bench.Result, parts: Sequence[Part], problem: str) -> dict[str, Any]:
    """Return what the section and the picture of a problem need, as plain values."""
    summary = result.summary
    entries = {name: entry for each in parts for name, entry in each["entries"].items()}
    shown = {parse(entry).name: name for name, entry in entries.items()}
    names = {row["method"]: shown[row["name"]] for row in summary["methods"]}
    return {
        "parts": list(parts),
        "comparison": result.id,
        "protocol": dict(summary["protocol"]),
        "words": summary["metric"]["words"],
        "alpha": summary["alpha"],
        "missing": [each.name for each in contestants(problem) if each.name not in entries],
        "methods": [
            _method(row, names[row["method"]], entries[names[row["method"]]])
            for row in summary["methods"]
        ],
        "pairs": [_pair(pair, names) for pair in summary["pairs"]],
    }


def _method(row: Mapping[str, Any], name: str, entry: str) -> dict[str, Any]:
    tuning, final, ledger = row["tuning"], row["final"], row["ledger"]
    points = [point["hyperparameters"] for point in tuning["points"]]
    varied = [key for key in points[0] if any(point[key] != points[0][key] for point in points)]
    return {
        "name": name,
        "entry": entry,
        "n": row["n"],
        **{key: final[key] for key in ("mean", "low", "high", "scale", "diverged", "values")},
        "test": final["test"]["mean"],
        "updates": ledger["updates"],
        "seconds": ledger["seconds"],
        "seconds_are": ledger["seconds_are"],
        "chosen": {key: tuning["chosen"][key] for key in varied},
        "edges": tuning["edges"],
        "points": [
            {"tried": {key: p["hyperparameters"][key] for key in varied}, "values": p["values"]}
            for p in tuning["points"]
        ],
    }


def _pair(pair: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    better = {"a better": pair["a"], "b better": pair["b"]}.get(pair["verdict"])
    return {
        "a": names[pair["a"]],
        "b": names[pair["b"]],
        "verdict": pair["verdict"],
        "better": names[better] if better else None,
        "p": pair["p"],
        "n": pair["n"],
        "ratio": pair["ratio"],
        "difference": pair["difference"],
    }


def write(kept: Mapping[str, Any], problem: str, file: str) -> None:
    """Put a problem's result into its file, beside those of other problems."""
    path = render.RESULTS / f"{file}.json"
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, problem: kept}, indent=1) + "\n")
