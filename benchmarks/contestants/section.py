"""The section of RESULTS.md on the contestants: a table for each problem, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness.report.table import number
from bench.optim.values import value_text
from benchmarks.contestants.entries import PROBLEMS
from benchmarks.machine import ran_on

Plain = Mapping[str, Any]


def section(content: Plain) -> str:
    """Return the results of all problems as a section of RESULTS.md."""
    done = [problem for problem in PROBLEMS if problem in content]
    left = [problem for problem in PROBLEMS if problem not in content]
    lines = [
        "## Optimizers of today on the problems of 2013",
        "",
        "Every method was tuned at the same number of points in ranges of the same width, and then "
        "trained on seeds that tuning had not used. Weight decay and L2 are 0 for all.",
        "",
        "No learning rate has a schedule. `cm` and `nag` have the momentum schedule of the paper, "
        "which lowers the momentum in the last updates, and schedule-free AdamW averages. AdamW, "
        "NAdamW, Muon, SOAP, Shampoo, PSGD Kron and Prodigy are usually given a rate that decays, "
        "so this table does not show what they reach with one.",
        "",
    ]
    if left:
        lines += [
            f"**Not finished**: not run to the end on {_and(left)}. "
            "`python -m benchmarks.contestants.run --problem NAME` runs one.",
            "",
        ]
    for problem in done:
        lines += _problem(content[problem])
    return "\n".join(lines)


def _problem(of: Plain) -> list[str]:
    protocol, methods = of["protocol"], ranked(of)
    budget = protocol["budget"]
    points, tuning_seeds = len(methods[0]["points"]), len(methods[0]["points"][0]["values"])
    seeds = max(row["n"] for row in methods)
    return [
        f"### {protocol['problem']} / {protocol['preset']}",
        "",
        *_ran(of["parts"]),
        f"{protocol['data']}; {number(budget['amount'])} {budget['currency']} a trial; {points} "
        f"tuning points, {tuning_seeds} tuning seed{'s' if tuning_seeds > 1 else ''}, then "
        f"{seeds} other seeds.",
        "",
        f"| method | {of['words']} | 95 % interval | n | diverged | test | updates | better than "
        "| worse than | undecided | chosen values |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(row, of["pairs"]) for row in methods),
        "",
        *(f"* {sentence}" for sentence in _sentences(of, methods)),
        "",
    ]


def _ran(parts: Sequence[Plain]) -> list[str]:
    """Return on what each part ran, with its contestants where there are several."""
    if len(parts) == 1:
        return [*ran_on(parts[0]), ""]
    lines = [f"{len(parts)} comparisons, whose methods are judged together:", ""]
    for part in parts:
        ran, again = ran_on(part)
        lines += [f"* {_and(list(part['entries']))}: {ran} {again}"]
    return [*lines, ""]


def ranked(of: Plain) -> list[Plain]:
    """Return the methods, the best first; one with a diverged trial has no mean and is last."""
    sign = 1 if of["protocol"]["direction"] == "lower" else -1
    return sorted(
        of["methods"],
        key=lambda row: (row["mean"] is None, sign * (row["mean"] or 0.0), row["diverged"]),
    )


def _row(row: Plain, pairs: Sequence[Plain]) -> str:
    mine = [pair for pair in pairs if row["name"] in (pair["a"], pair["b"])]
    better = sum(pair["better"] == row["name"] for pair in mine)
    undecided = sum(pair["better"] is None for pair in mine)
    cells = [
        row["name"],
        f"**{_figure(row['mean'])}**",
        "–" if row["low"] is None else f"{_figure(row['low'])} – {_figure(row['high'])}",
        row["n"],
        row["diverged"],
        _figure(row["test"]),
        number(row["updates"]),
        better,
        len(mine) - better - undecided,
        undecided,
        ", ".join(_chosen(row)),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _chosen(row: Plain) -> list[str]:
    edges = {edge["name"].partition("[")[0] for edge in row["edges"]}
    return [
        f"{name}={_value(value)}{' *edge*' if name in edges else ''}"
        for name, value in row["chosen"].items()
    ]


def _sentences(of: Plain, methods: Sequence[Plain]) -> list[str]:
    return [
        *_best(of, methods),
        *_on_test(of, methods),
        *_undecided(of),
        *_spread(methods),
        *_diverged(methods),
        *_edges(methods),
        f"*Better than*, *worse than*, *undecided*: pairs with the other methods, after Holm's "
        f"correction for {len(of['pairs'])} pairs, p ≤ {of['alpha']:g}. Of {methods[0]['n']} seeds "
        f"the exact test has a least p of 2^(1 − {methods[0]['n']}); corrected, "
        f"{min(1.0, len(of['pairs']) * 2.0 ** (1 - methods[0]['n'])):.2g}.",
        *_missing(of),
    ]


def _best(of: Plain, methods: Sequence[Plain]) -> list[str]:
    first = methods[0]
    if first["mean"] is None:
        return ["Every method has a trial that diverged."]
    mine = [pair for pair in of["pairs"] if first["name"] in (pair["a"], pair["b"])]
    beaten = sum(pair["better"] == first["name"] for pair in mine)
    return [
        f"{first['name']} has the best mean, {_figure(first['mean'])}. It is better than {beaten} "
        f"of the {len(mine)} others{_apart(first['name'], mine)}."
    ]


def _on_test(of: Plain, methods: Sequence[Plain]) -> list[str]:
    """Return which method has the best mean on test cases, of those that have one."""
    sign = 1 if of["protocol"]["direction"] == "lower" else -1
    known = [row for row in methods if row["test"] is not None]
    if not known:
        return []
    first = min(known, key=lambda row: sign * row["test"])
    return [
        f"On test cases {first['name']} has the best mean, {_figure(first['test'])}. Nothing was "
        "tuned for them, and the verdicts here are not about them."
    ]


def _apart(name: str, mine: Sequence[Plain]) -> str:
    parts = []
    for verdict, words in WORDS.items():
        others = [_other(name, pair) for pair in mine if pair["verdict"] == verdict]
        if others:
            parts.append(f"; {words} {_and(others)}")
    return "".join(parts)


WORDS = {
    "equivalent": "it is equivalent to",
    "cannot tell": "it cannot be told apart from",
    "too few seeds": "the seeds are too few to tell it from",
}
"""Verdict → how the sentence about the best method goes on."""


def _undecided(of: Plain) -> list[str]:
    sentences, pairs = [], of["pairs"]
    decided = sum(pair["better"] is not None for pair in pairs)
    sentences.append(f"{decided} of {len(pairs)} pairs are decided.")
    for verdict, words in (
        ("equivalent", "Equivalent"),
        ("cannot tell", "Cannot be told apart"),
        ("too few seeds", "Too few seeds"),
    ):
        found = [f"{p['a']} and {p['b']}" for p in pairs if p["verdict"] == verdict]
        if found:
            sentences.append(f"{words}: {'; '.join(found)}.")
    return sentences


def _spread(methods: Sequence[Plain]) -> list[str]:
    """Return which method's seeds lie farthest apart, where all values are positive."""
    seeds = {row["name"]: row["values"] for row in methods if row["scale"] == "log"}
    if not seeds:
        return []
    name = max(seeds, key=lambda each: max(seeds[each]) / min(seeds[each]))
    low, high = min(seeds[name]), max(seeds[name])
    return [f"The seeds of {name} lie farthest apart: from {_figure(low)} to {_figure(high)}."]


