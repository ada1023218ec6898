"""The paper's claims as pre-registered rules: the experiments, and the criteria that decide.

A claim is a file in `rules/`. It has statements about results, all of which must hold, and for each
preset the runs for these statements. A run is a comparison of arms on one problem, with learning
rates chosen on tuning seeds. `registered.toml` has the SHA-256 of every version of every file,
registered before the first run. A file with another SHA-256 is refused.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from bench.harness.analysis.contrast import Statement
from bench.harness.core import published
from bench.harness.core.errors import Infrastructure

FOLDER = files("bench.harness.paper").joinpath("rules")
PRESETS = ("quick", "paper")
NUMBERS = range(1, 7)
"""The numbers of the claims, as in docs/claims.md."""


@dataclass(frozen=True)
class ArmedRun:
    """One comparison of an experiment."""

    name: str
    problem: str
    budget: str | None
    seeds: int
    tune_seeds: int
    arms: Mapping[str, str]
    """Name → entry of --optimizers; every learning rate of its grid is tried."""


@dataclass(frozen=True)
class MeasuredStatement:
    """A statement, and the measured value that it compares."""

    statement: Statement
    value: str
    """train_metric, test_metric, or a diagnostic of the problem, at the end of a trial."""
    published: float | None
    """The same contrast of published values; None if the paper has none."""


@dataclass(frozen=True)
class Rule:
    """A claim at a preset."""

    claim: int
    version: int
    digest: str
    """SHA-256 of the rule's file."""
    title: str
    source: str
    preset: str
    runs: Sequence[ArmedRun]
    statements: Sequence[MeasuredStatement]


def rules(preset: str, numbers: Sequence[int] = NUMBERS) -> list[Rule]:
    """Return the rules of claims at a preset; raise Infrastructure if one is not registered."""
    registered = tomllib.loads(FOLDER.joinpath("registered.toml").read_text("utf-8"))
    return [_rule(number, preset, registered) for number in numbers]


def _rule(number: int, preset: str, registered: Mapping[str, Any]) -> Rule:
    name = f"claim_{number}.toml"
    content = FOLDER.joinpath(name).read_bytes()
    plain = tomllib.loads(content.decode())
    digest = hashlib.sha256(content).hexdigest()
    versions = registered[f"claim_{number}"]
    version = plain["version"]
    if len(versions) != version or versions[-1] != digest:
        raise Infrastructure(
            f"{FOLDER.joinpath(name)} has SHA-256 {digest}, which is not registered as version "
            f"{version} of claim {number}. If you changed the rule, it is a new version: increase "
            "`version` and enter the SHA-256 in registered.toml before the first run. Otherwise "
            "install bench-harness again."
        )
    experiment = plain[preset]
    return Rule(
        claim=number,
        version=version,
        digest=digest,
        title=plain["title"],
        source=plain["source"],
        preset=preset,
        runs=[
            ArmedRun(
                name=name,
                problem=run["problem"],
                budget=run.get("budget"),
                seeds=run["seeds"],
                tune_seeds=run["tune_seeds"],
                arms=run["arms"],
            )
            for name, run in experiment["runs"].items()
        ],
        statements=[
            _measured(statement)
            for statement in (*plain["statements"], *experiment.get("statements", ()))
        ],
    )


def _measured(plain: Mapping[str, Any]) -> MeasuredStatement:
    side: Literal["above", "below"] = "above" if "above" in plain else "below"
    statement = Statement(plain["says"], plain["weights"], plain["scale"], side, float(plain[side]))
    return MeasuredStatement(statement, plain["value"], _published(plain))


def other_column(number: int) -> str | None:
    """Return what the published figures say with HF†, for a rule that names HF*; else None.

    It stands beside the rule and decides nothing: the rule keeps its text and its digest.
    """
    plain = tomllib.loads(FOLDER.joinpath(f"claim_{number}.toml").read_text("utf-8"))
    found: dict[str, tuple[float, bool]] = {}
    for statement in plain["statements"]:
        columns = [keys for keys in statement.get("published", {}).values() if "HF*" in keys]
        if columns and (value := _published(statement, {"HF*": "HF+"})) is not None:
            found[columns[0][1]] = value, value < statement.get("below", math.inf)
    if not found:
        return None
    values = ", ".join(f"{value:.3g}× on {task}" for task, (value, _) in found.items())
    missed = [task for task, (_, holds) in found.items() if not holds]
    return (
        "The column `paper` takes HF* of Table 1, Martens (2010) with L2. Against HF†, the "
        f"momentum-like variant in the same table, it would have {values}: the published figures "
        f"themselves miss what is demanded on {len(missed)} of {len(found)} ({', '.join(missed)}). "
        "The claim as decided here is about HF*."
    )


def _published(
    plain: Mapping[str, Any], instead: Mapping[str, str] = MappingProxyType({})
) -> float | None:
    """Return the statement's contrast of the published values that it names for its arms.

    `instead` names columns to take in place of others.
    """
    named = plain.get("published")
    if named is None:
        return None
    tables: Mapping[str, Any] = {
        "table1": published.TABLE_1,
        "table3": {str(scale): error for scale, error in published.TABLE_3.items()},
        "table5": published.TABLE_5,
    }
    total = 0.0
    for arm, weight in plain["weights"].items():
        value: Any = tables
        for key in named[arm]:
            value = value[instead.get(key, key)]
        total += weight * (math.log(value) if plain["scale"] == "log" else value)
    return math.exp(total) if plain["scale"] == "log" else total