def _diverged(methods: Sequence[Plain]) -> list[str]:
    trials = [
        f"{row['name']} {row['diverged']} of {row['n']}" for row in methods if row["diverged"]
    ]
    points = [
        f"{row['name']} {gone} of {len(row['points'])}"
        for row in methods
        if (gone := sum(None in point["values"] for point in row["points"]))
    ]
    return [
        f"Reported trials that diverged: {', '.join(trials) or 'none'}.",
        f"Tuning points that diverged: {', '.join(points) or 'none'}.",
    ]


def _edges(methods: Sequence[Plain]) -> list[str]:
    at = [
        f"{row['name']} ({edge['name']} = {_value(edge['value'])}, {edge['side']})"
        for row in methods
        for edge in row["edges"]
    ]
    if not at:
        return ["No chosen value is at the edge of its range."]
    return [
        f"At the edge of their range, so that a better value may lie beyond it: {'; '.join(at)}."
    ]


def _missing(of: Plain) -> list[str]:
    if not of["missing"]:
        return []
    chosen = " ".join(f"--only '{name}'" for name in of["missing"])
    return [
        f"**Not run**: {_and(of['missing'])}. `python -m benchmarks.contestants.run --problem "
        f"{of['protocol']['problem']} {chosen}` trains what is missing."
    ]


def _other(name: str, pair: Plain) -> str:
    other: str = pair["b"] if pair["a"] == name else pair["a"]
    return other


def _value(value: Any) -> str:
    return value_text(tuple(value) if isinstance(value, list) else value)


def _figure(value: float | None) -> str:
    return "–" if value is None else number(value)


def _and(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
